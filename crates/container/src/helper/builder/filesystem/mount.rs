//! One mount of the spec.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcontainer::rootfs::utils::{MountOptionConfig, parse_mount};
use medley_sys::in_root::{self, Missing};
use medley_sys::mount::{Attributes, MountClone};
use oci_spec::runtime::Mount;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::Error;
use crate::spec::propagation::Kind;
use crate::spec::{has_option, is_bind};

/// File systems of the kernel's that have to be where their name is, and not where a link leads.
const NEVER_BEHIND_LINKS: [&str; 2] = ["proc", "sysfs"];

/// What is written to while init makes devices in it.
const DEV: &str = "/dev";

const PROC: &str = "/proc";

const TMPFS: &str = "tmpfs";

/// How often a file system is tried that the kernel is still about to give up, and how long it has.
const TRIES: usize = 3;
const RELEASE: Duration = Duration::from_millis(100);

/// A mount that is to be made.
pub(super) struct Mounted {
    mount: Mount,
    what: What,
    /// Whether its destination lies in another mount, which may be a volume that others change meanwhile.
    is_in_volume: bool,
}

enum What {
    /// Of the node's: a directory, or a file.
    Clone(MountClone, Missing),
    /// A file system of its own.
    New(MountOptionConfig),
}

impl Mounted {
    /// In the helper: takes hold of what is mounted from the node. `before` are those that are mounted earlier.
    pub(super) fn hold(
        mount: &Mount,
        propagation: MountPropagationFlags,
        before: &[Mount],
    ) -> Result<Self, Error> {
        let is_in_volume = before
            .iter()
            .any(|before| is_bind(before) && mount.destination().starts_with(before.destination()));
        let config = parse_mount(mount).map_err(|error| refused(mount, &error.to_string()))?;
        let source = mount.source().as_ref();
        let source = source.ok_or_else(|| refused(mount, "it has no source"))?;
        if !is_bind(mount) {
            let what = What::New(config);
            return Ok(Self {
                mount: mount.clone(),
                what,
                is_in_volume,
            });
        }
        let held = || {
            let is_recursive = has_option(mount, &["rbind"]);
            let clone = MountClone::of(&Path::new("/").join(source), is_recursive)?;
            let attributes = attributes(&config);
            if !attributes.is_empty() {
                clone.set_attributes(attributes, false)?;
            }
            if let Some(below) = below(&config) {
                clone.set_attributes(below, true)?;
            }
            clone.set_propagation(propagation, true)?;
            // Before anything is mounted below it, which would be seen on the node too.
            for option in mount.options().iter().flatten() {
                if let Some((kind, is_recursive)) = Kind::of_option(option) {
                    clone.set_propagation(kind.flags(), is_recursive)?;
                }
            }
            let mode = rustix::fs::fstat(clone.as_fd())?.st_mode;
            let missing = match FileType::from_raw_mode(mode) {
                FileType::Directory => Missing::Dir,
                _ => Missing::File,
            };
            Ok(What::Clone(clone, missing))
        };
        let what = held().map_err(|error| Error::Source {
            source_path: source.clone(),
            at: mount.destination().clone(),
            source: error,
        })?;
        Ok(Self {
            mount: mount.clone(),
            what,
            is_in_volume,
        })
    }

    /// In init: puts it below `root`. Gives what is to be read-only once all is mounted, and where it is.
    pub(super) fn put(self, root: BorrowedFd<'_>) -> Result<Option<(PathBuf, OwnedFd)>, Error> {
        let failed = |source: io::Error| {
            log::error!("failed to mount {:?}: {source}", self.mount);
            Error::Mount {
                at: self.mount.destination().clone(),
                source,
            }
        };
        let at = match &self.what {
            What::Clone(_, missing) => in_root::make(root, self.mount.destination(), *missing),
            What::New(_) => point(root, &self.mount),
        };
        let at = at.map_err(failed)?;
        if self.is_in_volume {
            must_be_apart(root, at.as_fd(), &self.mount)?;
        }
        let (new, is_filled) = match self.what {
            What::Clone(clone, _) => (clone, false),
            What::New(config) => {
                let is_filled = is_filled(&self.mount);
                let is_read_only = attributes(&config).set & Attributes::READ_ONLY != 0;
                let new = make(&self.mount, config, is_filled).map_err(failed)?;
                (new, is_filled && is_read_only)
            }
        };
        new.attach_on(at.as_fd()).map_err(failed)?;
        Ok(is_filled.then(|| (self.mount.destination().clone(), new.into_fd())))
    }
}

/// Of a mount that can't be made, whatever the kernel says.
fn refused(mount: &Mount, reason: &str) -> Error {
    log::error!("failed to mount {mount:?}: {reason}");
    Error::Options {
        at: mount.destination().clone(),
        reason: reason.to_owned(),
    }
}

