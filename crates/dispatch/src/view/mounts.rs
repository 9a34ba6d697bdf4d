//! The rootfs and what is mounted over it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::rootfs::Rootfs;

/// The rootfs with mounts over it, in the order in which they are made.
#[derive(Debug)]
pub(super) struct Mounts<'r> {
    pub(super) rootfs: &'r Rootfs,
    pub(super) list: Vec<Mounted>,
}

/// A mount, at its place.
#[derive(Debug)]
pub(super) struct Mounted {
    /// Destination with symlinks resolved.
    pub(super) at: PathBuf,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A directory of the host.
    Directory(OwnedFd),
    /// A file of the host, which may be a socket or a device too.
    File(PathBuf),
    /// Something of this type that does not exist before the container does.
    Unseen(String),
}

impl What {
    /// What `mount` puts at its destination; `None` if what was there stays to be seen.
    pub(super) fn of(mount: &Mount) -> Option<Self> {
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option == name);
        let kind = mount.typ().as_deref().unwrap_or_default();
        if has("remount") || mount.destination() == Path::new("/") {
            return None;
        }
        if kind == "bind" || has("bind") || has("rbind") {
            // runc takes a relative source from the bundle, of which nothing is known here.
            let source = mount
                .source()
                .as_deref()
                .filter(|source| source.is_absolute());
            return Some(
                source
                    .and_then(Self::bind)
                    .unwrap_or(Self::Unseen("bind".to_owned())),
            );
        }
        // With `tmpcopyup` the image's files are copied into it.
        let copied = kind == "tmpfs" && has("tmpcopyup");
        (!copied).then(|| Self::Unseen(kind.to_owned()))
    }

    fn bind(source: &Path) -> Option<Self> {
        let fd = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let stat = fstat(&fd).ok()?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            Some(Self::Directory(fd))
        } else {
            Some(Self::File(source.to_owned()))
        }
    }
}

impl Mounts<'_> {
    /// The mount that lies at `path` for someone who comes from within mount `from`: the last one
    /// made there, unless a later mount above hides it.
    pub(super) fn mounted(&self, path: &Path, from: Option<usize>) -> Option<usize> {
        (0..self.list.len())
            .rev()
            .find(|&n| Some(n) > from && self.list[n].at == path)
    }

    /// Whether a mount lies somewhere below `path`, which therefore is or becomes a directory.
    pub(super) fn leads_to_mount(&self, path: &Path, from: Option<usize>) -> bool {
        self.list
            .iter()
            .enumerate()
            .any(|(n, mount)| Some(n) > from && mount.at != path && mount.at.starts_with(path))
    }
}
