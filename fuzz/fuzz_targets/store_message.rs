//! Messages of containerd's stores.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| medley_image::store::fuzz::message(input));
