//! The two things about an ELF program that make the kernel refuse it with a message that misleads:
//! a machine that is not this one, and a loader that is not there.
//!
//! Anything odd beyond that is left to the kernel. Layout as in elf(5).

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::content::read_up_to;

/// The kernel takes program headers of at most this many bytes.
const MAX_HEADERS: usize = 65_536;

/// The kernel takes the path of a loader of at most this many bytes, its NUL included.
const LONGEST_LOADER: usize = 4096;

const PT_INTERP: u32 = 3;

/// The beginning of an ELF file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elf<'h> {
    head: &'h [u8],
    wide: bool,
    big_endian: bool,
}

impl<'h> Elf<'h> {
    /// Reads the identification; `None` if it is cut short or nonsense.
    pub(crate) fn parse(head: &'h [u8]) -> Option<Self> {
        let wide = match head.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let big_endian = match head.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        Some(Self {
            head,
            wide,
            big_endian,
        })
    }

    /// The machine, named as in an image's platform (`GOARCH`).
    pub(crate) fn machine(&self) -> Option<String> {
        let name = match (self.u16(self.head, 18)?, self.big_endian) {
            (3, false) => "386",
            (8, true) => "mips",
            (8, false) => "mipsle",
            (21, true) => "ppc64",
            (21, false) => "ppc64le",
            (22, true) => "s390x",
            (40, false) => "arm",
            (62, false) => "amd64",
            (183, false) => "arm64",
            (243, false) => "riscv64",
            (258, false) => "loong64",
            (number, _) => return Some(format!("machine {number}")),
        };
        Some(name.to_owned())
    }

    /// The loader that the program asks for, if it does.
    pub(crate) fn loader(&self, file: &File) -> Option<PathBuf> {
        let (offset, size, count, kind_size) = if self.wide {
            (
                self.u64(self.head, 32)?,
                self.u16(self.head, 54)?,
                self.u16(self.head, 56)?,
                56,
            )
        } else {
            (
                u64::from(self.u32(self.head, 28)?),
                self.u16(self.head, 42)?,
                self.u16(self.head, 44)?,
                32,
            )
        };
        let length = usize::from(size) * usize::from(count);
        if usize::from(size) != kind_size || length > MAX_HEADERS {
            return None;
        }
        let mut headers = vec![0; length];
        let filled = read_up_to(file, &mut headers, offset).ok()?;
        let header = headers[..filled]
            .chunks_exact(kind_size)
            .find(|header| self.u32(header, 0) == Some(PT_INTERP))?;
        let (offset, length) = if self.wide {
            (self.u64(header, 8)?, self.u64(header, 32)?)
        } else {
            (
                u64::from(self.u32(header, 4)?),
                u64::from(self.u32(header, 16)?),
            )
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|length| (2..=LONGEST_LOADER).contains(length))?;
        let mut name = vec![0; length];
        file.read_exact_at(&mut name, offset).ok()?;
        // The kernel demands the NUL at the end and stops at the first.
        if name.pop() != Some(0) {
            return None;
        }
        let end = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        name.truncate(end);
        Some(PathBuf::from(OsString::from_vec(name))).filter(|name| !name.as_os_str().is_empty())
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn u64(&self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }
}

/// This node's machine, named as in an image's platform; `None` if its names are not known here.
pub(crate) fn node() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        "riscv64" => Some("riscv64"),
        "s390x" => Some("s390x"),
        "powerpc64" if cfg!(target_endian = "little") => Some("ppc64le"),
        "powerpc64" => Some("ppc64"),
        "loongarch64" => Some("loong64"),
        _ => None,
    }
}

/// Whether a node of one machine may run programs of another: its own, and the 32-bit machine of
/// which many kernels run programs too.
pub(crate) fn runs_on(program: &str, node: &str) -> bool {
    program == node || matches!((program, node), ("386", "amd64") | ("arm", "arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_named_as_in_images() {
        let mut head = [0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (number, name) in [
            (62, "amd64"),
            (183, "arm64"),
            (243, "riscv64"),
            (9, "machine 9"),
        ] {
            head[18] = number;
            assert_eq!(Elf::parse(&head).unwrap().machine().unwrap(), name);
        }
        head[5] = 2;
        head[18..20].copy_from_slice(&22_u16.to_be_bytes());
        assert_eq!(Elf::parse(&head).unwrap().machine().unwrap(), "s390x");
    }

    #[test]
    fn a_node_runs_its_own_programs_and_their_32_bit_kin() {
        assert!(runs_on("amd64", "amd64") && runs_on("386", "amd64") && runs_on("arm", "arm64"));
        assert!(!runs_on("arm64", "amd64") && !runs_on("amd64", "386"));
    }

    /// One that is cut short or of nonsense.
    #[test]
    fn a_damaged_identification_is_left_to_the_kernel() {
        for head in [
            &b"\x7fELF"[..],
            b"\x7fELF\x02",
            b"\x7fELF\x03\x01",
            b"\x7fELF\x02\x09",
        ] {
            assert!(Elf::parse(head).is_none());
        }
        assert!(Elf::parse(b"\x7fELF\x02\x01").unwrap().machine().is_none());
    }
}
