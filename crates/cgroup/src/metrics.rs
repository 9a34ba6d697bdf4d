//! A cgroup's counters, from its files. A file or controller that is not there counts as zero.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use medley_types::metrics::{CgroupVersion, Cpu, Disk, HugePages, Memory, Metrics, Pids};

use crate::error::Error;
use crate::files::{V1_UNLIMITED, counters, number, text};

const NS_PER_US: u64 = 1_000;

/// Nanoseconds of a clock tick, `USER_HZ` being 100 on every architecture.
const NS_PER_TICK: u64 = 10_000_000;

/// The figures of a cgroup on the unified hierarchy.
pub(super) fn read_v2(dir: &Path) -> Result<Metrics, Error> {
    let cpu = counters(dir, "cpu.stat")?;
    let of = |key: &str| cpu.get(key).copied().unwrap_or_default();
    let events = counters(dir, "memory.events")?;
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
            bursts: of("nr_bursts"),
            burst_ns: of("burst_usec").saturating_mul(NS_PER_US),
        },
        memory: Memory {
            usage: number(dir, "memory.current")?,
            max_usage: number(dir, "memory.peak")?,
            limit: number(dir, "memory.max")?,
            limit_hits: events.get("max").copied().unwrap_or_default(),
            swap_usage: number(dir, "memory.swap.current")?,
            swap_max_usage: number(dir, "memory.swap.peak")?,
            swap_limit: number(dir, "memory.swap.max")?,
            oom_kills: events.get("oom_kill").copied().unwrap_or_default(),
            stat: counters(dir, "memory.stat")?,
            events,
            ..Memory::default()
        },
        pids: Pids {
            current: number(dir, "pids.current")?,
            limit: number(dir, "pids.max")?,
        },
        disks: disks(&text(dir, "io.stat")?),
        huge_pages: huge_pages(dir, ".current", |size| {
            Ok(HugePages {
                usage: number(dir, &format!("hugetlb.{size}.current"))?,
                limit: number(dir, &format!("hugetlb.{size}.max"))?,
                limit_hits: counters(dir, &format!("hugetlb.{size}.events"))?
                    .get("max")
                    .copied()
                    .unwrap_or_default(),
                size,
                ..HugePages::default()
            })
        })?,
    })
}

/// The figures of a cgroup with one dir for each controller.
pub(super) fn read_v1<'a>(dir: &dyn Fn(&str) -> Option<&'a Path>) -> Result<Metrics, Error> {
    let cpu = dir("cpu")
        .map(|cpu| counters(cpu, "cpu.stat"))
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
        pids: dir("pids").map(v1_pids).transpose()?.unwrap_or_default(),
        disks: dir("blkio").map(v1_disks).transpose()?.unwrap_or_default(),
        huge_pages: dir("hugetlb")
            .map(v1_huge_pages)
            .transpose()?
            .unwrap_or_default(),
    };
    if let Some(accounting) = dir("cpuacct") {
        let ticks = counters(accounting, "cpuacct.stat")?;
        let of = |key: &str| ticks.get(key).copied().unwrap_or_default();
        metrics.cpu.usage_ns = number(accounting, "cpuacct.usage")?;
        metrics.cpu.user_ns = of("user").saturating_mul(NS_PER_TICK);
        metrics.cpu.system_ns = of("system").saturating_mul(NS_PER_TICK);
        metrics.cpu.per_cpu_ns = text(accounting, "cpuacct.usage_percpu")?
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
    }
    if let Some(memory) = dir("memory") {
        metrics.memory = v1_memory(memory)?;
    }
    Ok(metrics)
}

