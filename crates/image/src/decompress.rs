//! Compressed layers: gzip and zstd, told by how they begin.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use crate::store::digest_of;

/// How much is unpacked at a time, in bytes.
const CHUNK: usize = 128 * 1024;

/// What a layer is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

/// Why a layer could not be unpacked.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is damaged, though it has the right digest: it was made so.
    #[error("it is {compression} that is cut or damaged; build and push the image again")]
    Damaged {
        /// "gzip" or "zstd".
        compression: &'static str,
        /// The decoder's word.
        source: io::Error,
    },
    /// There is more in it than is run.
    #[error("more than {max} bytes are in it")]
    TooLarge { max: u64 },
    /// What came out could not be kept.
    #[error("what is in it cannot be kept")]
    Keep(#[source] io::Error),
}

/// What `layer` is compressed with; the media type's suffix need not tell.
pub(crate) fn compression(layer: &File) -> io::Result<Option<Compression>> {
    let mut magic = [0; 4];
    let mut filled = 0;
    while filled < magic.len() {
        match layer.read_at(&mut magic[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(match magic {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Compression::Zstd),
        _ => None,
    })
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What comes out of `layer`, which nothing bounds.
pub(crate) fn reader(compression: Compression, layer: File) -> Result<Box<dyn Read>, Error> {
    let layer = io::BufReader::with_capacity(CHUNK, layer);
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(layer)),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(layer);
            let decoder = decoder.map_err(|error| Error::Damaged {
                compression: compression.name(),
                source: io::Error::other(error),
            })?;
            Box::new(decoder)
        }
    })
}

/// Unpacks `layer`, at most `max` bytes of it, and gives the digest of what came out.
pub(crate) fn decompress(
    compression: Compression,
    layer: File,
    mut module: &File,
    max: u64,
) -> Result<String, Error> {
    let mut reader = reader(compression, layer)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut size: u64 = 0;
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => return Ok(digest_of(hasher)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Error::Damaged {
                    compression: compression.name(),
                    source,
                });
            }
        };
        size = size.saturating_add(read as u64);
        if size > max {
            return Err(Error::TooLarge { max });
        }
        hasher.update(&chunk[..read]);
        module.write_all(&chunk[..read]).map_err(Error::Keep)?;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::{Compression, Error, compression, decompress};

    const MODULE: &[u8] = b"\0asm\x01\0\0\0 and more of it, and more of it, and more of it";

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(MODULE).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd() -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(MODULE, level)
    }

    #[test]
    fn what_was_packed_comes_out_with_its_digest() {
        for (kind, bytes) in [(Compression::Gzip, gzip()), (Compression::Zstd, zstd())] {
            let layer = file(&bytes);
            assert_eq!(compression(&layer).unwrap(), Some(kind));
            let mut module = file(b"");
            let digest = decompress(kind, layer, &module, MODULE.len() as u64).unwrap();
            let mut hasher = sha2::Sha256::default();
            sha2::Digest::update(&mut hasher, MODULE);
            assert_eq!(digest, crate::store::digest_of(hasher));
            let mut out = Vec::new();
            module.rewind().unwrap();
            module.read_to_end(&mut out).unwrap();
            assert_eq!(out, MODULE);
        }
    }

    #[test]
    fn what_is_not_packed_is_left_alone() {
        for plain in [MODULE, b"", b"\x1f", b"\x28\xb5\x2f"] {
            assert_eq!(compression(&file(plain)).unwrap(), None);
        }
    }

    #[test]
    fn a_layer_that_is_cut_is_damaged_wherever_it_is_cut() {
        for (kind, bytes) in [(Compression::Gzip, gzip()), (Compression::Zstd, zstd())] {
            for end in 4..bytes.len() {
                let cut = decompress(kind, file(&bytes[..end]), &file(b""), 1 << 20);
                assert!(
                    matches!(cut, Err(Error::Damaged { .. })),
                    "{kind:?} {end}: {cut:?}"
                );
            }
        }
    }

    #[test]
    fn more_than_allowed_does_not_come_out() {
        let max = MODULE.len() as u64 - 1;
        for (kind, bytes) in [(Compression::Gzip, gzip()), (Compression::Zstd, zstd())] {
            let module = file(b"");
            let unpacked = decompress(kind, file(&bytes), &module, max);
            assert!(
                matches!(unpacked, Err(Error::TooLarge { .. })),
                "{unpacked:?}"
            );
            assert!(module.metadata().unwrap().len() <= max);
        }
    }
}
