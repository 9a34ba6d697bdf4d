//! Paths with a directory as `/`: neither a symlink nor `..` in them leads out of it, even where others
//! change what is there meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is followed again of which something was renamed meanwhile.
const RACES: u32 = 16;

/// The mode of a directory that was made.
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// And of a file.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// What [`make`] makes where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory; what is there has to be one too.
    Dir,
    /// An empty file, or what is there.
    File,
}

/// A handle on the directory `path`, for [`open`] and [`make`].
///
/// # Errors
/// Those of open(2).
pub fn root(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// A path without a symlink in it, as the kernel tells it: `canonicalize` asks for each part by itself.
///
/// # Errors
/// Those of open(2).
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens `path` with `root` as `/`. The magic links of procfs are not followed.
///
/// # Errors
/// Those of openat2(2).
pub fn open(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` with `root` as `/` and without a symlink in it.
///
/// # Errors
/// Those of openat2(2): `ELOOP` if there is a symlink.
pub fn open_no_links(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlags::NO_SYMLINKS)
}

fn open_with(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut races = 0;
    loop {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = resolve | ResolveFlags::IN_ROOT;
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if races < RACES => races += 1,
            opened => return opened,
        }
    }
}

/// A handle (`O_PATH`) on `path` with `root` as `/`, which is made, with the directories above it, where
/// it is missing.
///
/// # Errors
/// As mkdir(2) and open(2), of the first that can't be made or entered.
pub fn make(root: impl AsFd, path: &Path, missing: Missing) -> io::Result<OwnedFd> {
    let flags = |is_last: bool| match missing {
        Missing::File if is_last => OFlags::PATH,
        _ => OFlags::PATH | OFlags::DIRECTORY,
    };
    match open(&root, path, flags(true)) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    // Most often it is the last part alone that is missing.
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && let Ok(at) = open(&root, parent, flags(false))
    {
        return Ok(make_in(&root, &at, name, missing, (path, flags(true)))?);
    }
    let mut here = PathBuf::from("/");
    let mut at = open(&root, &here, flags(false))?;
    let count = path.components().count();
    for (number, component) in path.components().enumerate() {
        here.push(component);
        let flags = flags(number + 1 == count);
        at = match (open(&root, &here, flags), component) {
            (Err(Errno::NOENT), Component::Normal(name)) => {
                let is_dir = flags.contains(OFlags::DIRECTORY);
                let missing = if is_dir { Missing::Dir } else { missing };
                make_in(&root, &at, name, missing, (&here, flags))?
            }
            (opened, _) => opened?,
        };
    }
    Ok(at)
}

/// Makes `name` in `dir`, and opens it by its path. Another container that shares the dir may have made it
/// meanwhile.
fn make_in(
    root: impl AsFd,
    dir: &OwnedFd,
    name: &OsStr,
    missing: Missing,
    (path, flags): (&Path, OFlags),
) -> rustix::io::Result<OwnedFd> {
    let made = match missing {
        Missing::Dir => rustix::fs::mkdirat(dir, name, DIR_MODE),
        Missing::File => {
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, new | OFlags::WRONLY, FILE_MODE).map(drop)
        }
    };
    match made {
        Ok(()) => open(root, path, flags),
        Err(Errno::EXIST) => match open(root, path, flags) {
            // A link that leads to nothing.
            Err(Errno::NOENT) => Err(Errno::EXIST),
            opened => opened,
        },
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::{Missing, make, open, open_no_links, real_path, root};
    use rustix::fs::OFlags;
    use rustix::io::Errno;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn a_point_is_made_inside_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        symlink(host.path(), dir.path().join("out")).unwrap();
        symlink("../..", dir.path().join("up")).unwrap();
        let fd = root(dir.path()).unwrap();
        make(&fd, Path::new("/a/b"), Missing::Dir).unwrap();
        make(&fd, Path::new("/a/c/file"), Missing::File).unwrap();
        make(&fd, Path::new("/a/c/file"), Missing::File).unwrap();
        make(&fd, Path::new("/up/file"), Missing::File).unwrap();
        make(&fd, Path::new("/out/file"), Missing::File).unwrap_err();
        make(&fd, Path::new("/a/c/file"), Missing::Dir).unwrap_err();
        assert!(dir.path().join("a/b").is_dir());
        assert!(dir.path().join("a/c/file").is_file() && dir.path().join("file").is_file());
        assert_eq!(host.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_real_path_is_the_one_behind_all_links() {
        let dir = tempfile::tempdir().unwrap();
        let plain = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(plain.join("a/b")).unwrap();
        symlink("a", plain.join("link")).unwrap();
        assert_eq!(
            real_path(&plain.join("link/b/../b")).unwrap(),
            plain.join("a/b")
        );
        let error = real_path(&plain.join("link/c")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_leads_nowhere_but_inside() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/file", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let fd = root(dir.path()).unwrap();
        open(&fd, Path::new("/link"), OFlags::PATH).unwrap();
        let error = open_no_links(&fd, Path::new("/link"), OFlags::PATH).unwrap_err();
        assert_eq!(error, Errno::LOOP);
        let error = open(&fd, Path::new("/../missing"), OFlags::PATH).unwrap_err();
        assert_eq!(error, Errno::NOENT);
    }
}
