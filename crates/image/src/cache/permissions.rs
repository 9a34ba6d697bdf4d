//! The cache's directory is root's alone, and no other user can move it away.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;

/// Bits of a mode: who may write, and that only owners may rename.
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Checks that no other user can write into `dir`, or put another in its place. Gives it without
/// symlinks, which could be made to point elsewhere.
pub(crate) fn ours_alone(dir: &Path) -> Result<PathBuf, Error> {
    let ours = rustix::process::geteuid().as_raw();
    ours_alone_for(dir, ours)
}

/// The same for a process of the user `ours`.
fn ours_alone_for(dir: &Path, ours: u32) -> Result<PathBuf, Error> {
    let open = fs::canonicalize(dir);
    let dir = open.map_err(|error| Error::unless_root(dir, "open", dir, error))?;
    for (height, path) in dir.ancestors().enumerate() {
        let found = fs::symlink_metadata(path).map_err(Error::file("look at", path))?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        if height == 0 && owner == 0 && ours != 0 {
            return Err(Error::NotRoot { dir });
        }
        let (fine, expected) = if height == 0 {
            let fine = found.is_dir() && owner == ours && mode & 0o077 == 0;
            (fine, "it must be root's alone, 0700")
        } else {
            // A user who may rename a directory above ours may put another in its place.
            let shared = if found.gid() == 0 {
                OTHERS
            } else {
                OTHERS | GROUP
            };
            let safe = mode & shared == 0 || mode & STICKY != 0;
            (
                safe && (owner == 0 || owner == ours),
                "only root may write there",
            )
        };
        if !fine {
            return Err(Error::NotOurs {
                path: path.to_owned(),
                dir,
                owner,
                mode,
                expected,
            });
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::{Error, ours_alone_for};

    #[test]
    fn another_user_is_told_to_be_root() {
        // Root's, as a cache is.
        let dir = std::path::Path::new("/sys");
        let told = ours_alone_for(dir, 1000).unwrap_err();
        assert_eq!(
            told.to_string(),
            "the cache /sys is root's alone: run this as root"
        );
        // To root it says what is wrong with it.
        assert!(matches!(ours_alone_for(dir, 0), Err(Error::NotOurs { .. })));
    }
}
