//! Paths of a manifest. One that reaches procfs would lead to what this process has open, so none is followed there.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use medley_sys::in_root;
use rustix::fs::{OFlags, PROC_SUPER_MAGIC};

/// What lies at `path`.
pub(super) fn look(path: &Path) -> io::Result<Metadata> {
    File::from(open(path, OFlags::PATH)?).metadata()
}

/// Opens a dir, to be shown to a guest.
pub(crate) fn dir(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY)
}

pub(super) fn is_dir(path: &Path) -> bool {
    look(path).is_ok_and(|found| found.is_dir())
}

pub(super) fn is_file(path: &Path) -> bool {
    look(path).is_ok_and(|found| found.is_file())
}

/// Opens a file to read it. A FIFO keeps no one waiting.
pub(super) fn read(path: &Path) -> io::Result<File> {
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let opened = in_root::open(in_root::root(Path::new("/"))?, path, flags)?;
    if rustix::fs::fstatfs(&opened)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::{dir as open_dir, is_dir, is_file, read};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn no_path_leads_to_procfs_or_through_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/proc/self/cwd", at("cwd")).unwrap();
        assert!(is_dir(dir.path()) && is_file(&at("link")));
        read(&at("link")).unwrap();
        assert!(!is_dir(&at("cwd")) && !is_dir(Path::new("/proc/self/cwd")));
        assert!(!is_dir(Path::new("/proc/self")) && !is_file(Path::new("/proc/self/environ")));
        read(Path::new("/proc/self/environ")).unwrap_err();
        open_dir(dir.path()).unwrap();
        open_dir(&at("cwd")).unwrap_err();
        open_dir(Path::new("/proc")).unwrap_err();
        open_dir(&at("file")).unwrap_err();
    }
}
