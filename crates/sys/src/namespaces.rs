//! Namespaces of their own for a single-threaded process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::child::{NOBODY, become_user, enter_empty_root};
use crate::clone::SingleThreaded;

/// `NS_GET_USERNS` of `linux/nsfs.h`.
const GET_USERNS: libc::Ioctl = 0xb701;

/// The user namespace that owns the namespace `of`.
///
/// # Errors
/// Those of the ioctl: `EPERM` if it is not ours to see.
pub fn owner(of: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    // SAFETY: the request takes no argument; `of` is open for the length of the call.
    let fd = unsafe { libc::ioctl(of.as_raw_fd(), GET_USERNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made the descriptor, and no other code knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether two descriptors are of the same namespace.
///
/// # Errors
/// Those of `fstat`.
pub fn are_one(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

impl SingleThreaded {
    /// Enters a namespace of any kind.
    ///
    /// # Errors
    /// Those of `setns`.
    pub fn join(&self, namespace: impl AsFd) -> io::Result<()> {
        let any: Option<LinkNameSpaceType> = None;
        Ok(rustix::thread::move_into_link_name_space(
            namespace.as_fd(),
            any,
        )?)
    }

    /// Becomes root of the user namespace that it has joined.
    ///
    /// # Errors
    /// Those of `setresuid` and `setresgid`.
    pub fn become_root(&self) -> io::Result<()> {
        become_user(0)
    }

    /// Leaves its namespaces of these kinds for new ones. A new pid namespace is for the processes
    /// that are made from then on.
    ///
    /// # Errors
    /// Those of `unshare`.
    pub fn leave(&self, ipc: bool, uts: bool, pid: bool) -> io::Result<()> {
        let mut kinds = UnshareFlags::empty();
        kinds.set(UnshareFlags::NEWIPC, ipc);
        kinds.set(UnshareFlags::NEWUTS, uts);
        kinds.set(UnshareFlags::NEWPID, pid);
        // SAFETY: none of the flags is CLONE_FILES, so that no descriptor changes its meaning.
        Ok(unsafe { rustix::thread::unshare_unsafe(kinds) }?)
    }
}

/// Makes the calling process, alone in a new mount namespace, one whose mounts no other gets:
/// its root is empty and read-only, it has no rights, and its memory and its files are not for
/// those who share its pid namespace. Its children are reaped by the kernel.
///
/// # Errors
/// Those of the calls.
pub fn become_nobody() -> io::Result<()> {
    // SAFETY: none of the flags is CLONE_FILES, so that no descriptor changes its meaning; the
    // caller is a clone with one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    enter_empty_root(0)?;
    // Where setgroups is denied there is nothing to give up either.
    if let Err(errno) = rustix::thread::set_thread_groups(&[])
        && errno != rustix::io::Errno::PERM
    {
        return Err(errno.into());
    }
    rustix::thread::set_no_new_privs(true)?;
    // All capabilities go with root's id. Every user namespace of a pod has an id for `nobody`.
    become_user(NOBODY)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // SAFETY: SIG_IGN is a valid disposition; rustix has no call for it.
    let old = unsafe { libc::signal(Signal::CHILD.as_raw(), libc::SIG_IGN) };
    if old == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{are_one, owner};
    use std::fs::File;

    #[test]
    fn a_namespace_is_itself_and_no_other() {
        let open = |name| File::open(format!("/proc/self/ns/{name}")).unwrap();
        assert!(are_one(open("net"), open("net")).unwrap());
        assert!(!are_one(open("net"), open("ipc")).unwrap());
    }

    #[test]
    fn what_is_no_namespace_has_no_owner() {
        let file = File::open("/proc/self/status").unwrap();
        assert!(owner(std::os::fd::AsFd::as_fd(&file)).is_err());
    }
}
