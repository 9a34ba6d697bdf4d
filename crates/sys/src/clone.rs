//! Clones of the calling process, and the namespaces that it and they enter.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

/// Of `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Proof that the calling process has one thread. Its clone is then a whole program, in which no
/// lock is held by a thread that is not there.
#[derive(Debug)]
pub struct SingleThreaded(());

/// A clone that is to be waited for.
#[derive(Debug)]
#[must_use = "one that is not waited for stays a zombie"]
pub struct WaitedClone(i32);

impl WaitedClone {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of `waitid`; one that says how the clone ended, unless it did with 0.
    pub fn wait(self) -> io::Result<()> {
        let child = Pid::from_raw(self.0).map(WaitId::Pid);
        let child = child.ok_or(io::ErrorKind::InvalidData)?;
        let ended = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(child.clone(), WaitIdOptions::EXITED)
        })?;
        match ended.and_then(|status| status.exit_status()) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::other(format!("its clone ended with {code}"))),
            None => Err(io::Error::other("its clone was killed")),
        }
    }
}

/// The pid namespace that a clone is in.
#[derive(Debug, Clone, Copy)]
pub enum PidNamespace<'n> {
    /// Where clones of this process are by themselves.
    Own,
    /// One of its own.
    New,
    /// That of others.
    Other(BorrowedFd<'n>),
}

