//! Which engine a core module asks for, by what it imports.
//!
//! Only the import section is read. Sections before it are stepped over, nothing behind it is
//! looked at, and a malformed module ends the search: the engine's compiler judges it, with the
//! byte at which it is wrong.

use std::fs::File;

use wasmparser::{BinaryReader, ImportSectionReader};

use crate::content::read_up_to;
use medley_types::EngineKind;
use medley_types::quoted::Quoted;

/// Of an import section, this many bytes are read: thousands of imports.
const MAX_IMPORTS: usize = 1 << 20;

/// Sections looked at before the search is given up. Only custom sections and the types can come
/// before the imports, so a real module has a handful.
const MAX_SECTIONS: usize = 256;

/// Magic number, version and layer, in bytes.
const HEADER: u64 = 8;

const CUSTOM: u8 = 0;
const TYPES: u8 = 1;
const IMPORTS: u8 = 2;

/// An engine and the import that only it provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineRequirement {
    pub(crate) engine: EngineKind,
    /// For people, such as `import "wasi_snapshot_preview1" "sock_open"`.
    pub(crate) import: String,
}

/// The first import of the module that only one engine provides.
pub(crate) fn requirement(module: &File) -> Option<EngineRequirement> {
    let section = import_section(module)?;
    let imports = ImportSectionReader::new(BinaryReader::new(&section, 0)).ok()?;
    imports
        .into_imports()
        .map_while(Result::ok)
        .find_map(|import| {
            let engine = EngineKind::that_provides(import.module, import.name)?;
            let import = format!(
                "import {} {}",
                Quoted::text(import.module),
                Quoted::text(import.name)
            );
            Some(EngineRequirement { engine, import })
        })
}

/// The contents of the import section, as much of it as there is and as is read.
fn import_section(module: &File) -> Option<Vec<u8>> {
    let mut at = HEADER;
    for _ in 0..MAX_SECTIONS {
        // One byte of id, at most five of length.
        let mut start = [0; 6];
        let filled = read_up_to(module, &mut start, at).ok()?;
        let mut reader = BinaryReader::new(&start[..filled], 0);
        let id = reader.read_u8().ok()?;
        let length = reader.read_var_u32().ok()?;
        at = at.checked_add(u64::try_from(reader.original_position()).ok()?)?;
        match id {
            IMPORTS => {
                let length = usize::try_from(length).ok()?.min(MAX_IMPORTS);
                let mut section = vec![0; length];
                let filled = read_up_to(module, &mut section, at).ok()?;
                section.truncate(filled);
                return Some(section);
            }
            CUSTOM | TYPES => at = at.checked_add(u64::from(length))?,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PREVIEW1: &str = "wasi_snapshot_preview1";

    fn section(id: u8, contents: &[u8]) -> Vec<u8> {
        let length = u8::try_from(contents.len()).unwrap();
        assert!(length < 128);
        [&[id, length], contents].concat()
    }

    fn import(module: &str, name: &str) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [text(module), text(name), vec![0, 0]].concat()
    }

    fn demanded(sections: &[Vec<u8>]) -> Option<EngineRequirement> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"\0asm\x01\0\0\0").unwrap();
        file.write_all(&sections.concat()).unwrap();
        requirement(&file)
    }

    fn importing(module: &str, name: &str) -> Option<EngineKind> {
        let import = [vec![1], import(module, name)].concat();
        let types = section(TYPES, &[1, 0x60, 0, 0]);
        demanded(&[section(CUSTOM, b"\x01x"), types, section(IMPORTS, &import)])
            .map(|requirement| requirement.engine)
    }

    #[test]
    fn imports_ask_for_the_engine_that_has_them() {
        for name in [
            "sock_open",
            "sock_bind",
            "sock_getaddrinfo",
            "sock_setsockopt",
            "sock_bind_v2",
        ] {
            assert_eq!(
                importing(PREVIEW1, name),
                Some(EngineKind::Wasmedge),
                "{name}"
            );
        }
        for name in [
            "fd_write",
            "proc_exit",
            "sock_accept",
            "sock_recv",
            "sock_send",
        ] {
            assert_eq!(importing(PREVIEW1, name), None, "{name}");
        }
        assert_eq!(
            importing("wasi_unstable", "fd_write"),
            Some(EngineKind::Wasmtime)
        );
        assert_eq!(importing("wasi_nn", "load"), Some(EngineKind::Wasmedge));
        assert_eq!(
            importing("wasi_ephemeral_nn", "load"),
            Some(EngineKind::Wasmedge)
        );
        assert_eq!(
            importing("wasmedge_process", "run"),
            Some(EngineKind::Wasmedge)
        );
        assert_eq!(importing("wasix_32v1", "fd_dup"), Some(EngineKind::Wasmer));
        assert_eq!(importing("wasix_64v1", "fd_dup"), Some(EngineKind::Wasmer));
        assert_eq!(importing("env", "sock_open"), None);
    }

    #[test]
    fn a_section_cut_short_still_shows_the_imports_before_the_cut() {
        let import = [vec![9], import("wasix_32v1", "fd_dup"), vec![200]].concat();
        let found = demanded(&[section(IMPORTS, &import)]).unwrap();
        assert_eq!(found.import, r#"import "wasix_32v1" "fd_dup""#);
    }

    #[test]
    fn malformed_modules_ask_for_nothing() {
        assert_eq!(demanded(&[]), None);
        assert_eq!(demanded(&[vec![IMPORTS]]), None);
        assert_eq!(
            demanded(&[vec![IMPORTS, 0xff, 0xff, 0xff, 0xff, 0xff]]),
            None
        );
        assert_eq!(
            demanded(&[vec![IMPORTS, 0xff, 0xff, 0xff, 0xff, 0x0f]]),
            None
        );
        assert_eq!(
            demanded(&[vec![CUSTOM, 0xff, 0xff, 0xff, 0xff, 0x0f]]),
            None
        );
        assert_eq!(demanded(&[section(3, &[0])]), None);
    }

    #[test]
    fn endless_empty_sections_end_the_search() {
        assert_eq!(demanded(&[vec![CUSTOM; 1 << 20]]), None);
    }
}
