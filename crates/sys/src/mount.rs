//! Clones of mounts that no path leads to, and what makes them differ from the original.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 0x1;

const MOUNT_ATTR_NOSUID: u64 = 0x2;

const MOUNT_ATTR_NODEV: u64 = 0x4;

const MOUNT_ATTR_NOEXEC: u64 = 0x8;

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// A clone of a mount, gone with this value unless it was attached.
#[derive(Debug)]
pub struct MountClone {
    fd: OwnedFd,
}

impl MountClone {
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
        let mut attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        if read_only {
            attr_set |= MOUNT_ATTR_RDONLY;
        }
        let attr = MountAttr {
            attr_set,
            ..MountAttr::default()
        };
        self.set(&attr, false)
    }

    /// Lets it be written to, if its file system can be.
    ///
    /// # Errors
    /// Those of `mount_setattr`.
    pub fn make_writable(&self) -> io::Result<()> {
        let attr = MountAttr {
            attr_clr: MOUNT_ATTR_RDONLY,
            ..MountAttr::default()
        };
        self.set(&attr, false)
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
    pub fn attach_on(self, at: BorrowedFd<'_>) -> io::Result<()> {
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
        attr_set: MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    set(at, &attr, false)
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
