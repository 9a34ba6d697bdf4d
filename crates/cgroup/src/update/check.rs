//! What of an update is refused before anything is written.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::error::UpdateError;
use super::values::named;

/// Refuses what makes no sense, wherever the container is.
///
/// # Errors
/// [`UpdateError::OutOfRange`] or [`UpdateError::SwapBelowMemory`].
pub(crate) fn check(resources: &LinuxResources) -> Result<(), UpdateError> {
    let mut sizes = resources.hugepage_limits().iter().flatten();
    if let Some(page) = sizes.find(|page| page.page_size().contains('/')) {
        let key = page.page_size().clone();
        return Err(UpdateError::Key { key });
    }
    resources.cpu().as_ref().map_or(Ok(()), check_cpu)?;
    resources.memory().as_ref().map_or(Ok(()), check_memory)
}

fn check_cpu(cpu: &LinuxCpu) -> Result<(), UpdateError> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let Some(period) = named(cpu.period())
        && !(1_000..=1_000_000).contains(&period)
    {
        return Err(UpdateError::OutOfRange {
            name: "cpu.period",
            value: signed(period),
            expected: "between 1000 and 1000000 microseconds",
        });
    }
    if let Some(quota) = named(cpu.quota())
        && (1..1_000).contains(&quota)
    {
        return Err(UpdateError::OutOfRange {
            name: "cpu.quota",
            value: quota,
            expected: "1000 microseconds or more, nor -1 for no limit",
        });
    }
    Ok(())
}

fn check_memory(memory: &LinuxMemory) -> Result<(), UpdateError> {
    for (name, value) in [
        ("memory.limit", memory.limit()),
        ("memory.reservation", memory.reservation()),
        ("memory.swap", memory.swap()),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            return Err(UpdateError::OutOfRange {
                name,
                value,
                expected: "a number of bytes, nor -1 for no limit",
            });
        }
    }
    if let Some(swappiness) = memory.swappiness().filter(|number| *number > 100) {
        return Err(UpdateError::OutOfRange {
            name: "memory.swappiness",
            value: i64::try_from(swappiness).unwrap_or(i64::MAX),
            expected: "between 0 and 100",
        });
    }
    match (named(memory.limit()), named(memory.swap())) {
        (Some(memory), Some(swap)) if swap > 0 && memory > swap => {
            Err(UpdateError::SwapBelowMemory { memory, swap })
        }
        _ => Ok(()),
    }
}

/// Refuses a memory limit that only kills could enforce. Pages of files can be given back.
pub(super) fn check_usage(limit: i64, usage: u64, files: u64) -> Result<(), UpdateError> {
    let usage = usage.saturating_sub(files);
    match u64::try_from(limit) {
        Ok(bytes) if bytes < usage => Err(UpdateError::BelowUsage { limit, usage }),
        _ => Ok(()),
    }
}
