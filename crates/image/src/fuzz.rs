//! What holds for any compressed layer: it comes out as it went in, or it is refused.
#![expect(
    clippy::unwrap_used,
    reason = "what the input is not to blame for ends the test, or the fuzzer"
)]

use std::fs::File;
use std::io::Write;

use medley_fuzzing::{Unstructured, near};

use crate::decompress;

/// The largest module that may come out, in bytes.
const MAX: u64 = 64 * 1024;

/// Reads `input` as a layer, and a layer that is near to one that is made of it.
pub fn decompress(input: &[u8]) {
    layer(input);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(input).unwrap();
    let known = [
        gzip.finish().unwrap(),
        ruzstd::encoding::compress_to_vec(input, level),
    ];
    if let Ok(bytes) = near(&mut Unstructured::new(input), &known) {
        layer(&bytes);
    }
}

fn layer(bytes: &[u8]) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let Some(kind) = decompress::compression(&file).unwrap() else {
        return;
    };
    let module: File = tempfile::tempfile().unwrap();
    let unpacked = decompress::decompress(kind, file, &module, MAX);
    let size = module.metadata().unwrap().len();
    assert!(size <= MAX, "{size} bytes came out: {unpacked:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_layer_comes_out_or_is_refused() {
        for input in medley_fuzzing::inputs(2000) {
            super::decompress(&input);
        }
    }
}
