//! `update`: other limits for a container that runs.

use std::io::Read;

use medley_container::shim::command::Status;
use serde_json::{Map, Value, json};

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;

const RESOURCES: Flag = Flag::with(
    "resources",
    "r",
    "FILE",
    "read linux.resources of the OCI runtime spec from FILE, or from stdin if it is -",
);

/// Of the options that no kernel follows any more.
const KERNEL_MEMORY: &str = "taken for runc's sake, and passed over with a warning";

/// What is not offered, and refused where it is asked for.
const NOT_OFFERED: [Flag; 2] = [
    Flag::with("l3-cache-schema", "", "SCHEMA", "not supported"),
    Flag::with("mem-bw-schema", "", "SCHEMA", "not supported"),
];

pub(crate) const ABOUT: About = About {
    name: "update",
    args: "<container-id>",
    about: "change the limits of a container",
    flags: &[
        RESOURCES,
        Flag::with(
            "blkio-weight",
            "",
            "N",
            "its share of disk time, from 10 to 1000",
        ),
        Flag::with("cpu-period", "", "MICROSECONDS", "the period for the quota"),
        Flag::with(
            "cpu-quota",
            "",
            "MICROSECONDS",
            "processor time in a period",
        ),
        Flag::with(
            "cpu-burst",
            "",
            "MICROSECONDS",
            "unused time that may be saved",
        ),
        Flag::with("cpu-share", "", "N", "its share of processor time"),
        Flag::with(
            "cpu-rt-period",
            "",
            "MICROSECONDS",
            "the period for the real-time quota",
        ),
        Flag::with(
            "cpu-rt-runtime",
            "",
            "MICROSECONDS",
            "real-time processor time in a period",
        ),
        Flag::with("cpuset-cpus", "", "CPUS", "the processors that it may use"),
        Flag::with(
            "cpuset-mems",
            "",
            "NODES",
            "the memory nodes that it may use",
        ),
        Flag::with("memory", "", "BYTES", "the limit of memory"),
        Flag::with(
            "memory-reservation",
            "",
            "BYTES",
            "memory that is left to it",
        ),
        Flag::with(
            "memory-swap",
            "",
            "BYTES",
            "the limit of memory and swap together",
        ),
        Flag::with("pids-limit", "", "N", "the limit of processes"),
        Flag::with("cpu-idle", "", "0|1", "whether it gets idle time alone"),
        Flag::with("kernel-memory", "", "BYTES", KERNEL_MEMORY),
        Flag::with("kernel-memory-tcp", "", "BYTES", KERNEL_MEMORY),
        NOT_OFFERED[0],
        NOT_OFFERED[1],
    ],
};

/// Options whose value is a number, and their fields.
const NUMBERS: [(&str, &str, &str); 14] = [
    ("blkio-weight", "blockIO", "weight"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("kernel-memory", "memory", "kernel"),
    ("kernel-memory-tcp", "memory", "kernelTCP"),
    ("pids-limit", "pids", "limit"),
];

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let record = global.record(&args.rest[0])?;
    if record.status() == Status::Stopped {
        return Err(Failure::new("container not running"));
    }
    let cgroup = record
        .cgroup()
        .ok_or_else(|| Failure::new("the container has no cgroup"))?;
    for flag in &NOT_OFFERED {
        if args.value(flag.name).is_some() {
            let name = flag.name;
            return Err(Failure::new(format!(
                "--{name} is not supported: there is no Intel RDT"
            )));
        }
    }
    let mut resources = match args.value(RESOURCES.name) {
        Some(path) => read(path)?,
        None => of(args)?,
    };
    // Elsewhere 0 is no limit at all.
    if let Some(limit) = resources.pointer_mut("/pids/limit")
        && *limit == 0
    {
        *limit = json!(1);
    }
    cgroup
        .update(resources.to_string().as_bytes())
        .map(|()| 0)
        .map_err(|error| Failure::of(&error))
}

fn read(path: &str) -> Result<Value, Failure> {
    let text = if path == "-" {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    let text = text.map_err(|error| Failure::new(format!("open {path}: {error}")))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::new(format!("the resources are not JSON: {error}")))
}

/// The resources that the options name.
fn of(args: &Args) -> Result<Value, Failure> {
    let mut resources = Map::new();
    let mut set = |group: &str, field: &str, value: Value| {
        let group = resources.entry(group).or_insert_with(|| json!({}));
        group[field] = value;
    };
    for (name, group, field) in NUMBERS {
        if let Some(text) = args.value(name).filter(|text| !text.is_empty()) {
            let number = number(text).ok_or_else(|| {
                Failure::new(format!(
                    "invalid value for {name}: {text:?} is not a number"
                ))
            })?;
            set(group, field, json!(number));
        }
    }
    for (name, field) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(text) = args.value(name).filter(|text| !text.is_empty()) {
            set("cpu", field, json!(text));
        }
    }
    Ok(Value::Object(resources))
}

/// A number, or one of bytes with its unit: `512m`.
fn number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, unit) = lower.split_at_checked(lower.len().checked_sub(1)?)?;
    let shift = match unit {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{ABOUT, number, of};
    use crate::args::Args;
    use serde_json::json;

    #[test]
    fn options_become_resources() {
        let args = [
            "--memory=32m",
            "--cpu-quota",
            "500",
            "--cpuset-cpus",
            "0-1",
            "id",
        ];
        let args = Args::parse(ABOUT.flags, args.map(Into::into), usize::MAX).unwrap();
        assert_eq!(
            of(&args).unwrap(),
            json!({"cpu": {"quota": 500, "cpus": "0-1"}, "memory": {"limit": 33_554_432}})
        );
        let args = Args::parse(ABOUT.flags, ["--memory=x".into()], usize::MAX).unwrap();
        assert!(of(&args).is_err());
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [
            ("-1", -1),
            ("7", 7),
            ("1k", 1024),
            ("1MiB", 1 << 20),
            ("2gb", 2 << 30),
        ] {
            assert_eq!(number(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "1x", "9223372036854775807k"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
