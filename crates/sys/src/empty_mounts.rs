//! A mount namespace with nothing in it, kept for all containers of a node.
//!
//! A new mount namespace is a copy of its maker's. On a node with thousands of mounts the copy, what is
//! read of it and its end are most of a container's start. So the first container of a node makes an
//! empty one, a read-only tmpfs as its root, and keeps it by a bind mount; the others copy that one,
//! and take along what they mount from.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::thread::LinkNameSpaceType;

use crate::child;
use crate::clone::SingleThreaded;

/// Where it is kept: in a directory of root's alone, that is a mount by itself, as what is kept below is
/// for no other mount namespace.
pub const DIR: &str = "/run/containerd-shim-wasm/mounts";

/// The file that it is mounted on.
const FILE: &str = "empty";

/// What `statfs` says of a namespace: `NSFS_MAGIC` of `linux/magic.h`.
const NSFS: rustix::fs::FsWord = 0x6e73_6673;

/// The permission to write that the group and others would have.
const OTHERS: u32 = 0o022;

/// Opens the one that is kept, or makes it.
///
/// # Errors
/// Those of the calls; the node's own mounts do as well, only slower.
pub fn open(alone: &SingleThreaded) -> io::Result<OwnedFd> {
    open_at(alone, Path::new(DIR))
}

fn open_at(alone: &SingleThreaded, dir: &Path) -> io::Result<OwnedFd> {
    match kept(dir) {
        Ok(kept) => Ok(kept),
        Err(_) => make(alone, dir),
    }
}

fn kept(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open_dir(dir)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let kept = rustix::fs::openat(&dir, FILE, flags, Mode::empty())?;
    // SAFETY: this request has no argument, and an fd that is no namespace refuses it.
    let kind = unsafe { libc::ioctl(kept.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if rustix::fs::fstatfs(&kept)?.f_type != NSFS || kind != libc::CLONE_NEWNS {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(kept)
}

/// Opens the directory, if only root may change what is in it.
fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    let seen = rustix::fs::fstat(&dir)?;
    if seen.st_uid != 0 || seen.st_mode & OTHERS != 0 {
        return Err(io::Error::other("others than root may write to it"));
    }
    Ok(dir)
}

/// Makes a directory of root's alone, if it is not there.
fn make_dir(dir: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(CWD, dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(dir),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes it. If several processes come at the same time, the first does, and the others open it.
fn make(alone: &SingleThreaded, dir: &Path) -> io::Result<OwnedFd> {
    if let Some(above) = dir.parent() {
        make_dir(above)?;
    }
    let lock = make_dir(dir)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    if let Ok(kept) = kept(dir) {
        return Ok(kept);
    }
    // The kernel binds a mount namespace only to a file whose mount is not shared with others.
    if !is_mount(dir)? {
        rustix::mount::mount_bind(dir, dir)?;
    }
    // Private as well. A container that mounts a directory above with all that is on it must not have the
    // namespace among that: the kernel mounts none within one that is younger.
    rustix::mount::mount_change(dir, MountPropagationFlags::UNBINDABLE)?;
    let file = dir.join(FILE);
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &file, flags, Mode::RUSR)?;
    let (mut ready, mut tell) = io::pipe()?;
    let (mut wait, done) = io::pipe()?;
    let clone = alone.clone_waited(|| {
        // The clone waits until the maker closes `done`, which it does when it ends too.
        child::close_fds(&[done.as_fd()]);
        let made = child::leave_mounts().and_then(|()| child::enter_empty_root(0));
        match made.and_then(|()| tell.write_all(&[1])) {
            Ok(()) => u8::from(wait.read(&mut [0]).is_err()),
            Err(_) => 1,
        }
    })?;
    drop(tell);
    let made = ready.read_exact(&mut [0]).and_then(|()| {
        let namespace = PathBuf::from(format!("/proc/{}/ns/mnt", clone.pid()));
        Ok(rustix::mount::mount_bind(namespace, &file)?)
    });
    drop(done);
    let ended = clone.wait();
    made?;
    ended?;
    kept(dir)
}

fn is_mount(at: &Path) -> io::Result<bool> {
    let seen = rustix::fs::statx(CWD, at, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Removes it, if it is there. Containers that run are as they were.
///
/// # Errors
/// Those of the calls.
pub fn remove(dir: &Path) -> io::Result<()> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    for at in [dir.join(FILE).as_path(), dir] {
        match rustix::mount::unmount(at, flags) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(std::fs::remove_file(dir.join(FILE)))?;
    gone(std::fs::remove_dir(dir))
}

impl SingleThreaded {
    /// Moves this process into a copy of the mount namespace `kept`, and makes a tmpfs of its own the root
    /// of both. No path that was valid before is valid from here on.
    ///
    /// # Errors
    /// Those of the calls; the process can't be used any more then.
    pub fn enter_empty_mounts(&self, kept: BorrowedFd<'_>) -> io::Result<()> {
        rustix::thread::move_into_link_name_space(kept, Some(LinkNameSpaceType::Mount))?;
        child::leave_mounts()?;
        let tmpfs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(tmpfs.as_fd(), "mode", "755")?;
        rustix::mount::fsconfig_create(tmpfs.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root =
            rustix::mount::fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        rustix::mount::move_mount(
            root.as_fd(),
            "",
            CWD,
            "/",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
        // A path that begins with `/` begins in what the process calls its root, below what was mounted
        // there just now.
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        Ok(())
    }
}
