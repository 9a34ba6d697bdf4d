//! The children of this process: those that a caller waits for, and all others, orphans that came to
//! it as their subreaper, which it reaps.
//!
//! There is one list for the whole process, as the kernel has one. A child is in it before an orphan's
//! reaper could take it for an orphan: none is reaped while a child is being made, which may take as
//! long as the file system of its program likes. Orphans that end meanwhile are reaped right after.

use std::collections::HashSet;
use std::io;
use std::process::{self, Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions};

use crate::pidfd::{ExitStatus, PidFd};
use crate::spawn::{self, Program};

/// Held, together with others, while a child is made that is not in the list yet; by itself while
/// orphans are reaped.
static MAKING: RwLock<()> = RwLock::new(());

/// Whether orphans were to be reaped while a child was being made.
static MISSED: AtomicBool = AtomicBool::new(false);

/// Guards the pids of the children that a caller waits for, and their being reaped. It is held for an
/// instant, since an async thread may wait for it.
static AWAITED: LazyLock<Mutex<HashSet<i32>>> = LazyLock::new(Mutex::default);

fn awaited() -> MutexGuard<'static, HashSet<i32>> {
    // A set of numbers is whole after a panic too.
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a child that the caller waits for with [`wait`].
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    making(|| {
        let child = command.spawn()?;
        // What is no pid can't be reaped.
        if let Ok(pid) = pid_of(&child) {
            awaited().insert(pid);
        }
        Ok(child)
    })
}

/// Executes a program in a child that the caller waits for with [`wait_with_time`].
///
/// # Errors
/// Those of [`Program::spawn`].
pub fn execute(program: &Program<'_>) -> io::Result<i32> {
    making(|| {
        let pid = program.spawn()?;
        awaited().insert(pid);
        Ok(pid)
    })
}

/// Makes a child while no orphan is reaped.
fn making<T>(make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let making = MAKING.read().unwrap_or_else(PoisonError::into_inner);
    let made = make();
    drop(making);
    if MISSED.swap(false, Ordering::SeqCst) {
        // What fails now is tried again, and told, when the next child ends.
        reap_orphans().ok();
    }
    made
}

/// Waits for the end of a child of [`spawn()`], and reaps it.
///
/// # Errors
/// Those of `waitid`.
pub fn wait(child: &mut Child) -> io::Result<process::ExitStatus> {
    let pid = pid_of(child)?;
    time_at_end(pid)?;
    reap_with(pid, || child.wait())
}

/// Waits for the end of a child of [`execute`], and reaps it. Tells the processor time that it took.
///
/// # Errors
/// Those of `waitid`.
pub fn wait_with_time(pid: i32) -> io::Result<(process::ExitStatus, Duration)> {
    let time = time_at_end(pid)?;
    let status = reap_with(pid, || spawn::wait(pid, WaitOptions::empty()))?;
    Ok((status.ok_or(io::ErrorKind::NotFound)?, time))
}

/// Reaps a child that has ended, and takes it off the list.
fn reap_with<T>(pid: i32, reap: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut awaited = awaited();
    let status = reap();
    awaited.remove(&pid);
    status
}

/// Waits for the end of a child, and tells the processor time that it took.
fn time_at_end(pid: i32) -> io::Result<Duration> {
    loop {
        // Without the list: this may take as long as the child likes.
        match time_once(pid) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            time => return time,
        }
    }
}

fn time_once(pid: i32) -> io::Result<Duration> {
    // SAFETY: all-zero structures are valid ones for the kernel to overwrite.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: both are ours and outlive the call. Neither libc nor rustix has the fifth argument.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            pid,
            &raw mut info,
            libc::WEXITED | libc::WNOWAIT,
            &raw mut usage,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [user, system] = [usage.ru_utime, usage.ru_stime].map(|time| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let micros = u64::try_from(time.tv_usec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    });
    Ok(user + system)
}

/// Runs a command to its end, with what it says on stderr and no other output.
///
/// # Errors
/// Those of [`Command::spawn`], and of reading.
pub fn output(command: &mut Command) -> io::Result<Output> {
    use std::io::Read;
    command
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::piped());
    let mut child = spawn(command)?;
    let mut stderr = Vec::new();
    let read = match child.stderr.take() {
        Some(mut pipe) => pipe.read_to_end(&mut stderr).map(drop),
        None => Ok(()),
    };
    let status = wait(&mut child)?;
    read?;
    Ok(Output {
        status,
        stdout: Vec::new(),
        stderr,
    })
}

