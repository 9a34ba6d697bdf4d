//! What processes take: memory, files, threads, and how often they wake up.

use std::path::Path;

use medley_test::{Containerd, Result, proc};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What all processes of some containers take together.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Pages that others have too are counted in parts.
    pub(crate) pss_kib: u64,
    pub(crate) files: usize,
    pub(crate) threads: usize,
    /// How often they were given a processor, since they began.
    pub(crate) switches: u64,
}

/// Allows this process as many files as it may have: 500 containers have connections and terminals.
pub(crate) fn many_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// That of all shims of this containerd and of their children.
pub(crate) fn of(containerd: &Containerd) -> Usage {
    let mut usage = Usage::default();
    for shim in containerd.shims() {
        let Ok(shim) = u32::try_from(shim.pid) else {
            continue;
        };
        usage.add(shim);
        for child in proc::children_of(shim) {
            usage.add(child);
        }
    }
    usage
}

impl Usage {
    fn add(&mut self, pid: u32) {
        let dir = format!("/proc/{pid}");
        let dir = Path::new(&dir);
        self.pss_kib += number(&dir.join("smaps_rollup"), "Pss:");
        self.files += count(&dir.join("fd"));
        let tasks = dir.join("task");
        self.threads += count(&tasks);
        for task in std::fs::read_dir(&tasks).into_iter().flatten().flatten() {
            let status = task.path().join("status");
            self.switches += number(&status, "voluntary_ctxt_switches:")
                + number(&status, "nonvoluntary_ctxt_switches:");
        }
    }
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

/// The number in the line that begins so.
fn number(file: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