/// A mount of a file system of its own.
fn make(mount: &Mount, mut config: MountOptionConfig, is_filled: bool) -> io::Result<MountClone> {
    config.data.retain(|option| !option.is_empty());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let mut attributes = attributes(&config);
    if is_filled {
        attributes.set &= !Attributes::READ_ONLY;
    }
    let mut tries = 1;
    let new = loop {
        match MountClone::new(kind, source, &config.data, attributes.set) {
            Err(error) if is_busy(&error) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(RELEASE);
            }
            new => break new?,
        }
    };
    if let Some(below) = below(&config) {
        new.set_attributes(below, true)?;
    }
    Ok(new)
}

/// Whether something is made in it after it was mounted: devices, and destinations of other mounts.
fn is_filled(mount: &Mount) -> bool {
    mount.destination() == Path::new(DEV) || mount.typ().as_deref() == Some(TMPFS)
}

/// Refuses a place in a volume that is outside of it: over the root of the container processes that are
/// added to it would have another root than init, and in procfs they would not see the kernel's files.
fn must_be_apart(root: BorrowedFd<'_>, at: BorrowedFd<'_>, mount: &Mount) -> Result<(), Error> {
    let behind = |place| Error::Behind {
        at: mount.destination().clone(),
        place,
    };
    let place = |fd: BorrowedFd<'_>| {
        let flags = StatxFlags::INO | StatxFlags::MNT_ID;
        let seen = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, flags);
        let seen = seen.map_err(|errno| Error::Mount {
            at: mount.destination().clone(),
            source: errno.into(),
        })?;
        Ok((seen.stx_mnt_id, seen.stx_ino))
    };
    let (root_place, at_place) = (place(root)?, place(at)?);
    if root_place == at_place {
        return Err(behind("the root of the container"));
    }
    let procfs = in_root::open_no_links(root, Path::new(PROC), OFlags::PATH | OFlags::DIRECTORY);
    let Ok(procfs) = procfs else {
        return Ok(());
    };
    let (procfs, _) = place(procfs.as_fd())?;
    if procfs != root_place.0 && procfs == at_place.0 && !mount.destination().starts_with(PROC) {
        return Err(behind(PROC));
    }
    Ok(())
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::BUSY.raw_os_error())
}

/// Where a file system is mounted.
fn point(root: BorrowedFd<'_>, mount: &Mount) -> io::Result<OwnedFd> {
    let at = mount.destination();
    let kind = mount.typ().as_deref().unwrap_or_default();
    if !NEVER_BEHIND_LINKS.contains(&kind) {
        return in_root::make(root, at, Missing::Dir);
    }
    let open = || in_root::open_no_links(root, at, OFlags::PATH | OFlags::DIRECTORY);
    match open() {
        Err(Errno::NOENT) => {
            in_root::make(root, at, Missing::Dir)?;
            Ok(open()?)
        }
        opened => Ok(opened?),
    }
}

/// What its options say of the mount itself, as `mount_setattr` has it.
fn attributes(config: &MountOptionConfig) -> Attributes {
    /// `mount(2)`'s and `mount_setattr(2)`'s.
    const SAME: [(MountFlags, u64); 5] = [
        (MountFlags::RDONLY, Attributes::READ_ONLY),
        (MountFlags::NOSUID, Attributes::NO_SUID),
        (MountFlags::NODEV, Attributes::NO_DEVICES),
        (MountFlags::NOEXEC, Attributes::NO_PROGRAMS),
        (MountFlags::NODIRATIME, Attributes::NO_DIR_TIMES),
    ];
    /// How times of access are kept; the first one that is asked for counts.
    const TIMES: [(MountFlags, u64); 3] = [
        (MountFlags::STRICTATIME, Attributes::STRICT_TIMES),
        (MountFlags::NOATIME, Attributes::NO_TIMES),
        (MountFlags::RELATIME, 0),
    ];
    let flags = u32::try_from(config.flags.bits()).unwrap_or_default();
    let flags = MountFlags::from_bits_retain(flags);
    let mut attributes = Attributes::default();
    for (flag, attribute) in SAME {
        if flags.contains(flag) {
            attributes.set |= attribute;
        }
    }
    if let Some((_, time)) = TIMES.iter().find(|(flag, _)| flags.contains(*flag)) {
        attributes.set |= time;
        attributes.clear |= Attributes::TIMES;
    }
    attributes
}

/// What they say of all that is mounted below it too.
fn below(config: &MountOptionConfig) -> Option<Attributes> {
    config.rec_attr.as_ref().map(|all| Attributes {
        set: all.attr_set,
        clear: all.attr_clr,
    })
}