fn v1_memory(dir: &Path) -> Result<Memory, Error> {
    let limit = |file: &str| {
        number(dir, file).map(|limit| {
            if limit >= V1_UNLIMITED {
                u64::MAX
            } else {
                limit
            }
        })
    };
    let oom = counters(dir, "memory.oom_control")?;
    let oom = |key: &str| oom.get(key).copied().unwrap_or_default();
    Ok(Memory {
        usage: number(dir, "memory.usage_in_bytes")?,
        max_usage: number(dir, "memory.max_usage_in_bytes")?,
        limit: limit("memory.limit_in_bytes")?,
        limit_hits: number(dir, "memory.failcnt")?,
        swap_usage: number(dir, "memory.memsw.usage_in_bytes")?,
        swap_max_usage: number(dir, "memory.memsw.max_usage_in_bytes")?,
        swap_limit: limit("memory.memsw.limit_in_bytes")?,
        swap_limit_hits: number(dir, "memory.memsw.failcnt")?,
        kernel_usage: number(dir, "memory.kmem.usage_in_bytes")?,
        kernel_tcp_usage: number(dir, "memory.kmem.tcp.usage_in_bytes")?,
        oom_kill_disabled: oom("oom_kill_disable") != 0,
        under_oom: oom("under_oom") != 0,
        oom_kills: oom("oom_kill"),
        stat: counters(dir, "memory.stat")?,
        events: HashMap::new(),
    })
}

