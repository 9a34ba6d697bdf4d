//! What arrives of a gRPC stream, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| medley_image::store::fuzz::stream(input));
