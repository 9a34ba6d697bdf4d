//! A cgroup's counters, from its files. A file or controller that is not there counts as zero.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use medley_task::metrics::{CgroupVersion, Cpu, Memory, Metrics, Pids};

use super::Error;

const NS_PER_US: u64 = 1_000;

/// A v1 limit from here on means that there is none: the kernel rounds `i64::MAX` down to pages.
const V1_UNLIMITED: u64 = 1 << 62;

/// Nanoseconds of a clock tick, `USER_HZ` being 100 on every architecture.
const NS_PER_TICK: u64 = 10_000_000;

/// The figures of a cgroup on the unified hierarchy.
pub(super) fn unified(folder: &Path) -> Result<Metrics, Error> {
    let cpu = lines(folder, "cpu.stat")?;
    let of = |key: &str| cpu.get(key).copied().unwrap_or_default();
    let events = lines(folder, "memory.events")?;
    Ok(Metrics {
        version: CgroupVersion::V2,
        cpu: Cpu {
            usage_ns: of("usage_usec").saturating_mul(NS_PER_US),
            user_ns: of("user_usec").saturating_mul(NS_PER_US),
            system_ns: of("system_usec").saturating_mul(NS_PER_US),
            per_cpu_ns: Vec::new(),
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_ns: of("throttled_usec").saturating_mul(NS_PER_US),
        },
        memory: Memory {
            usage: number(folder, "memory.current")?,
            max_usage: number(folder, "memory.peak")?,
            limit: number(folder, "memory.max")?,
            limit_hits: events.get("max").copied().unwrap_or_default(),
            swap_usage: number(folder, "memory.swap.current")?,
            swap_limit: number(folder, "memory.swap.max")?,
            kernel_usage: 0,
            oom_kills: events.get("oom_kill").copied().unwrap_or_default(),
            stat: lines(folder, "memory.stat")?,
            events,
        },
        pids: Pids {
            current: number(folder, "pids.current")?,
            limit: number(folder, "pids.max")?,
        },
    })
}

/// The figures of a cgroup with one folder for each controller.
pub(super) fn by_controller<'a>(
    folder: &dyn Fn(&str) -> Option<&'a Path>,
) -> Result<Metrics, Error> {
    let cpu = folder("cpu")
        .map(|cpu| lines(cpu, "cpu.stat"))
        .transpose()?
        .unwrap_or_default();
    let of = |key: &str| cpu.get(key).copied().unwrap_or_default();
    let mut metrics = Metrics {
        version: CgroupVersion::V1,
        cpu: Cpu {
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_ns: of("throttled_time"),
            ..Cpu::default()
        },
        memory: Memory::default(),
        pids: folder("pids").map(v1_pids).transpose()?.unwrap_or_default(),
    };
    if let Some(accounting) = folder("cpuacct") {
        let ticks = lines(accounting, "cpuacct.stat")?;
        let of = |key: &str| ticks.get(key).copied().unwrap_or_default();
        metrics.cpu.usage_ns = number(accounting, "cpuacct.usage")?;
        metrics.cpu.user_ns = of("user").saturating_mul(NS_PER_TICK);
        metrics.cpu.system_ns = of("system").saturating_mul(NS_PER_TICK);
        metrics.cpu.per_cpu_ns = text(accounting, "cpuacct.usage_percpu")?
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
    }
    if let Some(memory) = folder("memory") {
        metrics.memory = v1_memory(memory)?;
    }
    Ok(metrics)
}

fn v1_memory(folder: &Path) -> Result<Memory, Error> {
    let limit = |file: &str| {
        number(folder, file).map(|limit| {
            if limit >= V1_UNLIMITED {
                u64::MAX
            } else {
                limit
            }
        })
    };
    let oom = lines(folder, "memory.oom_control")?;
    Ok(Memory {
        usage: number(folder, "memory.usage_in_bytes")?,
        max_usage: number(folder, "memory.max_usage_in_bytes")?,
        limit: limit("memory.limit_in_bytes")?,
        limit_hits: number(folder, "memory.failcnt")?,
        swap_usage: number(folder, "memory.memsw.usage_in_bytes")?,
        swap_limit: limit("memory.memsw.limit_in_bytes")?,
        kernel_usage: number(folder, "memory.kmem.usage_in_bytes")?,
        oom_kills: oom.get("oom_kill").copied().unwrap_or_default(),
        stat: lines(folder, "memory.stat")?,
        events: HashMap::new(),
    })
}

/// As containerd's message for v1 has it: 0 is no limit.
fn v1_pids(folder: &Path) -> Result<Pids, Error> {
    let limit = number(folder, "pids.max")?;
    Ok(Pids {
        current: number(folder, "pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

fn text(folder: &Path, file: &str) -> Result<String, Error> {
    let path = folder.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        // Not every kernel has every file, and the root of a hierarchy has few.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// A file with one number, or `max`.
pub(super) fn number(folder: &Path, file: &str) -> Result<u64, Error> {
    let text = text(folder, file)?;
    let text = text.trim();
    Ok(if text == "max" {
        u64::MAX
    } else {
        text.parse().unwrap_or_default()
    })
}

/// A file with a name and a number in each line.
pub(super) fn lines(folder: &Path, file: &str) -> Result<HashMap<String, u64>, Error> {
    let text = text(folder, file)?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::unified;
    use std::path::PathBuf;

    #[test]
    fn a_unified_cgroup_is_read_in_nanoseconds_and_bytes() {
        let folder: PathBuf =
            std::env::temp_dir().join(format!("medley-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            (
                "cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nmax 2\noom 1\noom_kill 1\n"),
            ("memory.stat", "anon 4000\ninactive_file 96\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let metrics = unified(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(metrics.cpu.usage_ns, 1_500_000);
        assert_eq!(
            (metrics.memory.usage, metrics.memory.limit),
            (4096, u64::MAX)
        );
        assert_eq!(
            (metrics.memory.oom_kills, metrics.memory.limit_hits),
            (1, 2)
        );
        assert_eq!(metrics.memory.stat["inactive_file"], 96);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (2, u64::MAX));
    }
}
