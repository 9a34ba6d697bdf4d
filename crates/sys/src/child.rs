//! What a process does about itself, its parent and what it becomes.

use std::ffi::{CStr, CString};
use std::io;

use rustix::thread::{Gid, Uid};

/// The kernel's `_NSIG`.
pub(crate) const LAST_SIGNAL: i32 = 64;

/// Makes the calling process the parent of every orphan below it.
///
/// # Errors
/// Those of `prctl`.
pub fn become_subreaper() -> io::Result<()> {
    // Any pid but none switches it on; the kernel reads it as a flag.
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// The pid of our parent; 0 if it is in another pid namespace.
#[must_use]
pub fn parent() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}

/// Has the kernel kill this process when the thread that spawned it, of the process `parent`, ends.
///
/// # Errors
/// Those of `prctl`; `ESRCH` if the parent has died already, which gives us another one.
pub fn die_with(parent: i32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if self::parent() == parent {
        Ok(())
    } else {
        Err(rustix::io::Errno::SRCH.into())
    }
}

/// The user that owns nothing: `nobody` and `nogroup` on every distribution.
pub const NOBODY: u32 = 65534;

/// A user and group that no other process has: containers run as [`NOBODY`] too, and one that shares the
/// node's pids could signal a process of its own user. It is above all ids that Kubernetes, systemd and
/// `subuid` give away, and chosen anew each time. Where the node is itself in a user namespace that does
/// not have it, it is [`NOBODY`].
///
/// # Errors
/// Those of `getrandom`.
pub fn unused_user() -> io::Result<u32> {
    const FIRST: u32 = 1 << 31;
    let mut bytes = [0_u8; 4];
    // SAFETY: the kernel writes into an array of ours, of this length.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(count) != Ok(bytes.len()) {
        return Err(io::Error::last_os_error());
    }
    // Not the last one, which is none.
    let user = FIRST | u32::from_ne_bytes(bytes) >> 2;
    let has = |map: &str| std::fs::read_to_string(map).is_ok_and(|map| is_mapped(&map, user));
    let is_there = has("/proc/self/uid_map") && has("/proc/self/gid_map");
    Ok(if is_there { user } else { NOBODY })
}

/// Whether a user namespace with this map has an id.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        id.checked_sub(first).is_some_and(|offset| offset < count)
    })
}

/// Gives up what root may, for good, and becomes `user`; goes on dying with its parent.
///
/// # Errors
/// Those of the calls.
pub fn give_up_rights(user: u32) -> io::Result<()> {
    let parent = parent();
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_thread_groups(&[])?;
    become_user(user)?;
    // A change of user clears it.
    die_with(parent)
}

pub(crate) fn become_user(id: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    Ok(rustix::thread::set_thread_res_uid(user, user, user)?)
}

/// Takes all files away from this process: its root is an empty directory from here on, that any user
/// may write to and that holds `bytes` at most; read-only, if there are none to hold. Descriptors
/// stay. The caller has a mount namespace of its own.
///
/// # Errors
/// Those of `mount` and `pivot_root`.
pub fn enter_empty_root(bytes: u64) -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
    /// A dir that is on every node.
    const COVERED: &str = "/proc";
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    flags.set(MountFlags::RDONLY, bytes == 0);
    // No size at all would be no limit.
    let data = std::ffi::CString::new(format!("mode=1777,size={}", bytes.max(1)))?;
    rustix::mount::mount("medley-empty", COVERED, "tmpfs", flags, data.as_c_str())?;
    rustix::process::chdir(COVERED)?;
    // The old root lies over the new one then, and goes with all below it.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Leaves the mounts for a copy of them.