impl SingleThreaded {
    /// Looks how many threads there are.
    ///
    /// # Errors
    /// If procfs can't be read, or there is more than one.
    pub fn check() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(())),
            threads => Err(io::Error::other(format!(
                "the process has {threads} threads and may not clone itself"
            ))),
        }
    }

    /// Runs `program` in a clone of this process, our child, that outlives us, and gives the clone's pid
    /// in our pid namespace. The clone ends with what `program` returns.
    ///
    /// # Errors
    /// Those of `clone`.
    pub fn clone_child(self, program: impl FnOnce() -> u8) -> io::Result<i32> {
        Self::clone_with(0, program)
    }

    /// Runs `program` in a clone of this process that is the first process of a pid namespace of its own,
    /// or one of the namespace `pids`, our child either way. It begins in the cgroup of the unified
    /// hierarchy whose directory `cgroup` is, if it can: `program` hears whether it did. Its pid is the
    /// one that it has for us.
    ///
    /// # Errors
    /// Those of `setns` and `clone`.
    pub fn clone_child_into(
        &self,
        pids: PidNamespace<'_>,
        cgroup: Option<BorrowedFd<'_>>,
        program: impl FnOnce(bool) -> u8,
    ) -> io::Result<i32> {
        let other = match pids {
            PidNamespace::Own => return Self::clone_into(0, cgroup, program),
            PidNamespace::New => return Self::clone_into(libc::CLONE_NEWPID, cgroup, program),
            PidNamespace::Other(other) => other,
        };
        // The calling process stays where it is: only children that it makes from then on are in there.
        let own = std::fs::File::open("/proc/self/ns/pid")?;
        let enter = |namespace| {
            rustix::thread::move_into_link_name_space(
                namespace,
                Some(rustix::thread::LinkNameSpaceType::ProcessID),
            )
        };
        enter(other)?;
        let made = Self::clone_into(0, cgroup, program);
        enter(own.as_fd())?;
        made
    }

    /// A process that begins in a cgroup needs no move, which waits for every processor of the node.
    fn clone_into(
        flags: libc::c_int,
        cgroup: Option<BorrowedFd<'_>>,
        program: impl FnOnce(bool) -> u8,
    ) -> io::Result<i32> {
        let Some(cgroup) = cgroup else {
            return Self::clone_with(flags, || program(false));
        };
        // SAFETY: an all-zero structure is a valid one.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        let number = |number: i32| u64::try_from(number).unwrap_or_default();
        args.flags = number(flags) | CLONE_INTO_CGROUP;
        args.exit_signal = number(libc::SIGCHLD);
        args.cgroup = number(cgroup.as_raw_fd());
        // SAFETY: as for `clone_with`; the kernel reads a structure of the size that it is told of.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw const args,
                size_of::<libc::clone_args>(),
            )
        };
        match i32::try_from(pid) {
            Ok(0) => crate::child::exit_now(program(true)),
            Ok(pid) if pid > 0 => Ok(pid),
            // An old kernel, or a cgroup that takes no process by itself.
            _ => Self::clone_with(flags, || program(false)),
        }
    }

    /// Runs `program` in a clone of this process that is a child of our parent, and gives its pid.
    ///
    /// # Errors
    /// Those of `clone`.
    pub fn clone_sibling(&self, program: impl FnOnce() -> u8) -> io::Result<i32> {
        Self::clone_with(libc::CLONE_PARENT, program)
    }

    /// Runs `program` in a clone of this process, our child, and waits for its end. The clone ends
    /// with what `program` returns, or with us.
    ///
    /// # Errors
    /// Those of `clone` and `waitid`; one that says how the clone ended, unless it did with 0.
    pub fn run_child(&self, program: impl FnOnce() -> u8) -> io::Result<()> {
        let us = rustix::process::getpid().as_raw_nonzero().get();
        let pid = Self::clone_with(0, || match crate::child::die_with(us) {
            Ok(()) => program(),
            Err(_) => 1,
        })?;
        WaitedClone(pid).wait()
    }

    /// Runs `program` in a clone of this process, our child, that is to be waited for. The clone ends
    /// with what `program` returns.
    ///
    /// # Errors
    /// Those of `clone`.
    pub fn clone_waited(&self, program: impl FnOnce() -> u8) -> io::Result<WaitedClone> {
        Self::clone_with(0, program).map(WaitedClone)
    }

    /// Runs `program` in a clone of this process, our child, in a user namespace of its own that
    /// has no maps yet, and gives the clone's pid. The clone ends with what `program` returns.
    ///
    /// # Errors
    /// Those of `clone`.
    pub fn clone_child_in_user_namespace(&self, program: impl FnOnce() -> u8) -> io::Result<i32> {
        Self::clone_with(libc::CLONE_NEWUSER, program)
    }

    fn clone_with(flags: libc::c_int, program: impl FnOnce() -> u8) -> io::Result<i32> {
        // SAFETY: without CLONE_VM and a stack this is fork, but for what the flags say. One thread
        // is all there is, so that the clone holds no lock whose owner it lacks; nothing but
        // `program` runs in it, and it never returns. libc's own fork takes no flags.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone,
                flags | libc::SIGCHLD,
                std::ptr::null::<libc::c_void>(),
                std::ptr::null::<libc::c_void>(),
                std::ptr::null::<libc::c_void>(),
                0,
            )
        };
        match i32::try_from(pid) {
            Ok(0) => crate::child::exit_now(program()),
            Ok(pid) if pid > 0 => Ok(pid),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives this process namespaces of its own of these kinds, or none.
    ///
    /// # Errors
    /// Those of `unshare`.
    pub fn unshare(&self, kinds: UnshareFlags) -> io::Result<()> {
        let kinds = kinds.difference(UnshareFlags::FILES);
        // SAFETY: `UnshareFlags::FILES` alone would pull a descriptor table from under other
        // threads; it is not among the flags, and there is one thread.
        unsafe { rustix::thread::unshare_unsafe(kinds)? };
        Ok(())
    }

    /// Gives this process a mount namespace of its own. What is mounted
    /// in it below `dir`, which has to be there, shows up in no other; the other mounts are shared as
    /// they were.
    ///
    /// # Errors
    /// Those of `unshare`, `statx` and `mount`.
    pub fn unshare_mounts(&self, dir: &Path) -> io::Result<()> {
        self.unshare(UnshareFlags::NEWNS)?;
        let dir = dir.canonicalize()?;
        for at in dir.ancestors() {
            let seen = rustix::fs::statx(
                rustix::fs::CWD,
                at,
                AtFlags::SYMLINK_NOFOLLOW,
                StatxFlags::empty(),
            )?;
            if seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
                return Ok(rustix::mount::mount_change(
                    at,
                    rustix::mount::MountPropagationFlags::DOWNSTREAM,
                )?);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Enters the mount namespace of a process, whose root becomes ours.
    ///
    /// # Errors
    /// Those of `setns`.
    pub fn enter_mounts(&self, process: &crate::pidfd::PidFd) -> io::Result<()> {
        Ok(rustix::thread::move_into_thread_name_spaces(
            process.as_fd(),
            ThreadNameSpaceType::MOUNT,
        )?)
    }

    /// Enters the network namespace of `process`.
    ///
    /// # Errors
    /// Those of `setns`.
    pub fn enter_network(&self, process: &crate::pidfd::PidFd) -> io::Result<()> {
        Ok(rustix::thread::move_into_thread_name_spaces(
            process.as_fd(),
            ThreadNameSpaceType::NETWORK,
        )?)
    }

    /// Enters those namespaces of `process` that are not ours already. Its pid namespace and its
    /// time namespace count for the processes that are made from then on.
    ///
    /// # Errors
    /// `ESRCH` if the process has ended, and those of `setns`.
    pub fn enter(&self, process: &crate::pidfd::PidFd) -> io::Result<()> {
        let all = [
            ("user", ThreadNameSpaceType::USER),
            ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
            ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
            ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
            ("net", ThreadNameSpaceType::NETWORK),
            ("pid", ThreadNameSpaceType::PROCESS_ID),
            ("time", ThreadNameSpaceType::TIME),
            ("mnt", ThreadNameSpaceType::MOUNT),
        ];
        let pid = process.pid();
        let link = |of: &str, name: &str| match std::fs::read_link(format!("/proc/{of}/ns/{name}"))
        {
            // A kernel without this kind of namespace has one for all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            link => link.map(Some),
        };
        let mut others = ThreadNameSpaceType::empty();
        for (name, kind) in all {
            if link("self", name)? != link(&pid.to_string(), name)? {
                others |= kind;
            }
        }
        // The links were its own, and not those of a process that has its pid by now.
        process.must_live()?;
        if others.is_empty() {
            return Ok(());
        }
        // All or none: a process that fails half-way has entered none.
        Ok(rustix::thread::move_into_thread_name_spaces(
            process.as_fd(),
            others,
        )?)
    }
}
