//! systemd sets the limits of its units anew when it likes, at a reload for one. So it is told of
//! those of a cgroup that it made.

use std::process::{Command, Stdio};

use super::{UpdateError, Write, put};

/// Tells systemd of what was written for its `unit`, until the next boot.
pub(super) fn tell(unit: &str, writes: &[Write]) -> Result<(), UpdateError> {
    let properties = properties(writes);
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
fn properties(writes: &[Write]) -> Vec<String> {
    let property = |write: &Write| {
        let file = write.path.file_name()?.to_str()?;
        let name = match file {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "io.weight" => "IOWeight",
            "cpuset.cpus" => "AllowedCPUs",
            "cpuset.mems" => "AllowedMemoryNodes",
            "cpu.max" => return Some(cpu_quota(&write.value)),
            _ => return None,
        };
        let value = match write.value.as_str() {
            "max" => "infinity",
            value => value,
        };
        Some(vec![format!("{name}={value}")])
    };
    writes.iter().filter_map(property).flatten().collect()
}

/// `20000 50000` as 40 percent of a processor. An empty quota is none.
fn cpu_quota(value: &str) -> Vec<String> {
    /// The kernel's.
    const DEFAULT_PERIOD: u64 = 100_000;
    let mut numbers = value.split_whitespace();
    let quota: Option<u64> = numbers.next().and_then(|quota| quota.parse().ok());
    let period: Option<u64> = numbers.next().and_then(|period| period.parse().ok());
    let hundredths = quota.map(|quota| {
        quota
            .saturating_mul(10_000)
            .div_ceil(period.unwrap_or(DEFAULT_PERIOD).max(1))
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
        ];
        assert_eq!(
            properties(&writes),
            [
                "MemoryMax=3000000",
                "MemorySwapMax=infinity",
                "CPUWeight=39",
                "CPUQuota=40.00%",
                "CPUQuotaPeriodSec=50000us",
                "AllowedCPUs=0-1",
                "TasksMax=infinity",
            ]
        );
        assert_eq!(
            properties(&[write("cpu.max", "max 100000")]),
            ["CPUQuota=", "CPUQuotaPeriodSec=100000us"]
        );
    }
}
