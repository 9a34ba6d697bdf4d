//! Mount points: made where they are missing, inside a root, whatever others do there meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Who may do what in a folder that was made.
const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// And with a file.
const FILE: Mode = Mode::from_raw_mode(0o644);

/// A handle of `path` with `root` as `/`, where a folder or a file is made if there is nothing.
///
/// # Errors
/// As mkdir(2) and open(2), of the first that can't be made or entered.
pub(crate) fn make(root: &OwnedFd, path: &Path, is_folder: bool) -> io::Result<OwnedFd> {
    if let Ok(there) = open(root, path) {
        return Ok(there);
    }
    let mut here = PathBuf::from("/");
    let mut at = open(root, &here)?;
    let count = path.components().count();
    for (number, component) in path.components().enumerate() {
        here.push(component);
        at = match (open(root, &here), component) {
            (Err(Errno::NOENT), Component::Normal(name)) if is_folder || number + 1 < count => {
                rustix::fs::mkdirat(&at, name, FOLDER)?;
                open(root, &here)?
            }
            (Err(Errno::NOENT), Component::Normal(name)) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&at, name, flags | OFlags::WRONLY, FILE)?;
                open(root, &here)?
            }
            (opened, _) => opened?,
        };
    }
    Ok(at)
}

fn open(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::make;
    use rustix::fs::{CWD, Mode, OFlags};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn a_point_is_made_inside_the_root_only() {
        let root = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        symlink(host.path(), root.path().join("out")).unwrap();
        symlink("../..", root.path().join("up")).unwrap();
        let fd = rustix::fs::openat(CWD, root.path(), OFlags::PATH, Mode::empty()).unwrap();
        make(&fd, Path::new("/a/b"), true).unwrap();
        make(&fd, Path::new("/a/c/file"), false).unwrap();
        make(&fd, Path::new("/a/c/file"), false).unwrap();
        make(&fd, Path::new("/up/file"), false).unwrap();
        make(&fd, Path::new("/out/file"), false).unwrap_err();
        assert!(root.path().join("a/b").is_dir());
        assert!(root.path().join("a/c/file").is_file() && root.path().join("file").is_file());
        assert_eq!(host.path().read_dir().unwrap().count(), 0);
    }
}
