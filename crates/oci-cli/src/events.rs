//! `events`: what a container uses, once or again and again, and kills for want of memory.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use medley_cgroup::{Cgroup, OomWatch};
use medley_container::shim::command::Status;
use medley_sys::pidfd::PidFd;
use medley_sys::watch;
use serde::Serialize;
use serde_json::Value;

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::output::print;
use crate::stats;

const INTERVAL: Flag = Flag::with(
    "interval",
    "",
    "DURATION",
    "the time between two lines: 5s if not said",
);
const STATS: Flag = Flag::switch("stats", "", "print what it uses now, and no more");

pub(crate) const ABOUT: About = About {
    name: "events",
    args: "<container-id>",
    about: "print what a container uses as JSON",
    flags: &[INTERVAL, STATS],
};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let id = &args.rest[0];
    let record = global.record(id)?;
    let interval = args.value(INTERVAL.name).map(duration).transpose()?;
    let interval = interval.unwrap_or(DEFAULT_INTERVAL);
    let (Some(cgroup), Some(init)) = (record.cgroup(), record.init()) else {
        return Err(Failure::new(format!(
            "container with id {id} is not running"
        )));
    };
    if record.status() == Status::Stopped {
        return Err(Failure::new(format!(
            "container with id {id} is not running"
        )));
    }
    if args.has(STATS.name) {
        return tell(id, cgroup).map(|()| 0);
    }
    follow(id, cgroup, &init, interval).map(|()| 0)
}

/// Prints one line of what it uses.
fn tell(id: &str, cgroup: &Cgroup) -> Result<(), Failure> {
    let metrics = cgroup.metrics().map_err(|error| Failure::of(&error))?;
    Event {
        kind: "stats",
        id,
        data: Some(stats::of(&metrics)),
    }
    .tell()
}

/// A line, in the order that runc has: what reads it may look at its beginning.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Event<'_> {
    fn tell(&self) -> Result<(), Failure> {
        let line = serde_json::to_string(self).map_err(|error| Failure::of(&error))?;
        print(&format!("{line}\n"))
    }
}

/// Until the container's end.
fn follow(id: &str, cgroup: &Cgroup, init: &PidFd, interval: Duration) -> Result<(), Failure> {
    let failed = Failure::when("wait for events");
    let oom = OomWatch::new(cgroup).map_err(|error| Failure::of(&error))?;
    let mut next = Instant::now() + interval;
    loop {
        let mut fds = vec![init.as_fd()];
        fds.extend(oom.as_ref().map(OomWatch::fd));
        let left = next.saturating_duration_since(Instant::now());
        match watch::wait_any(&fds, Some(left)).map_err(&failed)? {
            None => {
                tell(id, cgroup)?;
                next += interval;
            }
            Some(0) => return Ok(()),
            Some(_) => {
                if let Some(oom) = &oom {
                    let killed = oom.would_report();
                    oom.drain();
                    if killed || oom.has_killed() {
                        Event {
                            kind: "oom",
                            id,
                            data: None,
                        }
                        .tell()?;
                    }
                }
            }
        }
    }
}

/// A time as Go writes it, of one number and its unit.
fn duration(text: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::new(format!(
            "invalid value {text:?} for flag -interval: parse error"
        ))
    };
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ns" => number / 1e9,
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if duration.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn an_interval_is_a_number_with_its_unit() {
        for (text, millis) in [("5s", 5000), ("100ms", 100), ("1.5s", 1500), ("1m", 60_000)] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for bad in ["", "5", "s", "1x", "0s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
