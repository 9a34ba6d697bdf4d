//! The runtime options that containerd's configuration has.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| medley_runtime::options::fuzz::runtime_options(input));
