//! The copy of a directory, every kind of file as it is: nothing is followed, nothing is opened that is
//! no file or directory, and what is in the copy already stays.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

/// The attributes that a file keeps. Others are the file system's, or the node's security module's.
const KEPT: [&[u8]; 2] = [b"security.capability", b"system.posix_acl_access"];

/// And all that begin so, and a directory's.
const KEPT_BELOW: [&[u8]; 2] = [b"user.", b"system.posix_acl_default"];

/// As long as the names of all attributes of a file can be, and the value of one.
const ATTRIBUTES: usize = 1 << 16;

/// What could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be copied", path.display())]
pub(crate) struct Error {
    /// Below the directory.
    path: PathBuf,
    source: io::Error,
}

/// A copy under way.
struct Copy<'f> {
    from: &'f OwnedFd,
    to: &'f OwnedFd,
    procfs: BorrowedFd<'f>,
    /// Directories that are still to be copied, below the one that is.
    dirs: Vec<PathBuf>,
    /// Files with more than one name, and the first one.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// Copies what is in the directory `from` to the directory `to`. `procfs` is one in which the calling process
/// is to be found.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd, procfs: BorrowedFd<'_>) -> Result<(), Error> {
    let mut copy = Copy {
        from,
        to,
        procfs,
        dirs: vec![PathBuf::new()],
        linked: HashMap::new(),
    };
    while let Some(dir) = copy.dirs.pop() {
        copy.copy_dir(&dir)?;
    }
    Ok(())
}

impl Copy<'_> {
    fn copy_dir(&mut self, path: &Path) -> Result<(), Error> {
        let failed = |errno: Errno| Error {
            path: path.to_owned(),
            source: errno.into(),
        };
        let from = open_below(self.from, path).map_err(failed)?;
        let to = match open_below(self.to, path) {
            // What was there already, for something to be mounted on.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&from).map_err(failed)?;
        for entry in Dir::read_from(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            self.copy_entry(&from, &to, name, &below)
                .map_err(|source| Error {
                    path: below,
                    source,
                })?;
        }
        let finish = || {
            // The tmpfs has its owner and its mode from the mount.
            if path.as_os_str().is_empty() {
                return Ok(());
            }
            finish(&to, &stat)?;
            copy_attributes(&from, &to)?;
            set_times(&to, &stat)
        };
        finish().map_err(failed)
    }

    fn copy_entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &Path,
    ) -> io::Result<()> {
        // Named, not opened: what is no file notices nothing.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let seen = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&seen)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            self.dirs.push(path.to_owned());
            return unless_there(rustix::fs::mkdirat(to, name, Mode::RWXU)).map(drop);
        }
        let id = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&id) {
            let linked = rustix::fs::linkat(self.to, first, to, name, AtFlags::empty());
            return unless_there(linked).map(drop);
        }
        let made = match kind {
            FileType::RegularFile => self.copy_file(&seen, &stat, to, name)?,
            _ => copy_node(&seen, &stat, to, name)?,
        };
        if made && stat.st_nlink > 1 {
            self.linked.insert(id, path.to_owned());
        }
        Ok(())
    }

    fn copy_file(
        &self,
        seen: &OwnedFd,
        stat: &Stat,
        to: &OwnedFd,
        name: &CStr,
    ) -> io::Result<bool> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = match rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => return Ok(false),
            opened => File::from(opened?),
        };
        // The very file that was looked at.
        let again = format!("self/fd/{}", seen.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let from = File::from(rustix::fs::openat(
            self.procfs,
            again,
            flags,
            Mode::empty(),
        )?);
        copy_content(&from, &to, u64::try_from(stat.st_size).unwrap_or_default())?;
        finish(&to, stat)?;
        copy_attributes(&from, &to)?;
        set_times(&to, stat)?;
        Ok(true)
    }
}

/// Copies what has no content. Whether it did.
fn copy_node(seen: &OwnedFd, stat: &Stat, to: &OwnedFd, name: &CStr) -> io::Result<bool> {
    let made = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(seen, "", Vec::new())?;
        rustix::fs::symlinkat(&target, to, name)
    } else {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = Mode::from_raw_mode(stat.st_mode);
        rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)
    };
    // The root of a user namespace makes no devices.
    if made == Err(Errno::PERM) || !unless_there(made)? {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(to, name, Some(uid), Some(gid), flags)?;
    rustix::fs::utimensat(to, name, &times(stat)?, flags)?;
    Ok(true)
}

