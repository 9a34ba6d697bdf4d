//! `delete`: removes what is left of a container.

use std::time::Duration;

use medley_container::shim::command::{Record, StateDir, Status};

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;

pub(crate) const ABOUT: About = About {
    name: "delete",
    args: "<container-id>",
    about: "remove what a container holds",
    flags: &[Flag::switch("force", "f", "kill it first, if it runs")],
};

const SIGKILL: i32 = 9;

/// How long an init that was killed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let id = &args.rest[0];
    let force = args.has("force");
    let dir = global.dir(id)?;
    let Some(record) = Record::read(&dir) else {
        return if force {
            Ok(0)
        } else {
            Err(Failure::new("container does not exist"))
        };
    };
    match record.status() {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        other => {
            let other = other.name();
            return Err(Failure::new(format!(
                "cannot delete container {id} that is not stopped: {other}"
            )));
        }
    }
    kill(&record)?;
    // Who was making or starting it is told of its end by that.
    let held = StateDir::lock(&dir).map_err(Failure::when("lock the container"))?;
    let (Some(held), Some(record)) = (held, Record::read(&dir)) else {
        return Ok(0);
    };
    kill(&record)?;
    record.remove(held)?;
    Ok(0)
}

/// Ends the container, or the command that makes it.
fn kill(record: &Record) -> Result<(), Failure> {
    record.end_creation();
    let Some(init) = record.init() else {
        return Ok(());
    };
    if let Err(error) = init.signal(SIGKILL) {
        log::debug!("init is not killed: {error}");
    }
    if let Some(cgroup) = record.cgroup() {
        cgroup.thaw_for_kill();
    }
    match init.wait_for_end(Some(END_TIMEOUT)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("container init still running")),
        Err(error) => Err(Failure::when("wait for the end of init")(error)),
    }
}
