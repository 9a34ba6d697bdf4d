//! `used/<digest>`: when an entry was last used, as the file's time; and, as its content, which file
//! was found to have this digest since the boot.
//!
//! A file that was not written to since keeps its time of change, which no call can set. So one
//! reading is enough for a boot: after that the file is known by where it is and when it changed.
//! What the disk does behind the file system's back is seen at the next boot, or at once by
//! fs-verity, which gives no page that is not as it was.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files;

/// Tells the state of `file` from any other in the boot `boot`.
pub(super) fn identity(file: &File, boot: &str) -> io::Result<String> {
    let found = file.metadata()?;
    Ok(format!(
        "{boot} {}:{} {} {}.{:09} {}.{:09}\n",
        found.dev(),
        found.ino(),
        found.len(),
        found.ctime(),
        found.ctime_nsec(),
        found.mtime(),
        found.mtime_nsec(),
    ))
}

/// Whether the file at `path` tells of this very state.
pub(super) fn tells(path: &Path, identity: &str) -> bool {
    // Without a boot id it would hold for ever.
    !identity.starts_with(' ') && fs::read_to_string(path).is_ok_and(|told| told == identity)
}

/// Notes a use now.
pub(super) fn note(path: &Path, identity: &str) {
    if !files::touch(path) {
        write(path, identity);
    }
}

/// Writes the state down, which is a use too. Where that can't be, the next start reads the whole
/// entry again.
pub(super) fn write(path: &Path, identity: &str) {
    if let Err(error) = files::replace(path, identity.as_bytes()) {
        log::debug!("the state of {} is not noted: {error}", path.display());
    }
}
