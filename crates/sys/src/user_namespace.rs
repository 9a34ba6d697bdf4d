//! A user namespace without processes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::clone::SingleThreaded;

/// Whether this process is in the first one, which has every id; also not if that can't be read.
#[must_use]
pub fn is_first() -> bool {
    let map = crate::kernel_file::read("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Makes a user namespace with these maps, in the lines that `/proc/<pid>/uid_map` takes, and gives
/// a handle on it. It lives as long as the handle.
///
/// # Errors
/// The kernel's: it has no user namespaces, there are too many, or a map is not valid.
pub fn create(alone: &SingleThreaded, uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    let holder = alone.clone_child_in_user_namespace(|| {
        // Until it is killed: what keeps the namespace while it gets its maps.
        if crate::child::die_with(parent).is_ok() {
            std::thread::sleep(Duration::from_secs(u64::from(u32::MAX)));
        }
        0
    })?;
    let made = mapped(holder, uid_map, gid_map);
    let pid = rustix::process::Pid::from_raw(holder);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    }
    made
}

/// Does `work` on files as a user and a group of the node, with no right of root's on them: as the root
/// of a user namespace, who owns its containers' files.
///
/// # Errors
/// The thread's that does it, and those of `work`.
pub fn as_owner<T: Send>(
    user: u32,
    group: u32,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: both calls take a number and change this thread alone, which ends with its
            // work; that libc would change other threads as well is true of setuid, not of these.
            unsafe {
                libc::setfsgid(group);
                libc::setfsuid(user);
            }
            work()
        })?;
        let panicked = |_| io::Error::other("the thread that works as another user panicked");
        thread.join().map_err(panicked)?
    })
}

fn mapped(holder: i32, uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    // One write each: the kernel takes a map as a whole, and only once.
    std::fs::write(format!("/proc/{holder}/uid_map"), uid_map)?;
    std::fs::write(format!("/proc/{holder}/gid_map"), gid_map)?;
    Ok(File::open(format!("/proc/{holder}/ns/user"))?.into())
}
