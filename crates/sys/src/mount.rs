//! Clones of mounts that no path leads to, and what makes them differ from the original.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Attributes of a mount, those of `linux/mount.h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// What it is to have.
    pub set: u64,
    /// What it is not to have, where that is not set at the same time.
    pub clear: u64,
}

impl Attributes {
    /// Nothing can be changed.
    pub const READ_ONLY: u64 = 0x1;
    /// A program gives no rights.
    pub const NO_SUID: u64 = 0x2;
    /// No devices are opened.
    pub const NO_DEVICES: u64 = 0x4;
    /// No programs are started.
    pub const NO_PROGRAMS: u64 = 0x8;
    /// All of those that say how times of access are kept.
    pub const TIMES: u64 = 0x70;
    /// No times of access are kept.
    pub const NO_TIMES: u64 = 0x10;
    /// All of them are.
    pub const STRICT_TIMES: u64 = 0x20;
    /// None of dirs are.
    pub const NO_DIR_TIMES: u64 = 0x80;

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The flags of a mount, as `mount_setattr(2)` has them.
#[allow(
    missing_docs,
    reason = "they have the names of the options of mount(8)"
)]
pub mod flags {
    pub const RDONLY: u32 = 0x1;
    pub const NOSUID: u32 = 0x2;
    pub const NODEV: u32 = 0x4;
    pub const NOEXEC: u32 = 0x8;
    pub const NOATIME: u32 = 0x10;
    pub const STRICTATIME: u32 = 0x20;
    pub const NODIRATIME: u32 = 0x80;
    pub const NOSYMFOLLOW: u32 = 0x0020_0000;
    /// For the kernel it is that there is neither of the other two: no bit that it may be given.
    pub const RELATIME: u32 = 0x8000_0000;
    /// What has to be taken away before one of them is set.
    pub const ALL_TIMES: u32 = 0x70 | NODIRATIME;
}

/// A clone of a mount, gone with this value unless it was attached.
#[derive(Debug)]
pub struct MountClone {
    fd: OwnedFd,
}

