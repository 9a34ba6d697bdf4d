//! A module without its custom sections.
//!
//! WasmEdge's "universal Wasm" keeps native code in such a section and would run it. Native code
//! that came with an image is never run, and nothing else in these sections is of use to WasmEdge.

use wasmparser::{BinaryReader, BinaryReaderError};

/// Magic number and version of a core module.
const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// The id of a custom section.
const CUSTOM: u8 = 0;

/// The module, with every section but the custom ones as it was.
///
/// # Errors
/// With the offset, if the sections do not add up.
pub(crate) fn strip(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut stripped = Vec::with_capacity(module.len());
    let mut reader = BinaryReader::new(module, 0);
    let header = reader.read_bytes(HEADER.len())?;
    stripped.extend_from_slice(header);
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let length = usize::try_from(reader.read_var_u32()?).unwrap_or(usize::MAX);
        reader.read_bytes(length)?;
        if id != CUSTOM {
            stripped.extend_from_slice(&module[start..reader.original_position()]);
        }
    }
    Ok(stripped)
}
