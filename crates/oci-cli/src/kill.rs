//! `kill`: sends a signal to a container's init, or to all of its processes.

use medley_container::shim::command::{Record, Status};

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::signal_name;

pub(crate) const ABOUT: About = About {
    name: "kill",
    args: "<container-id> [signal]",
    about: "send a signal, SIGTERM if none is named, to the init of a container",
    flags: &[Flag::switch(
        "all",
        "a",
        "send it to every process of the container",
    )],
};

const SIGKILL: i32 = 9;

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let record = global.record(&args.rest[0])?;
    let signal = args.rest.get(1).map_or("SIGTERM", String::as_str);
    let signal = signal_name::number(signal)?;
    let all = args.has("all");
    match send(&record, signal, all) {
        Err(_) if all && record.status() == Status::Stopped => Ok(0),
        sent => sent.map(|()| 0),
    }
}

fn send(record: &Record, signal: i32, all: bool) -> Result<(), Failure> {
    let shares_pids = record.shares_pids();
    // In a pid namespace of others the kernel does not end what init leaves behind.
    let every = all || (signal == SIGKILL && shares_pids);
    let init = record.init();
    if every && let Some(cgroup) = record.cgroup() {
        let left = cgroup.pids().is_ok_and(|pids| !pids.is_empty());
        if init.is_some() || (shares_pids && left) {
            let sent = cgroup.signal_all(signal);
            sent.map_err(|error| Failure::of(&error))?;
            thaw(record, signal);
            return Ok(());
        }
    }
    let init = init.ok_or_else(|| Failure::new("container not running"))?;
    match init.signal(signal) {
        Ok(()) => {
            thaw(record, signal);
            Ok(())
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(Failure::new("container not running"))
        }
        Err(error) => Err(Failure::new(format!("unable to signal init: {error}"))),
    }
}

/// A frozen process receives not even SIGKILL.
fn thaw(record: &Record, signal: i32) {
    if signal == SIGKILL
        && let Some(cgroup) = record.cgroup()
    {
        cgroup.thaw_for_kill();
    }
}
