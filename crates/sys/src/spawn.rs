//! Children that execute a program: our own binary, or a logging driver.
//!
//! A child has its parent's memory until it executes, for which the parent's thread waits, as one of the
//! C library's `posix_spawn`. That resets its signals by two calls for each; here it begins without its
//! parent's handlers.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::child::{LAST_SIGNAL, default_effect, exit_now};

/// What a child ends with that could not execute its program; why, it has told.
const FAILED: u8 = 127;

/// Of `linux/sched.h`.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// A program that a child is to execute.
#[derive(Debug)]
pub struct Program<'p> {
    /// Where it is.
    pub path: &'p Path,
    /// The name that it goes by, and its arguments.
    pub args: Vec<OsString>,
    /// All of its environment, each entry `NAME=value`.
    pub env: Vec<OsString>,
    /// Its descriptors: stdin, stdout, stderr, and those that follow.
    pub fds: Vec<BorrowedFd<'p>>,
    /// Its working directory, if it is not that of its parent.
    pub cwd: Option<&'p Path>,
    /// Whether it is the first of a process group.
    pub leads_group: bool,
    /// Whether it ignores what its parent ignores.
    pub keeps_ignored: bool,
}

impl Program<'_> {
    /// Executes it in a child, and gives the child's pid.
    ///
    /// # Errors
    /// Those of making the child, and of executing the program.
    pub fn spawn(&self) -> io::Result<i32> {
        self.spawn_by(clone3)
    }

    fn spawn_by(&self, call: fn(&mut Plan<'_>) -> io::Result<libc::c_long>) -> io::Result<i32> {
        let text = |text: &OsStr| CString::new(text.as_bytes());
        let path = text(self.path.as_os_str())?;
        let cwd = self.cwd.map(|cwd| text(cwd.as_os_str())).transpose()?;
        let texts = |all: &[OsString]| all.iter().map(|it| text(it)).collect::<Result<Vec<_>, _>>();
        let (args, env) = (texts(&self.args)?, texts(&self.env)?);
        let null_ended = |all: &[CString]| {
            let all = all.iter().map(|it| it.as_ptr());
            all.chain([ptr::null()]).collect::<Vec<_>>()
        };
        let (args, env) = (null_ended(&args), null_ended(&env));
        let mut fds: Vec<_> = self.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut plan = Plan {
            path: path.as_ptr(),
            args: args.as_ptr(),
            env: env.as_ptr(),
            cwd: cwd.as_ref().map_or(ptr::null(), |cwd| cwd.as_ptr()),
            fds: &mut fds,
            leads_group: self.leads_group,
            resets_signals: !self.keeps_ignored,
            error: 0,
        };
        // Those of the C library too.
        let before = set_mask(u64::MAX);
        let made = call(&mut plan);
        set_mask(before);
        let pid = i32::try_from(made?).map_err(io::Error::other)?;
        match plan.error {
            0 => Ok(pid),
            errno => {
                // It has ended. What reaps every child may have reaped it.
                wait(pid, WaitOptions::empty()).ok();
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}

/// Runs `program` with these arguments and no environment but `env`, each entry `NAME=value`. Its
/// stdio is `/dev/null`, and `fds` are its descriptors 3, 4, and so on. It ignores no signal. Answers
/// its pid; it is a child of the calling process.
///
/// # Errors
/// Those of opening the program and executing it.
pub fn with_descriptors(
    program: &Path,
    args: &[String],
    env: &[String],
    fds: &[BorrowedFd<'_>],
) -> io::Result<i32> {
    let null = null()?;
    let stdio = [std::os::fd::AsFd::as_fd(&null); 3];
    let name = program.as_os_str().to_owned();
    let program = Program {
        path: program,
        args: std::iter::once(name)
            .chain(args.iter().map(OsString::from))
            .collect(),
        env: env.iter().map(OsString::from).collect(),
        fds: stdio.iter().chain(fds).copied().collect(),
        cwd: None,
        leads_group: false,
        keeps_ignored: false,
    };
    program.spawn()
}

/// `/dev/null`, to be read and written.
///
/// # Errors
/// Those of opening it.
pub fn null() -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

/// Kills a child that is to be reaped by the caller, and was not yet.
///
/// # Errors
/// Those of `kill`.
pub fn kill(pid: i32) -> io::Result<()> {
    let child = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(child, Signal::KILL)?)
}

/// How a child ended that is to be reaped by the caller, if it has ended.
///
/// # Errors
/// Those of `waitpid`.
pub fn try_reap(pid: i32) -> io::Result<Option<std::process::ExitStatus>> {
    wait(pid, WaitOptions::NOHANG)
}

pub(crate) fn wait(pid: i32, options: WaitOptions) -> io::Result<Option<std::process::ExitStatus>> {
    let child = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), options))?;
    let status = |(_, status): (Pid, rustix::process::WaitStatus)| {
        std::os::unix::process::ExitStatusExt::from_raw(status.as_raw())
    };
    Ok(ended.map(status))
}

