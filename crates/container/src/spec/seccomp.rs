//! The system calls that a Wasm process may make when its spec brings no profile, and those of a
//! compiler.
//!
//! A guest makes none itself: the list is what the engine, the runtime below it and the last steps
//! of init need. A compiler has an empty root and needs memory, threads and an answer. Everything
//! else fails with EPERM.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder, Spec,
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
    "fchdir",
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

/// A thread of the calling process, and no process of its own.
const CLONE_THREAD: u64 = 0x0001_0000;

const PR_SET_NAME: u64 = 15;

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

/// What a compiler may call.
const COMPILER: &[&str] = &[
    // Memory: its own, and the native code that comes out.
    "brk",
    "fcntl",
    "ftruncate",
    "madvise",
    "memfd_create",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    // Threads and their synchronisation.
    "exit",
    "exit_group",
    "futex",
    "get_robust_list",
    "gettid",
    "membarrier",
    "restart_syscall",
    "rseq",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    // Its own end, by a panic or a limit.
    "getpid",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    // The module, the answer, and scratch files in its empty root.
    "access",
    "close",
    "dup",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fchmod",
    "fdatasync",
    "fstat",
    "fstatfs",
    "fsync",
    "getcwd",
    "getdents64",
    "lseek",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "sendmsg",
    "stat",
    "statfs",
    "statx",
    "umask",
    "unlink",
    "unlinkat",
    "write",
    "writev",
    // What it has to work with.
    "arch_prctl",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "getegid",
    "geteuid",
    "getgid",
    "getrandom",
    "getrlimit",
    "getrusage",
    "gettimeofday",
    "getuid",
    "nanosleep",
    "poll",
    "ppoll",
    "sysinfo",
    "times",
    "uname",
];

/// Says masks as libcontainer reads them: it takes the second value for the mask, which the OCI
/// runtime spec has first, and Docker's profile would let every clone make namespaces. Whether anything
/// was changed.
pub(crate) fn spell_out(spec: &mut Spec) -> bool {
    let linux = spec.linux().as_ref();
    let Some(mut seccomp) = linux.and_then(|linux| linux.seccomp().clone()) else {
        return false;
    };
    let changed = swap_masks(&mut seccomp);
    if changed && let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(seccomp));
    }
    changed
}

/// A profile whose masks are said so, as the OCI runtime spec has it.
pub(crate) fn as_in_the_spec(mut profile: LinuxSeccomp) -> LinuxSeccomp {
    swap_masks(&mut profile);
    profile
}

fn swap_masks(seccomp: &mut LinuxSeccomp) -> bool {
    let masked = |arg: &LinuxSeccompArg| arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq;
    let mut changed = false;
    let mut calls = seccomp.syscalls().clone().unwrap_or_default();
    for call in &mut calls {
        let args = call.args().as_deref().unwrap_or_default();
        if !args.iter().any(masked) {
            continue;
        }
        let swapped = args.iter().map(|arg| match masked(arg) {
            true => swapped(arg).unwrap_or(*arg),
            false => *arg,
        });
        let swapped = swapped.collect();
        call.set_args(Some(swapped));
        changed = true;
    }
    if changed {
        seccomp.set_syscalls(Some(calls));
    }
    changed
}

fn swapped(arg: &LinuxSeccompArg) -> Option<LinuxSeccompArg> {
    let value = arg.value_two().unwrap_or_default();
    argument(arg.index(), value, Some(arg.value()), arg.op())
}

/// The profile of a Wasm process, or `None` if this binary's architecture has no name in the OCI
/// spec.
pub(crate) fn wasm_profile() -> Option<LinuxSeccomp> {
    let mut rules = vec![allow(ALLOWED, None)?];
    for family in FAMILIES {
        let family = argument(0, family, None, LinuxSeccompOperator::ScmpCmpEq)?;
        rules.push(allow(&["socket"], Some(family))?);
    }
    // Threads, but no namespaces.
    profile(rules, NAMESPACE_FLAGS, 0)
}