/// As containerd's message for v1 has it: 0 is no limit.
fn v1_pids(dir: &Path) -> Result<Pids, Error> {
    let limit = number(dir, "pids.max")?;
    Ok(Pids {
        current: number(dir, "pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`, a line for each disk.
fn disks(text: &str) -> Vec<Disk> {
    let disk = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let mut disk = Disk {
            major,
            minor,
            ..Disk::default()
        };
        for (name, number) in words.filter_map(|word| word.split_once('=')) {
            let number = number.parse().unwrap_or_default();
            match name {
                "rbytes" => disk.read_bytes = number,
                "wbytes" => disk.written_bytes = number,
                "rios" => disk.reads = number,
                "wios" => disk.writes = number,
                _ => {}
            }
        }
        Some(disk)
    };
    text.lines().filter_map(disk).collect()
}

/// `8:0 Read 4096`, a line for each disk and kind of operation, in one file for bytes and one
/// for operations.
fn v1_disks(dir: &Path) -> Result<Vec<Disk>, Error> {
    let mut disks: BTreeMap<(u64, u64), Disk> = BTreeMap::new();
    let mut add = |text: &str, set: &dyn Fn(&mut Disk, &str, u64)| {
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The last line is the sum over all disks.
            if let [number, operation, count] = words[..]
                && let (Some((major, minor)), Ok(count)) = (device(number), count.parse())
            {
                let disk = disks.entry((major, minor)).or_default();
                (disk.major, disk.minor) = (major, minor);
                set(disk, operation, count);
            }
        }
    };
    let bytes = text(dir, "blkio.throttle.io_service_bytes_recursive")?;
    add(&bytes, &|disk, operation, count| match operation {
        "Read" => disk.read_bytes = count,
        "Write" => disk.written_bytes = count,
        _ => {}
    });
    let operations = text(dir, "blkio.throttle.io_serviced_recursive")?;
    add(&operations, &|disk, operation, count| match operation {
        "Read" => disk.reads = count,
        "Write" => disk.writes = count,
        _ => {}
    });
    Ok(disks.into_values().collect())
}

fn device(number: &str) -> Option<(u64, u64)> {
    let (major, minor) = number.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn v1_huge_pages(dir: &Path) -> Result<Vec<HugePages>, Error> {
    huge_pages(dir, ".usage_in_bytes", |size| {
        let of = |figure: &str| number(dir, &format!("hugetlb.{size}.{figure}"));
        Ok(HugePages {
            usage: of("usage_in_bytes")?,
            max_usage: of("max_usage_in_bytes")?,
            limit: of("limit_in_bytes")?,
            limit_hits: of("failcnt")?,
            size: size.clone(),
        })
    })
}

/// What `read` gives for each size for which there is a file `hugetlb.<size><ending>`.
fn huge_pages(
    dir: &Path,
    ending: &str,
    read: impl Fn(String) -> Result<HugePages, Error>,
) -> Result<Vec<HugePages>, Error> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut sizes: Vec<String> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(ending)?;
            // `<size>.rsvd` and `<size>.max` have files of their own.
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    sizes.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::{read_v1, read_v2};
    use std::path::PathBuf;

    #[test]
    fn the_controllers_of_v1_are_read_each_in_its_folder() {
        let dir: PathBuf =
            std::env::temp_dir().join(format!("medley-cgroups-v1-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            (
                "cpu.stat",
                "nr_periods 3\nnr_throttled 1\nthrottled_time 7\n",
            ),
            ("cpuacct.usage", "1500\n"),
            ("cpuacct.stat", "user 1\nsystem 2\n"),
            ("cpuacct.usage_percpu", "1000 500 \n"),
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n",
            ),
            ("memory.stat", "cache 96\ntotal_inactive_file 96\n"),
            ("memory.memsw.failcnt", "5\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 4096\n8:0 Write 512\n8:0 Total 4608\nTotal 4608\n",
            ),
            (
                "blkio.throttle.io_serviced_recursive",
                "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
            ),
            ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
            ("hugetlb.2MB.rsvd.usage_in_bytes", "0\n"),
            ("hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
        ] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let metrics = read_v1(&|_| Some(&dir)).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(metrics.cpu.usage_ns, 1_500);
        assert_eq!(
            (metrics.cpu.user_ns, metrics.cpu.system_ns),
            (10_000_000, 20_000_000)
        );
        assert_eq!(metrics.cpu.per_cpu_ns, [1_000, 500]);
        assert_eq!(
            (metrics.cpu.throttled_periods, metrics.cpu.throttled_ns),
            (1, 7)
        );
        let memory = &metrics.memory;
        assert_eq!((memory.usage, memory.limit), (4096, u64::MAX));
        assert_eq!(
            (memory.oom_kills, memory.under_oom, memory.swap_limit_hits),
            (2, true, 5)
        );
        assert_eq!(memory.stat["total_inactive_file"], 96);
        let [disk] = metrics.disks[..] else {
            panic!("{:?}", metrics.disks);
        };
        assert_eq!(
            (disk.major, disk.minor, disk.reads, disk.writes),
            (8, 0, 1, 2)
        );
        assert_eq!((disk.read_bytes, disk.written_bytes), (4096, 512));
        let [pages] = &metrics.huge_pages[..] else {
            panic!("{:?}", metrics.huge_pages);
        };
        assert_eq!(
            (pages.size.as_str(), pages.usage, pages.max_usage),
            ("2MB", 2 << 20, 4 << 20)
        );
        assert_eq!((metrics.pids.current, metrics.pids.limit), (2, 0));
    }

    #[test]
    fn a_unified_cgroup_is_read_in_nanoseconds_and_bytes() {
        let dir: PathBuf =
            std::env::temp_dir().join(format!("medley-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            (
                "cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nmax 2\noom 1\noom_kill 1\n"),
            ("memory.stat", "anon 4000\ninactive_file 96\n"),
            (
                "io.stat",
                "8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n",
            ),
            ("hugetlb.2MB.current", "2097152\n"),
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.events", "max 4\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
        ] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let metrics = read_v2(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
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
        let [disk] = metrics.disks[..] else {
            panic!("{:?}", metrics.disks);
        };
        assert_eq!(
            (disk.major, disk.minor, disk.reads, disk.writes),
            (8, 0, 1, 2)
        );
        assert_eq!((disk.read_bytes, disk.written_bytes), (4096, 512));
        let [pages] = &metrics.huge_pages[..] else {
            panic!("{:?}", metrics.huge_pages);
        };
        assert_eq!(
            (pages.usage, pages.limit, pages.limit_hits),
            (2 << 20, u64::MAX, 4)
        );
    }
}
