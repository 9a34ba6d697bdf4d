//! Files of procfs, of sysfs and of cgroups. They tell no size, and are small: what reads a file without
//! one begins with a few bytes, and takes a call more each time that these are not enough.

use std::io;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags};

/// What most of them fit into.
const USUAL: usize = 4096;

/// The text of one.
///
/// # Errors
/// Those of `open` and `read`; it is no UTF-8.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path.as_ref(), flags, Mode::empty())?;
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(USUAL);
        let count =
            rustix::io::retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut bytes)))?;
        if count == 0 {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::{USUAL, read};
    use std::io::ErrorKind;

    #[test]
    fn a_file_is_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for size in [0, 1, USUAL, 3 * USUAL + 1] {
            let text = "x".repeat(size);
            std::fs::write(file.path(), &text).unwrap();
            assert_eq!(read(file.path()).unwrap(), text);
        }
        assert!(read("/proc/self/status").unwrap().contains("\nSigIgn:\t"));
        std::fs::write(file.path(), [0xff]).unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let error = read("/no/such/file").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
