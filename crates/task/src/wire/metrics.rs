//! Metrics as containerd's two messages, one for each cgroup version.

use std::collections::HashMap;

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::Error;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::parts::{pack, present};
use medley_types::metrics::{CgroupVersion, Disk, Memory, Metrics};

const NS_PER_US: u64 = 1_000;

/// The message for `metrics`.
pub(super) fn any(metrics: &Metrics) -> Result<Any, Error> {
    match metrics.version {
        CgroupVersion::V1 => pack("io.containerd.cgroups.v1.Metrics", &v1(metrics)),
        CgroupVersion::V2 => pack("io.containerd.cgroups.v2.Metrics", &v2(metrics)),
    }
}

/// The lines of a `key value` file, 0 for one that the kernel does not have.
struct StatLines<'a>(&'a HashMap<String, u64>);

impl StatLines<'_> {
    fn get(&self, key: &str) -> u64 {
        self.0.get(key).copied().unwrap_or_default()
    }
}

fn v1(metrics: &Metrics) -> v1::Metrics {
    let Metrics {
        cpu, memory, pids, ..
    } = metrics;
    let entry = |usage, max, limit, failcnt| {
        present(v1::MemoryEntry {
            usage,
            max,
            limit,
            failcnt,
            ..Default::default()
        })
    };
    v1::Metrics {
        cpu: present(v1::CPUStat {
            usage: present(v1::CPUUsage {
                total: cpu.usage_ns,
                kernel: cpu.system_ns,
                user: cpu.user_ns,
                per_cpu: cpu.per_cpu_ns.clone(),
                ..Default::default()
            }),
            throttling: present(v1::Throttle {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_ns,
                ..Default::default()
            }),
            ..Default::default()
        }),
        memory: present(v1::MemoryStat {
            usage: entry(
                memory.usage,
                memory.max_usage,
                memory.limit,
                memory.limit_hits,
            ),
            swap: entry(
                memory.swap_usage,
                memory.swap_max_usage,
                memory.swap_limit,
                memory.swap_limit_hits,
            ),
            kernel: entry(memory.kernel_usage, 0, 0, 0),
            kernel_tcp: entry(memory.kernel_tcp_usage, 0, 0, 0),
            ..v1_memory_stat(memory)
        }),
        memory_oom_control: present(v1::MemoryOomControl {
            oom_kill_disable: memory.oom_kill_disabled.into(),
            under_oom: memory.under_oom.into(),
            oom_kill: memory.oom_kills,
            ..Default::default()
        }),
        pids: present(v1::PidsStat {
            current: pids.current,
            limit: pids.limit,
            ..Default::default()
        }),
        blkio: present(v1::BlkIOStat {
            io_service_bytes_recursive: v1_disks(metrics, |disk| {
                (disk.read_bytes, disk.written_bytes)
            }),
            io_serviced_recursive: v1_disks(metrics, |disk| (disk.reads, disk.writes)),
            ..Default::default()
        }),
        hugetlb: metrics
            .huge_pages
            .iter()
            .map(|pages| v1::HugetlbStat {
                usage: pages.usage,
                max: pages.max_usage,
                failcnt: pages.limit_hits,
                pagesize: pages.size.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn v1_disks(metrics: &Metrics, pick: impl Fn(&Disk) -> (u64, u64)) -> Vec<v1::BlkIOEntry> {
    let disks = metrics.disks.iter();
    let entries = disks.flat_map(|disk| {
        let (read, written) = pick(disk);
        let total = read.saturating_add(written);
        [("Read", read), ("Write", written), ("Total", total)].map(|(op, value)| v1::BlkIOEntry {
            op: op.to_owned(),
            major: disk.major,
            minor: disk.minor,
            value,
            ..Default::default()
        })
    });
    entries.collect()
}

fn v1_memory_stat(memory: &Memory) -> v1::MemoryStat {
    let stat = StatLines(&memory.stat);
    v1::MemoryStat {
        cache: stat.get("cache"),
        rss: stat.get("rss"),
        rss_huge: stat.get("rss_huge"),
        mapped_file: stat.get("mapped_file"),
        dirty: stat.get("dirty"),
        writeback: stat.get("writeback"),
        pg_pg_in: stat.get("pgpgin"),
        pg_pg_out: stat.get("pgpgout"),
        pg_fault: stat.get("pgfault"),
        pg_maj_fault: stat.get("pgmajfault"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        hierarchical_memory_limit: stat.get("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat.get("hierarchical_memsw_limit"),
        total_cache: stat.get("total_cache"),
        total_rss: stat.get("total_rss"),
        total_rss_huge: stat.get("total_rss_huge"),
        total_mapped_file: stat.get("total_mapped_file"),
        total_dirty: stat.get("total_dirty"),
        total_writeback: stat.get("total_writeback"),
        total_pg_pg_in: stat.get("total_pgpgin"),
        total_pg_pg_out: stat.get("total_pgpgout"),
        total_pg_fault: stat.get("total_pgfault"),
        total_pg_maj_fault: stat.get("total_pgmajfault"),
        total_inactive_anon: stat.get("total_inactive_anon"),
        total_active_anon: stat.get("total_active_anon"),
        total_inactive_file: stat.get("total_inactive_file"),
        total_active_file: stat.get("total_active_file"),
        total_unevictable: stat.get("total_unevictable"),
        ..Default::default()
    }
}

fn v2(metrics: &Metrics) -> v2::Metrics {
    let Metrics {
        cpu, memory, pids, ..
    } = metrics;
    let events = StatLines(&memory.events);
    v2::Metrics {
        cpu: present(v2::CPUStat {
            usage_usec: cpu.usage_ns / NS_PER_US,
            user_usec: cpu.user_ns / NS_PER_US,
            system_usec: cpu.system_ns / NS_PER_US,
            nr_periods: cpu.periods,
            nr_throttled: cpu.throttled_periods,
            throttled_usec: cpu.throttled_ns / NS_PER_US,
            nr_bursts: cpu.bursts,
            burst_usec: cpu.burst_ns / NS_PER_US,
            ..Default::default()
        }),
        memory: present(v2_memory_stat(memory)),
        memory_events: present(v2::MemoryEvents {
            low: events.get("low"),
            high: events.get("high"),
            max: events.get("max"),
            oom: events.get("oom"),
            oom_kill: memory.oom_kills,
            oom_group_kill: events.get("oom_group_kill"),
            ..Default::default()
        }),
        pids: present(v2::PidsStat {
            current: pids.current,
            limit: pids.limit,
            ..Default::default()
        }),
        io: present(v2::IOStat {
            usage: metrics
                .disks
                .iter()
                .map(|disk| v2::IOEntry {
                    major: disk.major,
                    minor: disk.minor,
                    rbytes: disk.read_bytes,
                    wbytes: disk.written_bytes,
                    rios: disk.reads,
                    wios: disk.writes,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        hugetlb: metrics
            .huge_pages
            .iter()
            .map(|pages| v2::HugeTlbStat {
                current: pages.usage,
                max: pages.limit,
                failcnt: pages.limit_hits,
                pagesize: pages.size.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn v2_memory_stat(memory: &Memory) -> v2::MemoryStat {
    let stat = StatLines(&memory.stat);
    // Kernels from 5.9 on count these for anonymous pages and for those of files.
    let both = |name: &str| {
        let halves = ["anon", "file"].map(|half| stat.get(&format!("{name}_{half}")));
        stat.get(name)
            .saturating_add(halves[0])
            .saturating_add(halves[1])
    };
    v2::MemoryStat {
        anon: stat.get("anon"),
        file: stat.get("file"),
        kernel_stack: stat.get("kernel_stack"),
        slab: stat.get("slab"),
        sock: stat.get("sock"),
        shmem: stat.get("shmem"),
        file_mapped: stat.get("file_mapped"),
        file_dirty: stat.get("file_dirty"),
        file_writeback: stat.get("file_writeback"),
        anon_thp: stat.get("anon_thp"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        slab_reclaimable: stat.get("slab_reclaimable"),
        slab_unreclaimable: stat.get("slab_unreclaimable"),
        pgfault: stat.get("pgfault"),
        pgmajfault: stat.get("pgmajfault"),
        workingset_refault: both("workingset_refault"),
        workingset_activate: both("workingset_activate"),
        workingset_nodereclaim: stat.get("workingset_nodereclaim"),
        pgrefill: stat.get("pgrefill"),
        pgscan: stat.get("pgscan"),
        pgsteal: stat.get("pgsteal"),
        pgactivate: stat.get("pgactivate"),
        pgdeactivate: stat.get("pgdeactivate"),
        pglazyfree: stat.get("pglazyfree"),
        pglazyfreed: stat.get("pglazyfreed"),
        thp_fault_alloc: stat.get("thp_fault_alloc"),
        thp_collapse_alloc: stat.get("thp_collapse_alloc"),
        usage: memory.usage,
        usage_limit: memory.limit,
        max_usage: memory.max_usage,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        swap_max_usage: memory.swap_max_usage,
        ..Default::default()
    }
}