/// What a child does. It is read in the child, which may neither allocate nor take a lock.
struct Plan<'a> {
    path: *const libc::c_char,
    args: *const *const libc::c_char,
    env: *const *const libc::c_char,
    /// Null for the parent's.
    cwd: *const libc::c_char,
    /// What become the child's descriptors from 0 on.
    fds: &'a mut [i32],
    leads_group: bool,
    /// Whether each signal gets its default effect back by a call.
    resets_signals: bool,
    /// Why the program was not executed. The child writes it into its parent's memory.
    error: i32,
}

impl Plan<'_> {
    /// In the child: comes back only with an error.
    fn execute(&mut self) -> i32 {
        if self.resets_signals {
            (1..=LAST_SIGNAL).for_each(default_effect);
        }
        let count = i32::try_from(self.fds.len()).unwrap_or(i32::MAX);
        // Out of the way first: no descriptor is overwritten that is yet to be given.
        for fd in self.fds.iter_mut().filter(|fd| **fd < count) {
            // SAFETY: a plain system call on a number.
            *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, count) };
            if *fd < 0 {
                return errno();
            }
        }
        for (target, fd) in (0..).zip(self.fds.iter()) {
            // SAFETY: the child's table of descriptors is its own.
            if unsafe { libc::dup2(*fd, target) } < 0 {
                return errno();
            }
        }
        // SAFETY: plain system calls; the paths and every element of both arrays are NUL-terminated
        // strings that the parent keeps, and both arrays end with null.
        unsafe {
            if !self.cwd.is_null() && libc::chdir(self.cwd) < 0
                || self.leads_group && libc::setpgid(0, 0) < 0
            {
                return errno();
            }
            set_mask(0);
            libc::execve(self.path, self.args, self.env);
        }
        errno()
    }
}

/// The last call's, which never fails with 0.
fn errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// What a child begins with, on its parent's stack, in its parent's memory.
extern "C" fn begin(plan: *mut libc::c_void) -> ! {
    // SAFETY: `clone_on_this_stack` gives a pointer to a plan that it has borrowed, and waits meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    plan.error = plan.execute();
    exit_now(FAILED)
}

/// A child has its parent's memory, and this thread waits until it leaves that.
const FLAGS: libc::c_int = libc::CLONE_VM | libc::CLONE_VFORK;

/// Makes a child that does what `plan` says, waits until it has executed its program or ended, and
/// gives its pid. Signals are blocked meanwhile.
fn clone3(plan: &mut Plan<'_>) -> io::Result<libc::c_long> {
    let number = |number: i32| u64::try_from(number).unwrap_or_default();
    // SAFETY: an all-zero structure is a valid one.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = number(FLAGS) | CLONE_CLEAR_SIGHAND;
    args.exit_signal = number(libc::SIGCHLD);
    let (first, size) = (ptr::from_mut(&mut args) as usize, size_of_val(&args));
    // SAFETY: a structure of this size with the flags that are asked for.
    let made = unsafe { clone_on_this_stack(libc::SYS_clone3, first, size, plan) };
    // A filter that we run under may not know the call.
    made.or_else(|_| clone(plan))
}

/// As [`clone3`], by a call that every kernel has.
fn clone(plan: &mut Plan<'_>) -> io::Result<libc::c_long> {
    // Their handlers would run in our memory.
    plan.resets_signals = true;
    let flags = usize::try_from(FLAGS | libc::SIGCHLD).map_err(io::Error::other)?;
    // SAFETY: the flags that are asked for.
    unsafe { clone_on_this_stack(libc::SYS_clone, flags, 0, plan) }
}