/// The profile of the process `pid`, a compiler; `None` as above.
pub(crate) fn compiler_profile(pid: u32) -> Option<LinuxSeccomp> {
    let first = |value| argument(0, value, None, LinuxSeccompOperator::ScmpCmpEq);
    let rules = vec![
        allow(COMPILER, None)?,
        // Its own limits, none of which it can raise, and its threads' names.
        allow(&["prlimit64"], Some(first(0)?))?,
        allow(&["prctl"], Some(first(PR_SET_NAME)?))?,
        // An abort: a signal to a thread of its own, and to no other compiler's.
        allow(&["tgkill"], Some(first(pid.into())?))?,
    ];
    // Threads, but no process.
    profile(rules, NAMESPACE_FLAGS | CLONE_THREAD, CLONE_THREAD)
}

/// Lets `calls` through, where `argument` is as it says.
fn allow(calls: &[&str], argument: Option<LinuxSeccompArg>) -> Option<LinuxSyscall> {
    let mut rule = LinuxSyscallBuilder::default()
        .names(calls.iter().map(ToString::to_string).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow);
    if let Some(argument) = argument {
        rule = rule.args(vec![argument]);
    }
    rule.build().ok()
}

/// A profile of `rules`, and of clone where its flags under `mask` are `flags`.
fn profile(mut rules: Vec<LinuxSyscall>, mask: u64, flags: u64) -> Option<LinuxSeccomp> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => Arch::ScmpArchX86_64,
        "aarch64" => Arch::ScmpArchAarch64,
        "riscv64" => Arch::ScmpArchRiscv64,
        "s390x" => Arch::ScmpArchS390x,
        _ => return None,
    };
    let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
    rules.push(allow(
        &["clone"],
        Some(argument(0, mask, Some(flags), masked)?),
    )?);
    // Its flags lie in memory, where a filter can't look: the C library falls back to clone.
    rules.push(
        LinuxSyscallBuilder::default()
            .names(vec!["clone3".to_owned()])
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(ENOSYS)
            .build()
            .ok()?,
    );
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(vec![architecture])
        // Hostile code is kept from what speculation tells.
        .flags(vec![])
        .syscalls(rules)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, COMPILER, as_in_the_spec, compiler_profile, spell_out, wasm_profile};
    use oci_spec::runtime::Spec;

    #[test]
    fn there_is_a_profile_for_this_architecture() {
        let profile = wasm_profile().unwrap();
        let calls = profile.syscalls().as_ref().unwrap();
        let limited = calls.iter().filter(|call| call.args().is_some()).count();
        assert_eq!((calls.len(), limited), (7, 5));
    }

    #[test]
    fn a_mask_is_where_libcontainer_looks_for_it() {
        let mut spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.1.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
                    {"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"},
                    {"index":1,"value":7,"op":"SCMP_CMP_EQ"}]}]}}}"#,
        )
        .unwrap();
        assert!(spell_out(&mut spec));
        let linux = spec.linux().as_ref().unwrap();
        let calls = linux.seccomp().as_ref().unwrap().syscalls().clone();
        let args = calls.unwrap()[0].args().clone().unwrap();
        assert_eq!(
            (args[0].value(), args[0].value_two()),
            (0, Some(2_114_060_288))
        );
        assert_eq!((args[1].value(), args[1].value_two()), (7, None));
        let again = as_in_the_spec(linux.seccomp().clone().unwrap());
        let calls = again.syscalls().clone().unwrap();
        let args = calls[0].args().clone().unwrap();
        assert_eq!(args[0].value(), 2_114_060_288);
        assert!(!spell_out(&mut Spec::default()));
    }

    #[test]
    fn nothing_that_changes_the_container_is_allowed() {
        for call in [
            "execve", "mount", "ptrace", "unshare", "setns", "bpf", "keyctl", "setuid",
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
            assert!(!COMPILER.contains(&call), "{call}");
        }
    }

    #[test]
    fn a_compiler_reaches_nobody() {
        assert!(compiler_profile(1).is_some());
        for call in [
            "socket",
            "connect",
            "bind",
            "recvmsg",
            "kill",
            "fork",
            "vfork",
            "setitimer",
            "chmod",
            "chown",
            "link",
            "symlink",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "setns",
            "process_vm_readv",
            "pidfd_open",
            "ioctl",
        ] {
            assert!(!COMPILER.contains(&call), "{call}");
        }
    }
}
