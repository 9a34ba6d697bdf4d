//! `start`: lets a container that was made run its program.

use medley_container::shim::LiveContainer;
use medley_container::shim::command::{StateDir, Status};

use crate::args::Args;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;

pub(crate) const ABOUT: About = About {
    name: "start",
    args: "<container-id>",
    about: "execute the program of a container that was created",
    flags: &[],
};

const SIGKILL: i32 = 9;

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let id = &args.rest[0];
    let dir = global.dir(id)?;
    let held = StateDir::lock(&dir).map_err(Failure::when("lock the container"))?;
    let record = global.record(id)?;
    match record.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Failure::new("cannot start a container that has stopped"));
        }
        Status::Running => return Err(Failure::new("cannot start an already running container")),
        other => {
            let name = other.name();
            return Err(Failure::new(format!(
                "cannot start a container in the {name} state"
            )));
        }
    }
    let container = record.open(&global.commands()?)?;
    start(&container)?;
    drop(held);
    Ok(0)
}

/// Starts a container, and ends one that could not be started as it should.
pub(crate) fn start(container: &LiveContainer) -> Result<(), Failure> {
    let started = container.start_recorded();
    if started.is_err()
        && let Err(error) = container.init().signal(SIGKILL)
    {
        log::debug!("init is not killed: {error}");
    }
    Ok(started?)
}
