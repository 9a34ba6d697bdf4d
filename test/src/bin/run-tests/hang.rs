//! Where a test hangs, and its end.

use anyhow::{Result, ensure};
use medley_test::proc;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where a process and those that it started stand.
#[derive(Debug)]
pub(crate) struct Hang {
    pub(crate) text: String,
    /// The innermost line of our code that a debugger found.
    line: Option<String>,
    /// What the process' first threads wait for in the kernel.
    waits: String,
}

impl Hang {
    /// The place in a few words: a line of code, and the last that the test said.
    pub(crate) fn at(&self, output: &str) -> String {
        let own = |line: &&str| {
            let of_harness = line.starts_with("running ") || line.starts_with("test ");
            !line.trim().is_empty() && !of_harness
        };
        let place = self.line.as_deref().unwrap_or(&self.waits);
        match output.lines().rev().find(own) {
            Some(said) => format!("{place}; it last said: {said}"),
            None => place.to_owned(),
        }
    }
}

/// Writes down where each thread of a test's process waits, and each process that it has started.
pub(crate) fn describe(pid: u32, test: &str) -> Hang {
    let mut text = String::from("where it hangs:\n");
    let mut waits = Vec::new();
    for of in std::iter::once(pid).chain(descendants(pid)) {
        let command = std::fs::read_to_string(format!("/proc/{of}/cmdline")).unwrap_or_default();
        // A String takes any text.
        writeln!(text, "  process {of}: {}", command.replace('\0', " ")).ok();
        for thread in threads(of) {
            let read = |file: &str| {
                let path = format!("/proc/{of}/task/{thread}/{file}");
                std::fs::read_to_string(path)
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let (name, channel) = (read("comm"), read("wchan"));
            let call = read("syscall");
            let call = call.split(' ').next().unwrap_or_default();
            writeln!(text, "    thread {name}: in {channel}, system call {call}").ok();
            for frame in read("stack").lines() {
                writeln!(text, "      {frame}").ok();
            }
            if of == pid {
                waits.push(format!("{name} in {channel}"));
            }
        }
    }
    let backtrace = backtrace(pid);
    let line = backtrace
        .as_deref()
        .and_then(|text| line_of_ours(text, test));
    if let Some(frames) = backtrace {
        text.push_str("  its threads:\n");
        text.push_str(&frames);
    }
    waits.truncate(3);
    Hang {
        text,
        line,
        waits: waits.join(", "),
    }
}

/// What gdb says, on machines that have it.
fn backtrace(pid: u32) -> Option<String> {
    let mut command = Command::new("timeout");
    let arguments = ["--kill-after=5", "60", "gdb", "--batch", "-nx", "-p"];
    let done = command
        .args(arguments)
        .arg(pid.to_string())
        .args(["-ex", "thread apply all backtrace 40"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let of_use = |line: &&str| line.starts_with('#') || line.starts_with("Thread ");
    let lines: Vec<_> = text.lines().filter(of_use).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The first line of a backtrace that is of this repository, of the test's own thread if that has one.
fn line_of_ours(backtrace: &str, test: &str) -> Option<String> {
    let top = medley_test::runtime::workspace().to_str()?;
    let ours = |frame: &str| {
        let (_, place) = frame.rsplit_once(" at ")?;
        let place = place.strip_prefix(top).unwrap_or(place);
        let place = place.trim_start_matches(['.', '/']);
        let known = ["crates/", "src/", "test/"];
        known
            .iter()
            .any(|dir| place.starts_with(dir))
            .then(|| place.to_owned())
    };
    // A thread has its test's name, of which the kernel keeps 15 characters.
    let (name, mut is_own) = (test.get(..15).unwrap_or(test), false);
    let own = backtrace.lines().find_map(|line| {
        if line.starts_with("Thread ") {
            is_own = line.contains(&format!("\"{name}\""));
        }
        is_own.then(|| ours(line)).flatten()
    });
    own.or_else(|| backtrace.lines().find_map(ours))
}

fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// All that a process has started and that is still below it, without what is dead.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = proc::children_of(pid);
    let mut at = 0;
    while let Some(&child) = found.get(at) {
        found.extend(proc::children_of(child));
        at += 1;
    }
    found.retain(|pid| proc::is_alive(*pid));
    found
}

/// Kills a process and all below it.
pub(crate) fn kill(pid: u32) -> Result<()> {
    // Stopped first, each of them, so that none starts another one meanwhile: the children of one
    // that is dead are found no more.
    let signal = |pid: u32, signal: Signal| match send(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(error) => Err(error),
    };
    signal(pid, Signal::SIGSTOP)?;
    let mut stopped = Vec::new();
    loop {
        let mut new = descendants(pid);
        new.retain(|pid| !stopped.contains(pid));
        if new.is_empty() {
            break;
        }
        for pid in new {
            signal(pid, Signal::SIGSTOP)?;
            stopped.push(pid);
        }
    }
    for pid in stopped.iter().copied().chain([pid]) {
        signal(pid, Signal::SIGKILL)?;
    }
    for _ in 0..1000 {
        if !stopped.iter().any(|pid| proc::is_alive(*pid)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let left: Vec<_> = stopped.iter().filter(|pid| proc::is_alive(**pid)).collect();
    ensure!(left.is_empty(), "processes that cannot be killed: {left:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{describe, kill, line_of_ours};
    use medley_test::proc;
    use std::process::Command;

    #[tokio::test]
    async fn a_process_is_killed_with_those_that_it_started() -> anyhow::Result<()> {
        let script = "sleep 3600 & sleep 3600 & wait";
        let mut shell = Command::new("sh").args(["-c", script]).spawn()?;
        let pid = shell.id();
        proc::until("the children are there", || {
            proc::children_of(pid).len() == 2
        })
        .await?;
        let children = proc::children_of(pid);
        assert!(describe(pid, "no test").text.contains("sleep 3600"));
        kill(pid)?;
        shell.wait()?;
        assert!(!children.iter().any(|pid| proc::is_alive(*pid)));
        Ok(())
    }

    #[test]
    fn the_innermost_line_of_the_tests_own_thread_is_found() {
        let frames = "Thread 3 (LWP 3 \"reader\"):\n#0  read () at test/src/stdio.rs:2\n\
                      Thread 2 (LWP 2 \"exits::tests::a\"):\n\
                      #0  futex () at ../nptl/futex.c:1\n#1  recv () at /rustc/x/library/std/a.rs:2\n\
                      #2  medley_task::wait () at crates/task/src/exit.rs:7\n#3  main () at crates/b.rs:1";
        let line = |test| line_of_ours(frames, test);
        let innermost = Some("crates/task/src/exit.rs:7".to_owned());
        assert_eq!(line("exits::tests::a_long_name"), innermost);
        assert_eq!(line("another"), Some("test/src/stdio.rs:2".to_owned()));
        assert_eq!(line_of_ours("#0  poll () at ../poll.c:1", "x"), None);
    }
}
