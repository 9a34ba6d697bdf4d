//! An update as the files of cgroup v1, one dir for each controller.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::check::check_usage;
use super::disks;
use super::error::UpdateError;
use super::values::{line, named, number, rdma, text};
use super::write::Write;

type DirOf<'a> = dyn Fn(&str) -> Option<&'a Path> + 'a;

/// What is to be written, in this order.
pub(super) fn plan<'a>(
    dir: &DirOf<'a>,
    resources: &LinuxResources,
) -> Result<Vec<Write>, UpdateError> {
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory() {
        self::memory(dir("memory"), memory, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(dir, cpu, &mut writes)?;
    }
    if let Some(pids) = resources.pids()
        && let Some(limit) = named(Some(pids.limit()))
    {
        let value = if limit < 0 {
            "max".to_owned()
        } else {
            limit.to_string()
        };
        writes.push(Write::new("pids.limit", dir("pids"), "pids.max", value));
    }
    if let Some(io) = resources.block_io() {
        disks::v1(dir("blkio"), io, &mut writes);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let dir = dir("hugetlb");
        if dir.is_none() && page.limit() == 0 {
            continue;
        }
        let file = format!("hugetlb.{}.limit_in_bytes", page.page_size());
        writes.push(Write::new("hugepageLimits", dir, &file, page.limit()));
        // Pages that are reserved and not yet used, where the kernel counts them.
        let file = format!("hugetlb.{}.rsvd.limit_in_bytes", page.page_size());
        if dir.is_some_and(|dir| dir.join(&file).is_file()) {
            writes.push(Write::new("hugepageLimits", dir, &file, page.limit()));
        }
    }
    for (device, value) in rdma(resources) {
        let name = format!("rdma.{device}");
        writes.push(Write::new(&name, dir("rdma"), "rdma.max", value));
    }
    match resources.unified().iter().flatten().next() {
        Some((key, _)) => Err(UpdateError::NotUnified { key: key.clone() }),
        None => Ok(writes),
    }
}

fn memory(
    dir: Option<&Path>,
    memory: &LinuxMemory,
    writes: &mut Vec<Write>,
) -> Result<(), UpdateError> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    let limit = named(memory.limit());
    let mut swap = named(memory.swap());
    let counts_swap = dir.is_some_and(|dir| dir.join(SWAP).is_file());
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let (Some(dir), Some(limit)) = (dir, limit) {
        let stat = |name: &str| line(dir, "memory.stat", name);
        let files = stat("total_cache")?.saturating_sub(stat("total_shmem")?);
        check_usage(limit, number(dir, "memory.usage_in_bytes")?, files)?;
    }
    if let (Some(memory @ -1), Some(swap @ 1..)) = (limit, swap) {
        return Err(UpdateError::SwapBelowMemory { memory, swap });
    }
    if limit == Some(-1) && counts_swap {
        swap = swap.or(limit);
    }
    let mut swap_first = false;
    if let Some(dir) = dir
        && counts_swap
    {
        // The kernel holds the limit of both above that of memory at every step.
        let (limit_now, swap_now) = (number(dir, LIMIT)?, number(dir, SWAP)?);
        swap_first = swap.is_some_and(|swap| u64::try_from(swap).map_or(true, |s| s > swap_now));
        let (memory, both) = match (limit, swap) {
            (Some(memory), None) => (memory, signed(swap_now)),
            (None, Some(swap)) => (signed(limit_now), swap),
            _ => (0, 0),
        };
        if both >= 0 && memory > both {
            return Err(UpdateError::SwapBelowMemory { memory, swap: both });
        }
    }
    let limit = limit.map(|limit| Write::new("memory.limit", dir, LIMIT, limit));
    let swap = swap.map(|swap| Write::new("memory.swap", dir, SWAP, swap));
    if swap_first {
        writes.extend(swap);
        writes.extend(limit);
    } else {
        writes.extend(limit);
        writes.extend(swap);
    }
    if let Some(soft) = named(memory.reservation()) {
        let file = "memory.soft_limit_in_bytes";
        writes.push(Write::new("memory.reservation", dir, file, soft));
    }
    if let Some(swappiness) = memory.swappiness() {
        let file = "memory.swappiness";
        writes.push(Write::new("memory.swappiness", dir, file, swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        let file = "memory.oom_control";
        let mut write = Write::new("memory.disableOOMKiller", dir, file, 1);
        write.undo = Some("0".to_owned());
        writes.push(write);
    }
    Ok(())
}

fn cpu<'a>(dirs: &DirOf<'a>, cpu: &LinuxCpu, writes: &mut Vec<Write>) -> Result<(), UpdateError> {
    const QUOTA: &str = "cpu.cfs_quota_us";
    let dir = dirs("cpu");
    // An idle cgroup takes no shares.
    let idle = |idle: i64| Write::new("cpu.idle", dir, "cpu.idle", idle);
    writes.extend(cpu.idle().filter(|is| *is == 0).map(idle));
    if let Some(shares) = named(cpu.shares()) {
        writes.push(Write::new("cpu.shares", dir, "cpu.shares", shares));
    }
    writes.extend(cpu.idle().filter(|is| *is != 0).map(idle));
    let quota = named(cpu.quota()).map(|quota| quota.max(-1));
    let (period, burst) = (named(cpu.period()), cpu.burst());
    let is_limited = match dir {
        // -1, which is no limit, is no number.
        Some(dir) => number(dir, QUOTA)? > 0,
        None => false,
    };
    if quota.is_some() && is_limited && (period.is_some() || burst.is_some()) {
        // The old quota with the new period may be more than the parent has, and the new burst
        // more than the old quota: without a quota both are taken.
        writes.push(Write::new("cpu.quota", dir, QUOTA, -1));
    }
    if let Some(period) = period {
        writes.push(Write::new("cpu.period", dir, "cpu.cfs_period_us", period));
    }
    if let Some(burst) = burst {
        writes.push(Write::new("cpu.burst", dir, "cpu.cfs_burst_us", burst));
    }
    if let Some(quota) = quota {
        writes.push(Write::new("cpu.quota", dir, QUOTA, quota));
    }
    if let Some(period) = named(cpu.realtime_period()) {
        let file = "cpu.rt_period_us";
        writes.push(Write::new("cpu.realtimePeriod", dir, file, period));
    }
    if let Some(runtime) = named(cpu.realtime_runtime()) {
        let file = "cpu.rt_runtime_us";
        writes.push(Write::new("cpu.realtimeRuntime", dir, file, runtime));
    }
    let sets = dirs("cpuset");
    if let Some(cpus) = text(cpu.cpus().as_ref()) {
        writes.push(Write::new("cpu.cpus", sets, "cpuset.cpus", cpus));
    }
    if let Some(mems) = text(cpu.mems().as_ref()) {
        writes.push(Write::new("cpu.mems", sets, "cpuset.mems", mems));
    }
    Ok(())
}
