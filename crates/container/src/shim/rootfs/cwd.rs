//! The working directory: made in the rootfs if the image has none of its name, as runc does.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Who may do what in a folder that was made: all may enter it, root alone writes.
const MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes the folder `cwd`, and those above it, inside `rootfs`. Symlinks and `..` are resolved with
/// the rootfs as `/`; the mounts of the spec are not there yet. It is made by `owner`, a user and a group
/// of the node: the container's root, which in a user namespace may not do everything.
///
/// # Errors
/// As mkdir(2) and open(2), of the first folder that can't be made or entered.
pub(crate) fn make(owner: (u32, u32), rootfs: &Path, cwd: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The bundle's own folders are root's alone.
    let root = rustix::fs::openat(CWD, rootfs, flags, Mode::empty())?;
    match owner {
        (0, 0) => make_in(&root, cwd),
        (user, group) => medley_sys::user_namespace::as_owner(user, group, || make_in(&root, cwd)),
    }
}

fn make_in(root: &OwnedFd, cwd: &Path) -> io::Result<()> {
    if open(root, cwd).is_ok() {
        return Ok(());
    }
    let mut here = PathBuf::from("/");
    let mut folder = open(root, &here)?;
    for component in cwd.components() {
        here.push(component);
        folder = match (open(root, &here), component) {
            (Err(Errno::NOENT), Component::Normal(name)) => {
                rustix::fs::mkdirat(&folder, name, MODE)?;
                open(root, &here)?
            }
            (opened, _) => opened?,
        };
    }
    Ok(())
}

fn open(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::make;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(rootfs.path().join("srv")).unwrap();
        std::fs::write(rootfs.path().join("srv/file"), "kept").unwrap();
        make((0, 0), rootfs.path(), Path::new("/srv/a/../b/c")).unwrap();
        assert!(rootfs.path().join("srv/b/c").is_dir());
        make((0, 0), rootfs.path(), Path::new("/srv/b/c")).unwrap();
        assert!(rootfs.path().join("srv/file").is_file());
        make((0, 0), rootfs.path(), Path::new("/")).unwrap();
    }

    #[test]
    fn a_link_leads_to_no_folder_of_the_host() {
        let rootfs = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        symlink(host.path(), rootfs.path().join("out")).unwrap();
        symlink("../../..", rootfs.path().join("up")).unwrap();
        let error = make((0, 0), rootfs.path(), Path::new("/out/made")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        make((0, 0), rootfs.path(), Path::new("/up/made")).unwrap();
        assert!(rootfs.path().join("made").is_dir());
        assert_eq!(host.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_no_folder() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::write(rootfs.path().join("file"), "").unwrap();
        let error = make((0, 0), rootfs.path(), Path::new("/file/below")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
}
