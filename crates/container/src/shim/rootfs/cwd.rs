//! The working directory: made in the rootfs if the image has none of its name, as runc does.

use std::io;
use std::path::Path;

use medley_sys::in_root::{self, Missing};

/// Makes the directory `cwd`, and those above it, inside `rootfs`. Symlinks and `..` are resolved with
/// the rootfs as `/`; the mounts of the spec are not there yet. It is made by `owner`, a user and a group
/// of the node: the container's root, which in a user namespace may not do everything.
///
/// # Errors
/// As mkdir(2) and open(2), of the first that can't be made or entered.
pub(crate) fn make(owner: (u32, u32), rootfs: &Path, cwd: &Path) -> io::Result<()> {
    // The bundle's own directories are root's alone.
    let root = in_root::root(rootfs)?;
    let make = || in_root::make(&root, cwd, Missing::Dir).map(drop);
    match owner {
        (0, 0) => make(),
        (user, group) => medley_sys::user_namespace::as_owner(user, group, make),
    }
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
    fn a_link_leads_to_no_dir_of_the_host() {
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
    fn a_file_is_no_dir() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::write(rootfs.path().join("file"), "").unwrap();
        let error = make((0, 0), rootfs.path(), Path::new("/file/below")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
}
