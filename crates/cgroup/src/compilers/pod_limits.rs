//! What the limits above a compiler leave for it, and which of them ended it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::files;
use crate::guest_memory_limit::Level;

/// How long a compiler may take under a pod's limit of processor time: half of what the kubelet gives
/// a container to start.
const MAX_TIME: Duration = Duration::from_secs(60);

/// What a compiler takes, if its module is one like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Memory, in bytes.
    pub memory: u64,
    /// Processor time.
    pub cpu: Duration,
}

/// A limit of memory that a compiler was killed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitLimit {
    /// The cgroup that has it.
    pub cgroup: PathBuf,
    /// In bytes.
    pub limit: u64,
}

/// Whether the limits of a pod leave what a compiler needs, which would be in `leaf`.
pub(super) fn fit(leaf: &Cgroup, need: Need) -> bool {
    let above = |controller| leaf.levels(controller).skip(1).collect::<Vec<_>>();
    let (memory, cpu) = (above("memory"), above("cpu"));
    leave_enough(leaf.unified, (&memory, &cpu), need)
}

/// Whether these levels leave what is needed.
fn leave_enough(unified: bool, (memory, cpu): (&[&Path], &[&Path]), need: Need) -> bool {
    let has_memory = memory.iter().all(|at| {
        let level = Level::open(unified, at).ok();
        let available = level.and_then(|level| level.available(unified, 0, need.memory));
        available.is_none_or(|available| available.bytes >= need.memory)
    });
    let is_quick = cpu.iter().all(|at| {
        let available = millicpus(at, unified).map(u128::from);
        available
            .is_none_or(|available| need.cpu.as_millis() * 1000 <= MAX_TIME.as_millis() * available)
    });
    has_memory && is_quick
}

/// How much processor time a level may use, in thousandths of a processor, if that is limited.
fn millicpus(at: &Path, unified: bool) -> Option<u32> {
    let read = |file: &str| files::text(at, file).ok();
    // Without a limit the quota is `max` on v2 and -1 on v1, which is no number here.
    let (quota, period): (u64, u64) = if unified {
        let text = read("cpu.max")?;
        let (quota, period) = text.split_once(' ')?;
        (files::parse(quota)?, files::parse(period)?)
    } else {
        let number = |file| files::parse(&read(file)?);
        (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
    };
    let millis = quota.saturating_mul(1000).checked_div(period)?;
    Some(millis.try_into().unwrap_or(u32::MAX))
}

/// What limits the memory of a compiler.
#[derive(Debug)]
pub(super) struct Limited {
    unified: bool,
    /// The cgroup that it is in, where memory is counted.
    own: Option<PathBuf>,
    /// Each level with a limit, its own first, and how often that was met before.
    levels: Vec<(PathBuf, u64)>,
}

impl Limited {
    /// Those of a compiler that has just been put into `cgroup`.
    pub(super) fn of(cgroup: &Cgroup) -> Self {
        let unified = cgroup.unified;
        let has_limit =
            |at: &Path| Level::open(unified, at).is_ok_and(|level| level.limit().is_some());
        let limited = cgroup.levels("memory").filter(|at| has_limit(at));
        Self {
            unified,
            own: cgroup.levels("memory").next().map(Path::to_owned),
            levels: limited
                .map(|at| (at.to_owned(), hits(at, unified)))
                .collect(),
        }
    }

    /// The limit that ended the compiler, which was killed, if it was one.
    pub(super) fn killed_for(&self) -> Option<HitLimit> {
        let file = if self.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        // A kernel that does not count them leaves it to the limits.
        if files::counter(self.own.as_ref()?, file, "oom_kill") == Some(0) {
            return None;
        }
        let mut levels = self.levels.iter();
        let (cgroup, _) = levels.find(|(at, before)| hits(at, self.unified) > *before)?;
        Some(HitLimit {
            cgroup: cgroup.clone(),
            limit: Level::open(self.unified, cgroup).ok()?.limit()?,
        })
    }
}

/// How often the limit of a level was hit.
fn hits(at: &Path, unified: bool) -> u64 {
    let hits = if unified {
        files::counter(at, "memory.events", "oom")
    } else {
        files::number(at, "memory.failcnt").ok()
    };
    hits.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Duration, HitLimit, Limited, Need, leave_enough, millicpus};
    use std::fs;
    use std::path::PathBuf;

    const MIB: u64 = 1 << 20;

    /// A cgroup of v2 made of plain files, with 1 MiB in use.
    fn made(name: &str, memory: &str, cpu: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("medley-pays-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            ("memory.max", memory),
            ("memory.current", "1048576"),
            ("memory.stat", ""),
            ("memory.events", "max 3\noom 0\noom_kill 0\n"),
            ("cpu.max", cpu),
        ] {
            fs::write(dir.join(file), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_pod_pays_where_each_of_its_limits_leaves_what_is_needed() {
        let small = made("small", &(64 * MIB).to_string(), "max 100000");
        let slow = made("slow", "max", "20000 100000");
        let pays = |levels: &[&PathBuf], memory, cpu| {
            let levels: Vec<_> = levels.iter().map(|at| at.as_path()).collect();
            let need = Need {
                memory,
                cpu: Duration::from_secs(cpu),
            };
            leave_enough(true, (&levels, &levels), need)
        };
        assert!(pays(&[&small], 40 * MIB, 100));
        assert!(!pays(&[&small], 64 * MIB, 1));
        // A fifth of a processor for a minute.
        assert!(pays(&[&slow], 1 << 40, 12));
        assert!(!pays(&[&slow], MIB, 13));
        assert!(!pays(&[&slow, &small], 64 * MIB, 1));
        assert!(pays(&[], 1 << 40, 1 << 20));
        for dir in [small, slow] {
            fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn processor_time_is_read_of_both_versions() {
        let dir = made("cpu", "max", "25000 100000\n");
        assert_eq!(millicpus(&dir, true), Some(250));
        fs::write(dir.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(millicpus(&dir, true), None);
        fs::write(dir.join("cpu.cfs_period_us"), "100000\n").unwrap();
        fs::write(dir.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(millicpus(&dir, false), None);
        fs::write(dir.join("cpu.cfs_quota_us"), "150000\n").unwrap();
        assert_eq!(millicpus(&dir, false), Some(1500));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_limit_that_was_met_is_the_one_that_is_named() {
        let own = made("own", "max", "max 100000");
        let pod = made("pod", &(64 * MIB).to_string(), "max 100000");
        let limited = Limited {
            unified: true,
            own: Some(own.clone()),
            levels: vec![(pod.clone(), 0)],
        };
        assert_eq!(limited.killed_for(), None);
        // Killed, but for want of memory of the node's.
        fs::write(own.join("memory.events"), "oom 0\noom_kill 1\n").unwrap();
        assert_eq!(limited.killed_for(), None);
        fs::write(pod.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        let met = HitLimit {
            cgroup: pod.clone(),
            limit: 64 * MIB,
        };
        assert_eq!(limited.killed_for(), Some(met));
        for dir in [own, pod] {
            fs::remove_dir_all(dir).unwrap();
        }
    }
}
