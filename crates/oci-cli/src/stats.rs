//! What a container uses, as runc's `events` has it.

use medley_types::metrics::{CgroupVersion, Cpu, Disk, HugePages, Memory, Metrics};
use serde_json::{Map, Value, json};

/// The figures of one moment.
pub(crate) fn of(metrics: &Metrics) -> Value {
    json!({
        "cpu": cpu(&metrics.cpu),
        "cpuset": {},
        "memory": memory(&metrics.memory, metrics.version),
        "pids": {
            "current": metrics.pids.current,
            "limit": limit(metrics.pids.limit),
        },
        "blkio": disks(&metrics.disks),
        "hugetlb": huge_pages(&metrics.huge_pages),
        "intel_rdt": {},
        "network_interfaces": Value::Null,
    })
}

/// Where there is none, runc has 0.
fn limit(limit: u64) -> u64 {
    if limit == u64::MAX { 0 } else { limit }
}

fn cpu(cpu: &Cpu) -> Value {
    let mut usage = json!({
        "total": cpu.usage_ns,
        "kernel": cpu.system_ns,
        "user": cpu.user_ns,
    });
    if !cpu.per_cpu_ns.is_empty() {
        usage["percpu"] = json!(cpu.per_cpu_ns);
    }
    json!({
        "usage": usage,
        "throttling": {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": cpu.throttled_ns,
        },
    })
}

fn memory(memory: &Memory, version: CgroupVersion) -> Value {
    let cache = match version {
        CgroupVersion::V1 => "cache",
        CgroupVersion::V2 => "file",
    };
    // On cgroup v2 the swap alone is counted, and runc tells of both.
    let both = |swap: u64, memory: u64| match version {
        CgroupVersion::V1 => swap,
        CgroupVersion::V2 => swap.saturating_add(memory),
    };
    json!({
        "cache": memory.stat.get(cache).copied().unwrap_or(0),
        "usage": {
            "limit": memory.limit,
            "usage": memory.usage,
            "max": memory.max_usage,
            "failcnt": memory.limit_hits,
        },
        "swap": {
            "limit": both(memory.swap_limit, memory.limit),
            "usage": both(memory.swap_usage, memory.usage),
            "max": memory.swap_max_usage,
            "failcnt": memory.swap_limit_hits,
        },
        "kernel": { "limit": 0, "usage": memory.kernel_usage, "failcnt": 0 },
        "kernelTCP": { "limit": 0, "usage": memory.kernel_tcp_usage, "failcnt": 0 },
        "raw": memory.stat,
    })
}

fn disks(disks: &[Disk]) -> Value {
    let entries = |of: fn(&Disk) -> [(&'static str, u64); 2]| -> Vec<Value> {
        let each = disks.iter().flat_map(|disk| {
            of(disk).map(|(op, value)| {
                json!({"major": disk.major, "minor": disk.minor, "op": op, "value": value})
            })
        });
        each.collect()
    };
    json!({
        "ioServiceBytesRecursive":
            entries(|disk| [("Read", disk.read_bytes), ("Write", disk.written_bytes)]),
        "ioServicedRecursive": entries(|disk| [("Read", disk.reads), ("Write", disk.writes)]),
    })
}

fn huge_pages(pages: &[HugePages]) -> Value {
    let each = pages.iter().map(|pages| {
        let figures = json!({
            "usage": pages.usage,
            "max": pages.max_usage,
            "failcnt": pages.limit_hits,
        });
        (pages.size.clone(), figures)
    });
    Value::Object(each.collect::<Map<_, _>>())
}
