//! An update as the files of a cgroup on the unified hierarchy.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{UpdateError, Write, check_usage, line, named, number, text};

/// What is to be written, in this order.
pub(super) fn plan(folder: &Path, resources: &LinuxResources) -> Result<Vec<Write>, UpdateError> {
    let mut writes = Vec::new();
    let mut write = |name: &str, file: &str, value: String| {
        writes.push(Write::new(name, Some(folder), file, value));
    };
    if let Some(memory) = resources.memory() {
        self::memory(folder, memory, &mut write)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(folder, cpu, &mut write)?;
    }
    if let Some(pids) = resources.pids()
        && let Some(limit) = named(Some(pids.limit()))
    {
        write("pids.limit", "pids.max", or_max(limit));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight());
    if let Some(weight) = named(weight) {
        if folder.join("io.bfq.weight").is_file() {
            write("blockIO.weight", "io.bfq.weight", weight.to_string());
        } else {
            write("blockIO.weight", "io.weight", io_weight(weight).to_string());
        }
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", page.page_size());
        if page.limit() != 0 || folder.join(&file).is_file() {
            write("hugepageLimits", &file, page.limit().to_string());
        }
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

fn memory(
    folder: &Path,
    memory: &LinuxMemory,
    write: &mut impl FnMut(&str, &str, String),
) -> Result<(), UpdateError> {
    let limit = named(memory.limit());
    if let Some(limit) = limit {
        let stat = |name: &str| line(folder, "memory.stat", name);
        let files = stat("file")?.saturating_sub(stat("shmem")?);
        check_usage(limit, number(folder, "memory.current")?, files)?;
    }
    let swap = match named(memory.swap()) {
        Some(swap) if swap > 0 => {
            // The spec counts both together, the kernel swap alone.
            let now = number(folder, "memory.max")?;
            let memory = limit.or(i64::try_from(now).ok()).filter(|limit| *limit > 0);
            let memory = memory.ok_or(UpdateError::SwapWithoutMemory { swap })?;
            if memory > swap {
                return Err(UpdateError::SwapBelowMemory { memory, swap });
            }
            Some(swap - memory)
        }
        swap => swap.or(limit.filter(|limit| *limit == -1)),
    };
    let has_swap = folder.join("memory.swap.max").is_file();
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
    folder: &Path,
    cpu: &LinuxCpu,
    write: &mut impl FnMut(&str, &str, String),
) -> Result<(), UpdateError> {
    if let Some(idle) = cpu.idle() {
        write("cpu.idle", "cpu.idle", idle.to_string());
    }
    if let Some(shares) = named(cpu.shares()) {
        write("cpu.shares", "cpu.weight", weight(shares).to_string());
    }
    let (quota, period) = (named(cpu.quota()), named(cpu.period()));
    let burst = cpu.burst();
    if burst.is_some() && quota.is_some() {
        // The old burst may be more than the new quota, the new one more than the old.
        write("cpu.burst", "cpu.max.burst", "0".to_owned());
    }
    if quota.is_some() || period.is_some() {
        let path = folder.join("cpu.max");
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

/// 2 to 262144 as 1 to 10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// 10 to 1000 as 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1_000) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::{io_weight, weight};

    #[test]
    fn shares_become_weights_from_end_to_end() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
        assert_eq!([0, 1 << 40].map(weight), [1, 10_000]);
        assert_eq!([10, 500, 1_000].map(io_weight), [1, 4_950, 10_000]);
    }
}
