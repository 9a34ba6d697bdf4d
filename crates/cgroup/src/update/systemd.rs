//! systemd sets the limits of its units anew when it likes, at a reload for one. So it is told of
//! those of a cgroup that it made.

use std::process::{Command, Stdio};

use super::disks;
use super::error::UpdateError;
use super::values::CPU_PERIOD;
use super::write::{Write, put};

/// Tells systemd of what was written for its `unit`, until the next boot; of what `told` has, it knows.
pub(super) fn tell(unit: &str, writes: &[Write], told: &[Write]) -> Result<(), UpdateError> {
    let untold = writes.iter().filter(|write| !told.contains(write));
    let properties = properties(untold);
    if properties.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("systemctl");
    command
        .args(["set-property", "--runtime", "--", unit])
        .args(&properties)
        .stdin(Stdio::null());
    let done = medley_sys::children::output(&mut command);
    let reason = match done {
        Ok(done) if done.status.success() => {
            // It rounds a quota, and then writes it.
            for write in writes {
                if let Err(error) = put(&write.path, &write.value) {
                    log::debug!("not written again: {}: {error}", write.path.display());
                }
            }
            return Ok(());
        }
        Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        Err(error) => format!("systemctl can't be run: {error}"),
    };
    Err(UpdateError::Systemd {
        unit: unit.to_owned(),
        properties,
        reason,
    })
}

/// What of `writes` systemd has a property for. The rest it leaves alone.
fn properties<'a>(writes: impl Iterator<Item = &'a Write>) -> Vec<String> {
    writes.filter_map(property).flatten().collect()
}

fn property(write: &Write) -> Option<Vec<String>> {
    let file = write.path.file_name()?.to_str()?;
    let value = match write.value.as_str() {
        "max" => "infinity",
        value => value,
    };
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        // It takes no 0; with 1 as little can be made.
        "pids.max" if value == "0" => return Some(vec!["TasksMax=1".to_owned()]),
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpu.idle" if value == "1" => return Some(vec!["CPUWeight=idle".to_owned()]),
        "cpuset.cpus" => "AllowedCPUs",
        "cpuset.mems" => "AllowedMemoryNodes",
        "cpu.max" => return Some(cpu_quota(&write.value)),
        "io.weight" | "io.bfq.weight" | "io.max" => return disk(file, &write.value),
        _ => return None,
    };
    Some(vec![format!("{name}={value}")])
}

/// `254:0 rbps=1000 wbps=max` as the most that may be read of a device; `500`, as a weight.
fn disk(file: &str, value: &str) -> Option<Vec<String>> {
    let Some((device, rest)) = value.split_once(' ') else {
        return Some(vec![format!("IOWeight={}", weight(file, value)?)]);
    };
    let device = match device {
        "default" => return Some(vec![format!("IOWeight={}", weight(file, rest)?)]),
        device => format!("/dev/block/{device}"),
    };
    if file != "io.max" {
        let weight = weight(file, rest)?;
        return Some(vec![format!("IODeviceWeight={device} {weight}")]);
    }
    let limit = |word: &str| {
        let (key, rate) = word.split_once('=')?;
        let name = match key {
            "rbps" => "IOReadBandwidthMax",
            "wbps" => "IOWriteBandwidthMax",
            "riops" => "IOReadIOPSMax",
            "wiops" => "IOWriteIOPSMax",
            _ => return None,
        };
        let rate = if rate == "max" { "infinity" } else { rate };
        Some(format!("{name}={device} {rate}"))
    };
    Some(rest.split_whitespace().filter_map(limit).collect())
}

/// systemd has one scale of weights, and makes BFQ's of it.
fn weight(file: &str, value: &str) -> Option<u64> {
    let weight: u16 = value.trim().parse().ok()?;
    Some(match file {
        "io.bfq.weight" => disks::weight(weight),
        _ => weight.into(),
    })
}

/// `20000 50000` as 40 percent of a processor. An empty quota is none.
fn cpu_quota(value: &str) -> Vec<String> {
    let mut numbers = value.split_whitespace();
    let quota: Option<u64> = numbers.next().and_then(|quota| quota.parse().ok());
    let period: Option<u64> = numbers.next().and_then(|period| period.parse().ok());
    let hundredths = quota.map(|quota| {
        quota
            .saturating_mul(10_000)
            .div_ceil(period.unwrap_or(CPU_PERIOD).max(1))
    });
    let quota = hundredths.map_or_else(String::new, |hundredths| {
        format!("{}.{:02}%", hundredths / 100, hundredths % 100)
    });
    let mut properties = vec![format!("CPUQuota={quota}")];
    properties.extend(period.map(|period| format!("CPUQuotaPeriodSec={period}us")));
    properties
}

#[cfg(test)]
mod tests {
    use super::{Write, properties};

    #[test]
    fn systemd_has_its_own_names_and_counts_quota_in_percent() {
        let write = |file, value: &str| Write::new("", None, file, value);
        let writes = [
            write("memory.max", "3000000"),
            write("memory.swap.max", "max"),
            write("cpu.weight", "39"),
            write("cpu.max.burst", "0"),
            write("cpu.max", "20000 50000"),
            write("cpuset.cpus", "0-1"),
            write("pids.max", "max"),
            write("pids.max", "0"),
            write("cpu.idle", "0"),
            write("cpu.idle", "1"),
            write("io.weight", "4950"),
            write("io.bfq.weight", "500"),
            write("io.weight", "8:16 1920"),
            write("io.max", "8:16 rbps=1000 wiops=max"),
            write("hugetlb.2MB.max", "0"),
        ];
        assert_eq!(
            properties(writes.iter()),
            [
                "MemoryMax=3000000",
                "MemorySwapMax=infinity",
                "CPUWeight=39",
                "CPUQuota=40.00%",
                "CPUQuotaPeriodSec=50000us",
                "AllowedCPUs=0-1",
                "TasksMax=infinity",
                "TasksMax=1",
                "CPUWeight=idle",
                "IOWeight=4950",
                "IOWeight=4950",
                "IODeviceWeight=/dev/block/8:16 1920",
                "IOReadBandwidthMax=/dev/block/8:16 1000",
                "IOWriteIOPSMax=/dev/block/8:16 infinity",
            ]
        );
        assert_eq!(
            properties([write("cpu.max", "max 100000")].iter()),
            ["CPUQuota=", "CPUQuotaPeriodSec=100000us"]
        );
    }
}