/// A system call that makes a child on this thread's stack, which runs [`begin`] with `plan`.
///
/// # Safety
/// The call is `clone` or `clone3` with these first arguments, the others of which are 0, and with
/// [`FLAGS`].
unsafe fn clone_on_this_stack(
    call: libc::c_long,
    first: usize,
    second: usize,
    plan: &mut Plan<'_>,
) -> io::Result<libc::c_long> {
    let plan: *mut libc::c_void = ptr::from_mut(plan).cast();
    let result: libc::c_long;
    // SAFETY: this thread waits while the child is on its stack and in its memory, where the child
    // calls `begin` below what this thread has there, and never returns; this thread then goes on
    // behind the call, with its registers as the kernel keeps them. What `begin` is given lives as long.
    // It takes no lock and allocates nothing, so that other threads are not in its way.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") call => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") plan,
            in("r13") begin as extern "C" fn(*mut libc::c_void) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") call,
            inlateout("x0") first => result,
            in("x1") second,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x20") plan,
            in("x21") begin as extern "C" fn(*mut libc::c_void) -> !,
        );
    }
    match result {
        1.. => Ok(result),
        error => Err(io::Error::from_raw_os_error(
            i32::try_from(-error).unwrap_or(libc::EIO),
        )),
    }
}

/// Sets which signals are blocked, and gives those that were.
fn set_mask(mask: u64) -> u64 {
    let mut before = MaybeUninit::<u64>::zeroed();
    // SAFETY: the kernel's sets have 64 bits; it reads one and writes the other. The C library's call
    // leaves two signals out.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            before.as_mut_ptr(),
            size_of::<u64>(),
        );
        before.assume_init()
    }
}
#[cfg(test)]
mod tests {
    use super::{Program, clone, clone3, null, wait, with_descriptors};
    use rustix::process::WaitOptions;
    use std::ffi::OsString;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::path::Path;

    /// Descriptors, arguments and environment.
    #[test]
    fn a_child_has_what_it_is_given() {
        let (mut read, write) = std::io::pipe().unwrap();
        let (mut other, also) = std::io::pipe().unwrap();
        let script = "echo $0 $1 $A $HOME >&4; echo first >&3; readlink /proc/self/fd/0 >&3";
        let args = ["-c", script, "zero", "one"].map(str::to_owned);
        // Neither in order nor out of the way.
        let fds = [write.as_fd(), also.as_fd()];
        let pid = with_descriptors(Path::new("/bin/sh"), &args, &["A=b".to_owned()], &fds).unwrap();
        drop((write, also));
        let (mut first, mut second) = (String::new(), String::new());
        read.read_to_string(&mut first).unwrap();
        other.read_to_string(&mut second).unwrap();
        assert_eq!(first, "first\n/dev/null\n");
        assert_eq!(second, "zero one b\n");
        let pid = rustix::process::Pid::from_raw(pid);
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        let (_, status) = ended.unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn a_child_ignores_no_signal() {
        // SAFETY: a valid disposition; nothing sends the signal to this process.
        let old = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        assert_eq!(old, libc::SIG_DFL);
        let (mut read, write) = std::io::pipe().unwrap();
        let args = ["-c", "grep SigIgn /proc/self/status >&3"].map(str::to_owned);
        let pid = with_descriptors(Path::new("/bin/sh"), &args, &[], &[write.as_fd()]).unwrap();
        drop(write);
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
        let mut said = String::new();
        read.read_to_string(&mut said).unwrap();
        let mask = said.strip_prefix("SigIgn:").unwrap().trim();
        assert_eq!(u64::from_str_radix(mask, 16).unwrap(), 0, "{said}");
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_here() {
        let error = with_descriptors(Path::new("/no/such/program"), &[], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    /// By either call.
    #[test]
    fn a_child_is_where_and_as_it_is_asked_for() {
        for call in [clone3, clone] {
            let (mut read, write) = std::io::pipe().unwrap();
            let null = null().unwrap();
            let script = "pwd; ps -o pgid= -p $$; echo $$; exec grep SigBlk /proc/self/status";
            let program = Program {
                path: Path::new("/bin/sh"),
                args: ["sh", "-c", script].map(OsString::from).to_vec(),
                env: vec!["PATH=/usr/bin:/bin".into()],
                fds: vec![null.as_fd(), write.as_fd(), write.as_fd()],
                cwd: Some(Path::new("/proc")),
                leads_group: true,
                keeps_ignored: true,
            };
            let pid = program.spawn_by(call).unwrap();
            drop(write);
            let mut said = String::new();
            read.read_to_string(&mut said).unwrap();
            let words: Vec<_> = said.split_whitespace().collect();
            let own = pid.to_string();
            let expected = ["/proc", &own, &own, "SigBlk:", "0000000000000000"];
            assert_eq!(words, expected);
            let ended = wait(pid, WaitOptions::empty()).unwrap();
            assert!(ended.unwrap().success());
        }
    }
}
