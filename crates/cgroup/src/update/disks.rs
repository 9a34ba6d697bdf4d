//! Limits of block devices as files of either cgroup version: weights, and what may be read and
//! written.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::values::named;
use super::write::Write;

/// A throttle's name in the spec, its file on cgroup v1, and its word on v2.
const THROTTLES: [(&str, &str, &str); 4] = [
    ("throttleReadBpsDevice", "read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "write_iops_device", "wiops"),
];

/// Those of a spec, in the same order.
fn throttles(io: &LinuxBlockIo) -> [&Option<Vec<LinuxThrottleDevice>>; 4] {
    [
        io.throttle_read_bps_device(),
        io.throttle_write_bps_device(),
        io.throttle_read_iops_device(),
        io.throttle_write_iops_device(),
    ]
}

/// Adds what is to be written on cgroup v1.
pub(super) fn v1(dir: Option<&Path>, io: &LinuxBlockIo, writes: &mut Vec<Write>) {
    let has = |file: &str| dir.is_some_and(|dir| dir.join(file).is_file());
    // CFQ, which the kernel had up to 5.0, or BFQ.
    let scheduler = if has("blkio.weight") {
        "blkio"
    } else {
        "blkio.bfq"
    };
    // BFQ gives every device the weight that is written last.
    if let Some(weight) = named(io.weight()) {
        let file = format!("{scheduler}.weight");
        writes.push(Write::new("blockIO.weight", dir, &file, weight));
    }
    let mut device = |name: &str, file: &str, device: &str, value: u64| {
        let mut write = Write::new(name, dir, file, format!("{device} {value}"));
        write.undo = Some(undo(&write.path, device, "0"));
        writes.push(write);
    };
    for it in io.weight_device().iter().flatten() {
        let number = number(it.major(), it.minor());
        if let Some(weight) = named(it.weight()) {
            let file = format!("{scheduler}.weight_device");
            device("blockIO.weightDevice", &file, &number, weight.into());
        }
        if let Some(weight) = named(it.leaf_weight()) {
            let file = "blkio.leaf_weight_device";
            device("blockIO.weightDevice", file, &number, weight.into());
        }
    }
    for ((name, file, _), devices) in THROTTLES.iter().zip(throttles(io)) {
        for it in devices.iter().flatten() {
            let number = number(it.major(), it.minor());
            let (name, file) = (format!("blockIO.{name}"), format!("blkio.throttle.{file}"));
            device(&name, &file, &number, it.rate());
        }
    }
    if let Some(weight) = named(io.leaf_weight()) {
        let file = "blkio.leaf_weight";
        writes.push(Write::new("blockIO.leafWeight", dir, file, weight));
    }
}

/// Adds what is to be written on cgroup v2.
pub(super) fn v2(dir: &Path, io: &LinuxBlockIo, writes: &mut Vec<Write>) {
    let has_bfq = dir.join("io.bfq.weight").is_file();
    let (file, scale): (_, fn(u16) -> u64) = if has_bfq {
        ("io.bfq.weight", u64::from)
    } else {
        ("io.weight", weight)
    };
    if let Some(weight) = named(io.weight()) {
        let name = "blockIO.weight";
        writes.push(Write::new(name, Some(dir), file, scale(weight)));
    }
    for it in io.weight_device().iter().flatten() {
        if let Some(weight) = named(it.weight()) {
            let number = number(it.major(), it.minor());
            let value = format!("{number} {}", scale(weight));
            let mut write = Write::new("blockIO.weightDevice", Some(dir), file, value);
            write.undo = Some(undo(&write.path, &number, "default"));
            writes.push(write);
        }
    }
    for ((name, _, word), devices) in THROTTLES.iter().zip(throttles(io)) {
        for it in devices.iter().flatten() {
            let number = number(it.major(), it.minor());
            // On cgroup v1, from where the spec has it, 0 is no limit.
            let rate = named(Some(it.rate())).map_or("max".to_owned(), |rate| rate.to_string());
            let value = format!("{number} {word}={rate}");
            let name = format!("blockIO.{name}");
            let mut write = Write::new(&name, Some(dir), "io.max", value);
            let none = "rbps=max wbps=max riops=max wiops=max";
            write.undo = Some(undo(&write.path, &number, none));
            writes.push(write);
        }
    }
}

fn number(major: i64, minor: i64) -> String {
    format!("{major}:{minor}")
}

/// A device's line as it is, or else the one that takes it out again.
fn undo(path: &Path, device: &str, none: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let is_its = |line: &&str| line.split_once(' ').is_some_and(|(of, _)| of == device);
    let line = text.lines().find(is_its).map(str::to_owned);
    line.unwrap_or_else(|| format!("{device} {none}"))
}

/// 10 to 1000 as 1 to 10000.
pub(super) fn weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1_000) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn weights_of_disks_go_from_end_to_end() {
        assert_eq!([10, 500, 1_000].map(weight), [1, 4_950, 10_000]);
        assert_eq!([1, u16::MAX].map(weight), [1, 10_000]);
    }
}
