//! A compressed layer of an image.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| medley_image::fuzz::decompress(input));