/// Opens the directory `path` below `root`, through no link.
fn open_below(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Whether it was made; it was not where something is already, for another mount to be put on.
fn unless_there(made: rustix::io::Result<()>) -> io::Result<bool> {
    match made {
        Err(Errno::EXIST) => Ok(false),
        made => Ok(made.map(|()| true)?),
    }
}

/// Copies `size` bytes less the holes, which stay: a file may be larger than any tmpfs.
fn copy_content(from: &File, to: &File, size: u64) -> io::Result<()> {
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            found => found?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        rustix::fs::seek(from, SeekFrom::Start(start))?;
        rustix::fs::seek(to, SeekFrom::Start(start))?;
        let copied = io::copy(&mut from.take(end - start), &mut &*to)?;
        if copied == 0 {
            // It has become shorter.
            break;
        }
        at = start + copied;
    }
    Ok(())
}

/// Gives a copy its owner, and then the mode, of which a change of the owner takes bits away.
fn finish(to: impl AsFd, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))
}

fn times(stat: &Stat) -> io::Result<Timestamps> {
    let nanoseconds = |of| i64::try_from(of).map_err(io::Error::other);
    Ok(Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: nanoseconds(stat.st_atime_nsec)?,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: nanoseconds(stat.st_mtime_nsec)?,
        },
    })
}

fn set_times(to: impl AsFd, stat: &Stat) -> rustix::io::Result<()> {
    let times = times(stat).map_err(|_| Errno::INVAL)?;
    rustix::fs::futimens(to, &times)
}

/// Copies the extended attributes that are the file's own, as far as a tmpfs has them.
fn copy_attributes(from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
    let mut names = vec![0; ATTRIBUTES];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let bytes = name.to_bytes();
        let is_kept =
            KEPT.contains(&bytes) || KEPT_BELOW.iter().any(|prefix| bytes.starts_with(prefix));
        if !is_kept {
            continue;
        }
        let mut value = vec![0; ATTRIBUTES];
        let length = rustix::fs::fgetxattr(&from, name, &mut value[..])?;
        let value = value.get(..length).unwrap_or_default();
        match rustix::fs::fsetxattr(&to, name, value, XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::copy;
    use rustix::fs::{CWD, FileType, Mode, OFlags, Timespec, Timestamps};
    use std::fs::File;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).unwrap()
    }

    fn copied(from: &Path, to: &Path) {
        let procfs = File::open("/proc").unwrap();
        copy(&open(from), &open(to), procfs.as_fd()).unwrap();
    }

    #[test]
    fn every_kind_of_file_is_copied_as_it_is() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (at, there) = (|path| from.path().join(path), |path| to.path().join(path));
        let old = Timespec {
            tv_sec: 1_000_000,
            tv_nsec: 7,
        };
        let old = Timestamps {
            last_access: old,
            last_modification: old,
        };
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), "content").unwrap();
        std::fs::set_permissions(at("a/b/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::fs::hard_link(at("a/b/file"), at("a/same")).unwrap();
        symlink("/etc/shadow", at("a/link")).unwrap();
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        for path in ["a/b/file", "a/link", "a/b", "a"] {
            rustix::fs::utimensat(CWD, at(path), &old, nofollow).unwrap();
        }
        std::fs::set_permissions(at("a"), PermissionsExt::from_mode(0o1777)).unwrap();
        copied(from.path(), to.path());
        assert_eq!(std::fs::read(there("a/b/file")).unwrap(), b"content");
        let stat = |path| std::fs::symlink_metadata(there(path)).unwrap();
        assert_eq!(stat("a/b/file").mode() & 0o7777, 0o4751);
        assert_eq!(stat("a/b/file").ino(), stat("a/same").ino());
        assert_eq!(
            std::fs::read_link(there("a/link")).unwrap(),
            Path::new("/etc/shadow")
        );
        assert!(stat("fifo").file_type().is_fifo());
        assert_eq!(stat("a").mode() & 0o7777, 0o1777);
        for path in ["a/b/file", "a/link", "a/b", "a"] {
            assert_eq!(
                (stat(path).mtime(), stat(path).mtime_nsec()),
                (1_000_000, 7),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_there_stays() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["file", "folder"] {
            std::fs::create_dir(from.path().join(name)).unwrap();
            std::fs::write(from.path().join(name).join("in"), "").unwrap();
        }
        std::fs::write(to.path().join("file"), "a mount point").unwrap();
        std::fs::create_dir(to.path().join("folder")).unwrap();
        copied(from.path(), to.path());
        assert_eq!(
            std::fs::read(to.path().join("file")).unwrap(),
            b"a mount point"
        );
        assert!(to.path().join("folder/in").is_file());
    }

    #[test]
    fn holes_stay_holes() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = File::create(from.path().join("lastlog")).unwrap();
        file.set_len(1 << 40).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 1 << 30).unwrap();
        copied(from.path(), to.path());
        let copy = File::open(to.path().join("lastlog")).unwrap();
        let stat = copy.metadata().unwrap();
        assert_eq!(stat.len(), 1 << 40);
        assert!(stat.blocks() < 1 << 11, "{}", stat.blocks());
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&copy, &mut byte, 1 << 30).unwrap();
        assert_eq!(&byte, b"x");
    }
}