/// Makes a child that no caller waits for, and a handle on it: it is not reaped before that is there.
///
/// # Errors
/// Those of `make`, which gives the child's pid, and of `pidfd_open`.
pub fn orphan(make: impl FnOnce() -> io::Result<i32>) -> io::Result<PidFd> {
    making(|| PidFd::open(make()?))
}

/// Leaves the process `pid`, a child of ours or one that will come to us, to who waits for it.
pub fn keep(pid: i32) {
    awaited().insert(pid);
}

/// Reaps a kept process if it has ended.
///
/// # Errors
/// Those of [`PidFd::try_reap`].
pub fn reap(process: &PidFd) -> io::Result<Option<ExitStatus>> {
    let mut awaited = awaited();
    let ended = process.try_reap()?;
    if ended.is_some() {
        awaited.remove(&process.pid());
    }
    Ok(ended)
}

/// As [`reap`], of one that is about to end, and is waited for as long as `timeout`.
///
/// # Errors
/// Those of [`reap`] and of `poll`.
pub fn reap_within(process: &PidFd, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    process.wait_for_end(Some(timeout))?;
    reap(process)
}

/// Gives a kept process up: it is an orphan from here on, and reaped if it has ended already.
pub fn let_go(pid: i32) {
    let mut awaited = awaited();
    awaited.remove(&pid);
    reap_pid(pid);
}

/// Reaps every ended child that no caller waits for, and tells how many there were: none while a child
/// is being made, whose maker does it afterwards. It never waits for that.
///
/// # Errors
/// Those of `waitid`, but for having no child at all.
pub fn reap_orphans() -> io::Result<usize> {
    let mut all = 0;
    loop {
        // Before the look: who makes a child, or reaps, by then sees it afterwards.
        MISSED.store(true, Ordering::SeqCst);
        let alone = match MAKING.try_write() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(all),
        };
        MISSED.store(false, Ordering::SeqCst);
        let reaped = reap_now();
        drop(alone);
        all += reaped?;
        if !MISSED.load(Ordering::SeqCst) {
            return Ok(all);
        }
    }
}

/// Reaps what [`reap_orphans`] does, while no child is made.
fn reap_now() -> io::Result<usize> {
    let awaited = awaited();
    let mut reaped = 0;
    while let Some(pid) = first_ended()? {
        if awaited.contains(&pid) {
            // The kernel names it again and again, and none of those that stand behind it.
            return Ok(reaped + reap_listed(&awaited));
        }
        reaped += usize::from(reap_pid(pid));
    }
    Ok(reaped)
}

/// Reaps as [`reap_orphans`] does, by the lists of children that procfs has of each thread. A kernel
/// without these lists has the orphans wait for the next call.
fn reap_listed(awaited: &HashSet<i32>) -> usize {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let mut reaped = 0;
    for list in lists {
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        let orphans = pids.filter(|pid| !awaited.contains(pid));
        reaped += orphans.filter(|pid| reap_pid(*pid)).count();
    }
    reaped
}

/// Reaps a child if it has ended.
fn reap_pid(pid: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Pid::from_raw(pid).is_some_and(|pid| {
        matches!(
            rustix::process::waitid(WaitId::Pid(pid), options),
            Ok(Some(_))
        )
    })
}

/// The pid of an ended child, if there is one.
fn first_ended() -> io::Result<Option<i32>> {
    // SAFETY: an all-zero siginfo_t is a valid value for the kernel to overwrite.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is ours and outlives the call. rustix does not tell the child's pid.
    let result = unsafe {
        libc::waitid(
            libc::P_ALL,
            0,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) {
            Ok(None)
        } else {
            Err(error)
        };
    }
    // SAFETY: waitid filled the SIGCHLD fields, or left the zeroes that we put there.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then_some(pid))
}

fn pid_of(child: &Child) -> io::Result<i32> {
    i32::try_from(child.id()).map_err(io::Error::other)
}