///
/// # Errors
/// Those of `unshare`.
pub fn leave_mounts() -> io::Result<()> {
    // SAFETY: without CLONE_FILES no descriptor of another thread changes its meaning.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the network, the mounts and the IPC objects of the node.
///
/// # Errors
/// Those of `unshare`.
pub fn leave_namespaces() -> io::Result<()> {
    // SAFETY: none of the flags is CLONE_FILES, so that no descriptor of another thread changes
    // its meaning; the caller is single-threaded besides.
    let result =
        unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal that this process ignores its default effect again, but for SIGPIPE, and holds none
/// back.
///
/// A process ignores what its parent ignored: under a containerd that was run by `nohup`, every
/// container would be deaf to SIGHUP, and a shell in it could not even set a trap. `Command` gives
/// SIGPIPE back to who is run; a process of our own gets an error instead. What is held back is so in
/// children, too: a fault of a guest, which its engine makes a trap of, would end the process.
pub fn hear_signals() {
    // SAFETY: an all-zero set is a valid one for `sigemptyset` to fill, and it outlives the call.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    let status = crate::kernel_file::read("/proc/self/status").unwrap_or_default();
    // Without procfs each is looked at.
    let ignored = ignored(&status).unwrap_or(u64::MAX);
    let by_mask = |signal: &i32| *signal != libc::SIGPIPE && ignored & 1 << (signal - 1) != 0;
    (1..=LAST_SIGNAL).filter(by_mask).for_each(default_effect);
}

/// Gives a signal its default effect. It is called in a child that has its parent's memory.
pub(crate) fn default_effect(signal: i32) {
    // The kernel's `sigaction`: handler, flags, restorer, mask. libc's own call refuses two signals
    // that it keeps for itself.
    let by_default = [0_usize; 4];
    // SAFETY: an array of the size of the kernel's structure; a default action runs nothing, and what
    // was there before is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            by_default.as_ptr(),
            std::ptr::null_mut::<usize>(),
            size_of::<u64>(),
        )
    };
}

/// The signals that a process with this status ignores, the first in the lowest bit.
fn ignored(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Keeps from what this process executes every capability that a spec does not give it: those that
/// containerd was made to pass on.
///
/// # Errors
/// Those of `capset` and `prctl`.
pub fn pass_on_no_capabilities() -> io::Result<()> {
    let sets = rustix::thread::capabilities(None)?;
    if !sets.inheritable.is_empty() {
        let inheritable = rustix::thread::CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            rustix::thread::CapabilitySets {
                inheritable,
                ..sets
            },
        )?;
    }
    Ok(rustix::thread::clear_ambient_capability_set()?)
}

/// Has this process, and what it makes, inherit these capabilities, by their numbers, over an exec of
/// a file that allows it: what is inheritable stays so, where more could not be made so later.
///
/// # Errors
/// Those of `capset`.
pub fn make_inheritable(capabilities: u64) -> io::Result<()> {
    let sets = rustix::thread::capabilities(None)?;
    let requested = rustix::thread::CapabilitySet::from_bits_retain(capabilities);
    let inheritable = sets.inheritable | requested;
    Ok(rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets {
            inheritable,
            ..sets
        },
    )?)
}

/// Sets the supplementary groups of this thread. Where a user without root's rights has made the user
/// namespace, no process may set any: to have none that is known there is all that can be had.
///
/// # Errors
/// Those of `setgroups`.
pub fn set_groups(groups: impl IntoIterator<Item = u32>) -> io::Result<()> {
    let groups: Vec<_> = groups
        .into_iter()
        .map(rustix::process::Gid::from_raw)
        .collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(rustix::io::Errno::PERM) if groups.is_empty() && may_set_no_groups() => Ok(()),
        set => Ok(set?),
    }
}

fn may_set_no_groups() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|says| says.trim() == "deny")
}

