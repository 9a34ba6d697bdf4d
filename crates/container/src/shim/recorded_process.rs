//! A process that a record names, and what it has left behind.

use std::fs;
use std::time::{Duration, Instant};

use medley_sys::kernel_file;
use medley_sys::pidfd::PidFd;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::helper::VERB;

/// How long a shim that has let go of its socket may take to end, and then its helpers. Both
/// together stay below the 5 s that containerd gives `delete`.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two looks for helpers.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How often in a row no helper may be seen until there is none. More than once: one that was just
/// made may have a pid that the look had passed by.
const LOOKS: u32 = 2;

/// A process by what no other process has: its pid, and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedProcess {
    pid: i32,
    /// In ticks since boot; none of a process that had ended when it was asked for.
    started: Option<u64>,
}

impl RecordedProcess {
    /// The process that has this pid now.
    pub(crate) fn of(pid: i32) -> Self {
        let started = start_of(&pid.to_string());
        Self { pid, started }
    }

    /// The calling process.
    pub(crate) fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let started = start_of("self");
        Self { pid, started }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The arguments of a helper that this process, a shim, runs.
    pub(crate) fn helper_args(&self) -> [String; 3] {
        let started = self.started.unwrap_or_default();
        [VERB.to_owned(), self.pid.to_string(), started.to_string()]
    }

    /// A handle on it, unless it has ended.
    pub(crate) fn open(&self) -> Option<PidFd> {
        let process = PidFd::open(self.pid).ok()?;
        // Held first and compared then: the pid can't become another's in between.
        let same = self.started.is_some() && start_of(&self.pid.to_string()) == self.started;
        same.then_some(process)
    }

    /// Kills it, if it lives.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.open()
            && let Err(error) = process.signal(Signal::KILL.as_raw())
        {
            log::debug!("process {} is not killed: {error}", self.pid);
        }
    }

    /// Of a shim that is dying or dead: waits until it is, and kills its helpers and what those
    /// have cloned. The kernel kills a helper with its shim, but not a half-made init with its
    /// helper.
    pub(crate) fn end_helpers(&self) {
        if let Some(process) = self.open()
            && !process.wait_for_end(Some(END_TIMEOUT)).unwrap_or(false)
        {
            log::warn!(
                "the shim, process {}, does not serve and does not end: its helpers stay",
                self.pid
            );
            return;
        }
        let args = self.helper_args();
        let deadline = Instant::now() + END_TIMEOUT;
        let mut looks = 0;
        while looks < LOOKS {
            let found = kill_all_with(&args);
            looks = if found { 0 } else { looks + 1 };
            if found && Instant::now() > deadline {
                log::warn!("helpers of the shim, process {}, do not end", self.pid);
                return;
            }
            if looks < LOOKS {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }
}

/// Kills every process whose arguments, after its name, are `args`. Tells whether there was one. A
/// process of a container that gives itself these arguments ends none but itself.
fn kill_all_with(args: &[String; 3]) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found = false;
    for pid in pids.filter(|pid| has_args(*pid, args)) {
        let Ok(process) = PidFd::open(pid) else {
            continue;
        };
        if has_args(pid, args) {
            found = true;
            if let Err(error) = process.signal(Signal::KILL.as_raw()) {
                log::debug!("helper {pid} is not killed: {error}");
            }
        }
    }
    found
}

/// Of one that has ended the kernel gives no arguments.
fn has_args(pid: i32, args: &[String; 3]) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let theirs = line.split(|byte| *byte == 0).skip(1);
    theirs
        .take(args.len())
        .eq(args.iter().map(String::as_bytes))
}

/// When a process started, in ticks since boot.
fn start_of(pid: &str) -> Option<u64> {
    /// Its place in `/proc/<pid>/stat`, counted from what follows the name in parentheses.
    const STARTTIME: usize = 19;
    let stat = kernel_file::read(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(STARTTIME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::RecordedProcess;
    use std::process::{Command, Stdio};

    #[test]
    fn a_pid_that_was_given_again_is_another_process() {
        let own = RecordedProcess::own();
        assert_eq!(own, RecordedProcess::of(own.pid()));
        assert!(own.open().is_some());
        let another = RecordedProcess {
            started: own.started.map(|at| at + 1),
            ..own
        };
        assert!(another.open().is_none());
        let never = RecordedProcess {
            started: None,
            ..own
        };
        assert!(never.open().is_none());
    }

    #[test]
    fn only_the_helpers_of_the_dead_shim_are_killed() {
        let mut dead = Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let known = RecordedProcess::of(i32::try_from(dead.id()).unwrap());
        let other = RecordedProcess {
            started: known.started.map(|at| at + 1),
            ..known
        };
        dead.kill().unwrap();
        dead.wait().unwrap();
        // For a shell the verb is the name of a script.
        let dir = std::env::temp_dir().join(format!("medley-known-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("helper"), "read line").unwrap();
        let run = |of: &RecordedProcess| {
            Command::new("/bin/sh")
                .args(of.helper_args())
                .current_dir(&dir)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let (mut ours, mut theirs) = (run(&known), run(&other));
        known.end_helpers();
        let status = ours.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
