//! What a helper is sent.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    medley_container::fuzz_request(input);
});