/// Makes these descriptors 3, 4 and so on of a program that is executed next. None of them may have such
/// a number yet. What had those numbers is lost.
///
/// # Errors
/// Those of `dup2`.
pub fn pass_on(fds: &[std::os::fd::OwnedFd]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    for (number, fd) in (3..).zip(fds) {
        // SAFETY: both are plain numbers. It is for a process that executes a program or ends, and does
        // nothing more with what had the number.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Executes a program, with every signal at its default and none blocked; comes back only if that
/// fails. Unlike `Command`, it has no shell read a file that the kernel does not know for a program.
pub fn execute(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: an all-zero set is a valid one for `sigemptyset` to fill; SIGPIPE's default runs
    // nothing of ours; both arrays end with null, and they and their strings outlive the call.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr());
    }
    io::Error::last_os_error()
}

/// Ends the process at once: no destructor, no `atexit`, nothing flushed.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit has no precondition. `std::process::exit` runs `atexit` handlers of the
    // helper that this process was cloned from, while an engine's threads may still run.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Closes every descriptor of the process but these. The owners of the others must not use them
/// again.
pub fn close_all_but(keep: &[std::os::fd::BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    let mut numbers: Vec<_> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    numbers.sort_unstable();
    let mut first = 0;
    for number in numbers {
        if number > first {
            close_range(first, number - 1);
        }
        first = number + 1;
    }
    close_from(first);
}

/// Closes these descriptors. Their owners must not use them again.
pub fn close_fds(fds: &[std::os::fd::BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    for fd in fds {
        let number = fd.as_raw_fd().unsigned_abs();
        close_range(number, number);
    }
}

/// Keeps every process that lacks `CAP_SYS_PTRACE` on the node from attaching to this one, from
/// reading its memory and from taking its descriptors, until it executes a program. A clone inherits
/// it; a change of user or of capabilities may undo it where `fs.suid_dumpable` is 1.
///
/// # Errors
/// Those of `prctl`.
pub fn be_undumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        rustix::process::DumpableBehavior::NotDumpable,
    )?)
}

/// How many descriptors are open from the number `first` on without a gap, of which this process's programs
/// get none from here on: for a process that has opened none itself yet.
pub fn count_inherited(first: i32) -> usize {
    let is_open = |number: &i32| {
        // SAFETY: a plain question about a number.
        unsafe { libc::fcntl(*number, libc::F_GETFD) >= 0 }
    };
    let count = (first..).take_while(is_open).count();
    // SAFETY: a plain system call, which closes nothing before a program is executed.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
    count
}

/// A further descriptor for what an inherited one, which is named by its number, stands for.
///
/// # Errors
/// `EBADF` if there is none.
pub fn clone_inherited(number: i32) -> io::Result<std::os::fd::OwnedFd> {
    // SAFETY: the number is used in this call alone, and one that is not open is an error.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fd.try_clone_to_owned()
}

/// Closes every descriptor with the number `first` or a higher one. The owner of such a descriptor must
/// not use it again.
pub fn close_from(first: u32) {
    close_range(first, libc::c_uint::MAX);
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    crate::trace::closed(first, last);
    // SAFETY: a plain system call. It is for a process that does nothing more with what is closed
    // and ends without running destructors.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

#[cfg(test)]
mod tests {
    use super::{NOBODY, ignored, is_mapped, unused_user};

    #[test]
    fn ignored_signals_are_a_line_of_a_processs_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000180001001\n";
        assert_eq!(ignored(status), Some(0x1_8000_1001));
        assert_eq!(ignored("Name:\tx\n"), None);
    }

    #[test]
    fn an_id_is_in_a_user_namespace_whose_map_has_it() {
        let all = "         0          0 4294967295\n";
        assert!(is_mapped(all, 0) && is_mapped(all, u32::MAX - 1) && !is_mapped(all, u32::MAX));
        let some = "0 100000 1000\n65534 200000 1\n";
        assert!(is_mapped(some, 999) && !is_mapped(some, 1000));
        assert!(is_mapped(some, NOBODY) && !is_mapped(some, 1 << 31));
        assert!(!is_mapped("", 0) && !is_mapped("0 0", 0) && !is_mapped("a b c", 0));
    }

    #[test]
    fn a_user_is_another_one_each_time() {
        let users = [unused_user().unwrap(), unused_user().unwrap()];
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if is_mapped(&map, u32::MAX - 1) {
            assert!(users.iter().all(|user| (1 << 31..u32::MAX).contains(user)));
            assert_ne!(users[0], users[1]);
        } else {
            assert_eq!(users, [NOBODY; 2]);
        }
    }
}
