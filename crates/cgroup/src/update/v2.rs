//! An update as the files of a cgroup on the unified hierarchy.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::check::check_usage;
use super::disks;
use super::error::UpdateError;
use super::values::{line, named, number, rdma, text};
use super::write::Write;

/// What is to be written, in this order.
pub(super) fn plan(dir: &Path, resources: &LinuxResources) -> Result<Vec<Write>, UpdateError> {
    refuse_old(resources)?;
    let mut writes = Vec::new();
    if let Some(io) = resources.block_io() {
        disks::v2(dir, io, &mut writes);
    }
    let mut write = |name: &str, file: &str, value: String| {
        writes.push(Write::new(name, Some(dir), file, value));
    };
    if let Some(memory) = resources.memory() {
        self::memory(dir, memory, &mut write)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(dir, cpu, &mut write)?;
    }
    if let Some(pids) = resources.pids()
        && let Some(limit) = named(Some(pids.limit()))
    {
        write("pids.limit", "pids.max", or_max(limit));
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", page.page_size());
        if page.limit() != 0 || dir.join(&file).is_file() {
            write("hugepageLimits", &file, or_max(page.limit()));
        }
        // Pages that are reserved and not yet used, where the kernel counts them.
        let file = format!("hugetlb.{}.rsvd.max", page.page_size());
        if dir.join(&file).is_file() {
            write("hugepageLimits", &file, or_max(page.limit()));
        }
    }
    for (device, value) in rdma(resources) {
        write(&format!("rdma.{device}"), "rdma.max", value);
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (key, value) in unified {
        // Of the cgroup's own files these limit it; the others are not the container's to set.
        let of_cgroup = [
            "cgroup.max.depth",
            "cgroup.max.descendants",
            "cgroup.pressure",
        ];
        let is_cgroups = key.starts_with("cgroup.") && !of_cgroup.contains(&key.as_str());
        if key.contains('/') || !key.contains('.') || is_cgroups {
            return Err(UpdateError::Key { key: key.clone() });
        }
        // The kernel takes one line at a time, such as those of several devices.
        for line in value.lines() {
            write(key, key, line.to_owned());
        }
    }
    Ok(writes)
}

/// Refuses what cgroup v2 can't do, and says what of it is passed over, as other runtimes do.
fn refuse_old(resources: &LinuxResources) -> Result<(), UpdateError> {
    let cpu = resources.cpu().as_ref();
    let io = resources.block_io().as_ref();
    let leaf_of_device = |io: &LinuxBlockIo| {
        let mut devices = io.weight_device().iter().flatten();
        devices.any(|device| named(device.leaf_weight()).is_some())
    };
    let refused = [
        (
            "cpu.realtimeRuntime",
            named(cpu.and_then(LinuxCpu::realtime_runtime)).is_some(),
        ),
        (
            "cpu.realtimePeriod",
            named(cpu.and_then(LinuxCpu::realtime_period)).is_some(),
        ),
        (
            "blockIO.leafWeight",
            named(io.and_then(LinuxBlockIo::leaf_weight)).is_some()
                || io.is_some_and(leaf_of_device),
        ),
    ];
    if let Some((name, _)) = refused.into_iter().find(|(_, asked)| *asked) {
        return Err(UpdateError::NotOnV2 { name });
    }
    let memory = resources.memory().as_ref();
    let passed_over = [
        (
            "memory.swappiness",
            memory.is_some_and(|it| it.swappiness().is_some()),
        ),
        (
            "memory.disableOOMKiller",
            memory.is_some_and(|it| it.disable_oom_killer() == Some(true)),
        ),
        ("network", resources.network().is_some()),
    ];
    for (name, _) in passed_over.into_iter().filter(|(_, asked)| *asked) {
        log::warn!("{name} is passed over: cgroup v2 has no such thing");
    }
    Ok(())
}

fn memory(
    dir: &Path,
    memory: &LinuxMemory,
    write: &mut impl FnMut(&str, &str, String),
) -> Result<(), UpdateError> {
    let limit = named(memory.limit());
    if let Some(limit) = limit {
        let stat = |name: &str| line(dir, "memory.stat", name);
        let files = stat("file")?.saturating_sub(stat("shmem")?);
        check_usage(limit, number(dir, "memory.current")?, files)?;
    }
    let swap = match named(memory.swap()) {
        // Memory has no limit, so all of it may be swap.
        Some(swap) if swap > 0 && limit == Some(-1) => Some(swap),
        Some(swap) if swap > 0 => {
            // The spec counts both together, the kernel swap alone.
            let now = number(dir, "memory.max")?;
            let memory = limit.or(i64::try_from(now).ok()).filter(|limit| *limit > 0);
            let memory = memory.ok_or(UpdateError::SwapWithoutMemory { swap })?;
            if memory > swap {
                return Err(UpdateError::SwapBelowMemory { memory, swap });
            }
            Some(swap - memory)
        }
        swap => swap.or(limit.filter(|limit| *limit == -1)),
    };
    let has_swap = dir.join("memory.swap.max").is_file();
    if let Some(swap) = swap
        // Without accounting of swap there is none to limit, unless some of it is to be had.
        && (has_swap || swap > 0)
    {
        write("memory.swap", "memory.swap.max", or_max(swap));
    }
    if let Some(limit) = limit {
        write("memory.limit", "memory.max", or_max(limit));
    }
    if let Some(low) = named(memory.reservation()) {
        write("memory.reservation", "memory.low", or_max(low));
    }
    Ok(())
}

fn cpu(
    dir: &Path,
    cpu: &LinuxCpu,
    write: &mut impl FnMut(&str, &str, String),
) -> Result<(), UpdateError> {
    // An idle cgroup takes no weight.
    let idle = cpu.idle();
    if let Some(idle) = idle.filter(|idle| *idle == 0) {
        write("cpu.idle", "cpu.idle", idle.to_string());
    }
    if let Some(shares) = named(cpu.shares()) {
        write("cpu.shares", "cpu.weight", weight(shares).to_string());
    }
    if let Some(idle) = idle.filter(|idle| *idle != 0) {
        write("cpu.idle", "cpu.idle", idle.to_string());
    }
    let (quota, period) = (named(cpu.quota()), named(cpu.period()));
    let burst = cpu.burst();
    if burst.is_some() && quota.is_some() {
        // The old burst may be more than the new quota, the new one more than the old.
        write("cpu.burst", "cpu.max.burst", "0".to_owned());
    }
    if quota.is_some() || period.is_some() {
        let path = dir.join("cpu.max");
        let now =
            std::fs::read_to_string(&path).map_err(|source| UpdateError::Read { path, source })?;
        let (quota_now, period_now) = now.trim().split_once(' ').unwrap_or(("max", "100000"));
        let quota = quota.map_or_else(|| quota_now.to_owned(), or_max);
        let period = period.map_or_else(|| period_now.to_owned(), |period| period.to_string());
        write("cpu.quota", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(burst) = burst {
        write("cpu.burst", "cpu.max.burst", burst.to_string());
    }
    if let Some(cpus) = text(cpu.cpus().as_ref()) {
        write("cpu.cpus", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = text(cpu.mems().as_ref()) {
        write("cpu.mems", "cpuset.mems", mems.clone());
    }
    Ok(())
}

fn or_max(limit: i64) -> String {
    if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

/// Shares of cgroup v1, from 2 by 1024 to 262144, as weights of v2, from 1 by 100 to 10000: the
/// curve of runc since 1.3.2, crun, the kubelet and libcontainer. What came before was a line, which
/// gave the usual 1024 a weight of 39.
fn weight(shares: u64) -> u16 {
    const MAX: u16 = 10_000;
    const MAX_SHARES: u32 = 262_144;
    let shares = u32::try_from(shares).unwrap_or(MAX_SHARES);
    if shares <= 2 {
        return 1;
    }
    let log = f64::from(shares.min(MAX_SHARES)).log2();
    let exact = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    let enough = |weight: &u16| f64::from(*weight) >= exact;
    (1..MAX).find(enough).unwrap_or(MAX)
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_weights_on_the_curve_of_other_runtimes() {
        // As runc's own test has them, and some between.
        let shares = [0, 2, 3, 4, 20, 512, 1024, 4096, 262_143, 262_144, 1 << 40];
        let weights = shares.map(weight);
        assert_eq!(
            weights,
            [1, 1, 2, 2, 6, 59, 100, 303, 10_000, 10_000, 10_000]
        );
    }
}
