//! The system calls that a Wasm process may make when its spec brings no profile.
//!
//! The guest makes none itself: the list is what the engine, the runtime below it and the last
//! steps of init need. Everything else fails with EPERM.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscallBuilder,
};

const ALLOWED: &[&str] = &[
    // Memory: linear memories, native code, stacks.
    "brk",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "memfd_create",
    "ftruncate",
    // Threads and their synchronisation.
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "gettid",
    "membarrier",
    "rseq",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "restart_syscall",
    // Signals: traps arrive as such, and a stop does.
    "kill",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "tgkill",
    // Files, by descriptor and below a preopen.
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "close_range",
    "copy_file_range",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "getcwd",
    "getdents",
    "getdents64",
    "ioctl",
    "link",
    "linkat",
    "lseek",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "splice",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimes",
    "write",
    "writev",
    // Waiting.
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "gettimeofday",
    "nanosleep",
    "pause",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "select",
    "time",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    // Sockets of the pod's network.
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socketpair",
    // Who and where we are.
    "arch_prctl",
    "capget",
    "capset",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "prctl",
    "prlimit64",
    "sysinfo",
    "times",
    "uname",
];

/// Errno of a call that is not allowed: `EPERM`.
const EPERM: u32 = 1;

/// Errno of a call that this kernel does not have: `ENOSYS`.
const ENOSYS: u32 = 38;

/// Every `CLONE_NEW…` flag but `CLONE_NEWTIME`, whose bit clone uses for the signal.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, and `AF_NETLINK`, by which look-ups learn the addresses that
/// the pod has.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];

fn argument(
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
) -> Option<LinuxSeccompArg> {
    let mut argument = LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .op(op);
    if let Some(value) = value_two {
        argument = argument.value_two(value);
    }
    argument.build().ok()
}

/// The profile, or `None` if this binary's architecture has no name in the OCI spec.
pub(crate) fn wasm_profile() -> Option<LinuxSeccomp> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => Arch::ScmpArchX86_64,
        "aarch64" => Arch::ScmpArchAarch64,
        "riscv64" => Arch::ScmpArchRiscv64,
        "s390x" => Arch::ScmpArchS390x,
        _ => return None,
    };
    let allowed = LinuxSyscallBuilder::default()
        .names(ALLOWED.iter().map(ToString::to_string).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()
        .ok()?;
    let mut rules = vec![allowed];
    // Threads, but no namespaces.
    rules.push(
        LinuxSyscallBuilder::default()
            .names(vec!["clone".to_owned()])
            .action(LinuxSeccompAction::ScmpActAllow)
            .args(vec![argument(
                0,
                NAMESPACE_FLAGS,
                Some(0),
                LinuxSeccompOperator::ScmpCmpMaskedEq,
            )?])
            .build()
            .ok()?,
    );
    // Its flags lie in memory, where a filter can't look: the C library falls back to clone.
    rules.push(
        LinuxSyscallBuilder::default()
            .names(vec!["clone3".to_owned()])
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(ENOSYS)
            .build()
            .ok()?,
    );
    for family in FAMILIES {
        rules.push(
            LinuxSyscallBuilder::default()
                .names(vec!["socket".to_owned()])
                .action(LinuxSeccompAction::ScmpActAllow)
                .args(vec![argument(
                    0,
                    family,
                    None,
                    LinuxSeccompOperator::ScmpCmpEq,
                )?])
                .build()
                .ok()?,
        );
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(vec![architecture])
        .syscalls(rules)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, wasm_profile};

    #[test]
    fn there_is_a_profile_for_this_architecture() {
        let profile = wasm_profile().unwrap();
        let calls = profile.syscalls().as_ref().unwrap();
        let limited = calls.iter().filter(|call| call.args().is_some()).count();
        assert_eq!((calls.len(), limited), (7, 5));
    }

    #[test]
    fn nothing_that_changes_the_container_is_allowed() {
        for call in [
            "execve", "mount", "ptrace", "unshare", "setns", "bpf", "keyctl", "setuid",
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
    }
}
