//! What /proc tells of a process, and a way to wait for it to change.

use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// How long [`until`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something is so.
///
/// # Errors
/// It is not within 10 seconds; `what` says what it would have been.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// A field of `/proc/<pid>/status`, without the space around it.
///
/// # Errors
/// There is no such process or no such field.
pub fn field(pid: u32, name: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| *key == name);
    let (_, value) = found.with_context(|| format!("no {name} of process {pid}"))?;
    Ok(value.trim().to_owned())
}

/// Whether a process is a compiler, and lives: it has a user of its own, above all that are given away.
pub fn is_compiler(pid: u32) -> bool {
    const USERS: std::ops::Range<u32> = 1 << 31..u32::MAX;
    let is_one = |uid: String| {
        let mut ids = uid.split_whitespace().map(str::parse);
        ids.all(|id| id.is_ok_and(|id| USERS.contains(&id)))
    };
    is_alive(pid) && field(pid, "Uid").is_ok_and(is_one)
}

/// Whether a process lives: it is there, and not only because it was not reaped.
pub fn is_alive(pid: u32) -> bool {
    field(pid, "State").is_ok_and(|state| !state.starts_with(['Z', 'X']))
}

/// Whether a process has a handler for a signal.
pub fn catches(pid: u32, signal: u32) -> bool {
    has_signal(pid, "SigCgt", signal)
}

/// Whether a process ignores a signal.
pub fn ignores(pid: u32, signal: u32) -> bool {
    has_signal(pid, "SigIgn", signal)
}

fn has_signal(pid: u32, set: &str, signal: u32) -> bool {
    let mask = field(pid, set).ok();
    let mask = mask.and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// Whether all threads of a process sleep until something happens that they wait for.
pub fn rests(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = threads.into_iter().flatten().flatten();
    threads.all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status"));
        status.is_ok_and(|status| status.contains("\nState:\tS"))
    })
}

/// What a process has used of a processor so far, in ticks.
pub fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let used = fields.unwrap_or_default().split(' ').skip(11).take(2);
    used.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Uses the processor for some ticks: what could run meanwhile has run too, be the machine busy or not.
pub fn spend(ticks: u64) {
    let own = std::process::id();
    let end = self::ticks(own) + ticks;
    while self::ticks(own) < end {
        std::hint::spin_loop();
    }
}

/// The children of a process, dead or alive.
pub fn children_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| field(*pid, "PPid").ok() == Some(parent.to_string()))
        .collect()
}

/// The processes that are in the pid namespace of `pid`, in a container its own.
pub fn beside(pid: u32) -> Vec<u32> {
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(theirs) = namespace(pid) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid).as_ref() == Some(&theirs))
        .collect()
}

/// The dead children that a process has not reaped.
pub fn zombies_of(parent: u32) -> Vec<u32> {
    let mut children = children_of(parent);
    children.retain(|pid| !is_alive(*pid));
    children
}
