//! The head of an ELF file, out of an image.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| medley_dispatch::fuzz::elf(input));
