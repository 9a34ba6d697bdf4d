//! What a container runs, decided for any files and any spec.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    medley_dispatch::fuzz::plan(input);
});
