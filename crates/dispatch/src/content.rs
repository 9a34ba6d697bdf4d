//! What a file is, by its first bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much of a file is looked at, in bytes: the kernel reads 256 of a script, and a text module
/// may begin with a licence.
const HEAD: usize = 4096;

/// The kernel's limit on a script's first line (`BINPRM_BUF_SIZE`), in bytes.
const SCRIPT_LINE: usize = 256;

const ELF: &[u8] = b"\x7fELF";
const WASM: &[u8] = b"\0asm";

/// The byte of an ELF file that names its ABI (`EI_OSABI`), and what Wasmtime writes there into what
/// it has compiled ahead of time.
const ABI: usize = 7;
const ABI_WASMTIME: u8 = 200;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Elf,
    /// ELF too, but no program: a module that Wasmtime has compiled ahead of time.
    Precompiled,
    Script,
    /// Binary; layer 1 of the version field makes it a component.
    Wasm {
        component: bool,
    },
    /// Text that begins as a Wasm text module or component does.
    WasmText {
        component: bool,
    },
    Empty,
    Unknown,
}

/// The beginning of a file.
#[derive(Debug)]
pub(crate) struct Head(Vec<u8>);

impl Head {
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let mut bytes = vec![0; HEAD];
        let filled = read_up_to(file, &mut bytes, 0)?;
        bytes.truncate(filled);
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn content(&self) -> Content {
        let bytes = self.bytes();
        if bytes.is_empty() {
            Content::Empty
        } else if bytes.starts_with(ELF) && bytes.get(ABI) == Some(&ABI_WASMTIME) {
            Content::Precompiled
        } else if bytes.starts_with(ELF) {
            Content::Elf
        } else if bytes.starts_with(b"#!") {
            Content::Script
        } else if bytes.starts_with(WASM) {
            // Two bytes of version, two of layer.
            Content::Wasm {
                component: bytes.get(6..8) == Some(&[1, 0]),
            }
        } else {
            match first_word(bytes) {
                Some(b"module") => Content::WasmText { component: false },
                Some(b"component") => Content::WasmText { component: true },
                _ => Content::Unknown,
            }
        }
    }

    /// The interpreter of a script: the first word after `#!`, as the kernel reads it.
    pub(crate) fn interpreter(&self) -> Option<&[u8]> {
        let line = self.bytes().strip_prefix(b"#!")?;
        let line = &line[..line.len().min(SCRIPT_LINE - 2)];
        let line = line.split(|&byte| byte == b'\n' || byte == 0).next()?;
        line.split(|&byte| byte == b' ' || byte == b'\t')
            .find(|word| !word.is_empty())
    }
}

/// Whether the name says that it is Wasm text.
pub(crate) fn is_named_wat(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wat")
}

/// Fills `buffer` from `offset` on as far as the file goes; returns how many bytes there were.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The word after the first parenthesis of Wasm text, past blanks and comments.
fn first_word(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = text.trim_ascii_start();
        if let Some(comment) = text.strip_prefix(b";;") {
            text = &comment[comment.iter().position(|&byte| byte == b'\n')?..];
        } else if let Some(comment) = text.strip_prefix(b"(;") {
            text = past_block(comment)?;
        } else {
            break;
        }
    }
    let inner = text.strip_prefix(b"(")?.trim_ascii_start();
    let end = inner
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(inner.len());
    Some(&inner[..end])
}

/// What follows a block comment, which may hold others.
fn past_block(mut text: &[u8]) -> Option<&[u8]> {
    let mut depth = 1_usize;
    while depth > 0 {
        (depth, text) = match text {
            [b'(', b';', rest @ ..] => (depth + 1, rest),
            [b';', b')', rest @ ..] => (depth - 1, rest),
            [_, rest @ ..] => (depth, rest),
            [] => return None,
        };
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Content {
        Head(bytes.to_vec()).content()
    }

    #[test]
    fn the_first_bytes_tell_what_a_file_is() {
        for (bytes, expected) in [
            (&b"\x7fELF\x02\x01"[..], Content::Elf),
            (b"\x7fELF\x02\x01\x01\0", Content::Elf),
            (b"\x7fELF\x02\x01\x01\xc8", Content::Precompiled),
            (b"#!/bin/sh\n", Content::Script),
            (b"\0asm\x01\0\0\0", Content::Wasm { component: false }),
            (b"\0asm\x0d\0\x01\0", Content::Wasm { component: true }),
            (b"\0asm", Content::Wasm { component: false }),
            (b"\0as", Content::Unknown),
            (b"", Content::Empty),
            (b"(module)", Content::WasmText { component: false }),
            (
                b" ;; a licence\n(; (; in ;) ;)\n( component $c)",
                Content::WasmText { component: true },
            ),
            (b"(; never closed (module)", Content::Unknown),
            (b";; no end of line", Content::Unknown),
            (b"(modules)", Content::Unknown),
            (b"hello", Content::Unknown),
        ] {
            assert_eq!(content(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_interpreter_is_read_as_the_kernel_reads_it() {
        let interpreter = |text: &[u8]| Head(text.to_vec()).interpreter().map(<[u8]>::to_vec);
        assert_eq!(interpreter(b"#! \t/bin/sh -e\n"), Some(b"/bin/sh".to_vec()));
        assert_eq!(interpreter(b"#!/bin/sh\r\n"), Some(b"/bin/sh\r".to_vec()));
        assert_eq!(interpreter(b"#!\n/bin/sh"), None);
        assert_eq!(interpreter(b"#!"), None);
        let long = [b"#!/".as_slice(), &[b'a'; 1000]].concat();
        assert_eq!(interpreter(&long).map(|name| name.len()), Some(254));
    }
}