impl MountClone {
    /// No clone, but a mount of a file system of its own: of this kind, from `source`, with its options, each
    /// `NAME` or `NAME=value`, and the attributes that are set.
    ///
    /// # Errors
    /// Those of `fsopen`, `fsconfig` and `fsmount`.
    pub fn new(kind: &str, source: &Path, options: &[String], attributes: u64) -> io::Result<Self> {
        let attributes = u32::try_from(attributes).map_err(io::Error::other)?;
        let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        let fs = fs.as_fd();
        rustix::mount::fsconfig_set_string(fs, "source", source)?;
        for option in options {
            match option.split_once('=') {
                Some((name, value)) => rustix::mount::fsconfig_set_string(fs, name, value)?,
                None => rustix::mount::fsconfig_set_flag(fs, option)?,
            }
        }
        rustix::mount::fsconfig_create(fs)?;
        let attributes = MountAttrFlags::from_bits_retain(attributes);
        let fd = rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self { fd })
    }

    /// Clones the mount at `path`, and what is mounted below it if `recursive`.
    ///
    /// # Errors
    /// Those of `open_tree`.
    pub fn of(path: &Path, recursive: bool) -> io::Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let fd = rustix::mount::open_tree(CWD, path, flags)?;
        Ok(Self { fd })
    }

    /// Clones the mount that `dir` lies in, as seen from there, without what is mounted below it.
    ///
    /// # Errors
    /// Those of `open_tree`.
    pub fn of_dir(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let fd = rustix::mount::open_tree(dir, "", flags)?;
        Ok(Self { fd })
    }

    /// Clones what is mounted at `at`, as seen from there, and what is mounted below it.
    ///
    /// # Errors
    /// Those of `open_tree`.
    pub fn of_all(at: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let fd = rustix::mount::open_tree(at, "", flags)?;
        Ok(Self { fd })
    }

    /// Makes it read-only.
    ///
    /// # Errors
    /// Those of `mount_setattr` (Linux 5.12).
    pub fn make_read_only(&self) -> io::Result<()> {
        make_read_only(self.fd.as_fd())
    }

    /// Has it start no programs, give no rights and no devices; and makes it read-only if asked.
    ///
    /// # Errors
    /// Those of `mount_setattr`.
    pub fn confine(&self, read_only: bool) -> io::Result<()> {
        let mut set = Attributes::NO_SUID | Attributes::NO_DEVICES | Attributes::NO_PROGRAMS;
        if read_only {
            set |= Attributes::READ_ONLY;
        }
        self.set_attributes(Attributes { set, clear: 0 }, false)
    }

    /// Changes its attributes, and those of what is mounted below it if `recursive`.
    ///
    /// # Errors
    /// Those of `mount_setattr` (Linux 5.12).
    pub fn set_attributes(&self, attributes: Attributes, recursive: bool) -> io::Result<()> {
        let attr = MountAttr {
            attr_set: attributes.set,
            attr_clr: attributes.clear,
            ..MountAttr::default()
        };
        self.set(&attr, recursive)
    }

    /// Lets it be written to, if its file system can be.
    ///
    /// # Errors
    /// Those of `mount_setattr`.
    pub fn make_writable(&self) -> io::Result<()> {
        let clear = Attributes::READ_ONLY;
        self.set_attributes(Attributes { set: 0, clear }, false)
    }

    /// Sets how mounts below it are told, and those below what is mounted there if `recursive`.
    ///
    /// # Errors
    /// Those of `mount_setattr`.
    pub fn set_propagation(
        &self,
        propagation: MountPropagationFlags,
        recursive: bool,
    ) -> io::Result<()> {
        set_propagation(self.fd.as_fd(), propagation, recursive)
    }

    /// Shows its files, and those of what is mounted below it if `recursive`, as owned by the ids
    /// that `user_namespace` maps to theirs.
    ///
    /// # Errors
    /// Those of `mount_setattr`: the file system must know of it.
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
        let attr = MountAttr {
            attr_set: MOUNT_ATTR_IDMAP,
            userns_fd: u64::try_from(user_namespace.as_raw_fd()).map_err(io::Error::other)?,
            ..MountAttr::default()
        };
        self.set(&attr, recursive)
    }

    fn set(&self, attr: &MountAttr, recursive: bool) -> io::Result<()> {
        set(self.fd.as_fd(), attr, recursive)
    }

    /// Mounts it at `path`.
    ///
    /// # Errors
    /// Those of `move_mount`.
    pub fn attach(self, path: &Path) -> io::Result<()> {
        Ok(rustix::mount::move_mount(
            self.fd.as_fd(),
            "",
            CWD,
            path,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?)
    }

    /// Mounts it on what `at` is a handle of.
    ///
    /// # Errors
    /// Those of `move_mount`.
    pub fn attach_on(&self, at: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::mount::move_mount(
            self.fd.as_fd(),
            "",
            at,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )?)
    }

    /// A handle of its root.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its handle.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Makes the mount read-only whose root `at` is.
///
/// # Errors
/// Those of `mount_setattr` (Linux 5.12).
pub fn make_read_only(at: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: Attributes::READ_ONLY,
        ..MountAttr::default()
    };
    set(at, &attr, false)
}

/// Sets and takes away flags of the mount whose root `at` is.
///
/// # Errors
/// Those of `mount_setattr` (Linux 5.12).
pub fn set_flags(at: BorrowedFd<'_>, set: u32, clear: u32) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set.into(),
        attr_clr: clear.into(),
        ..MountAttr::default()
    };
    self::set(at, &attr, false)
}

/// Sets how mounts below the mount are told whose root `at` is, and those below what is mounted there
/// if `recursive`.
///
/// # Errors
/// Those of `mount_setattr` (Linux 5.12).
pub fn set_propagation(
    at: BorrowedFd<'_>,
    propagation: MountPropagationFlags,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        propagation: propagation.bits().into(),
        ..MountAttr::default()
    };
    set(at, &attr, recursive)
}

fn set(at: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string, allowed by AT_EMPTY_PATH, and the kernel
    // reads exactly `size_of::<MountAttr>()` bytes of an initialised structure that outlives the
    // call. rustix has no mount_setattr.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
