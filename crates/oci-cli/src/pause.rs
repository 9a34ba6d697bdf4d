//! `pause` and `resume`.

use medley_cgroup::{Cgroup, Error};
use medley_container::shim::command::{Record, Status};

use crate::args::Args;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;

pub(crate) const PAUSE: About = About {
    name: "pause",
    args: "<container-id>",
    about: "stop every process of a container where it stands",
    flags: &[],
};

pub(crate) const RESUME: About = About {
    name: "resume",
    args: "<container-id>",
    about: "let the processes of a paused container go on",
    flags: &[],
};

pub(crate) fn pause(global: &Global, args: &Args) -> Result<u8, Failure> {
    let record = global.record(&args.rest[0])?;
    match record.status() {
        Status::Created | Status::Running => on_cgroup(&record, Cgroup::freeze),
        _ => Err(Failure::new("container not running or created")),
    }
}

pub(crate) fn resume(global: &Global, args: &Args) -> Result<u8, Failure> {
    let record = global.record(&args.rest[0])?;
    match record.status() {
        Status::Paused => on_cgroup(&record, Cgroup::thaw),
        _ => Err(Failure::new("container not paused")),
    }
}

fn on_cgroup(record: &Record, work: impl Fn(&Cgroup) -> Result<(), Error>) -> Result<u8, Failure> {
    let cgroup = record
        .cgroup()
        .ok_or_else(|| Failure::new("the container has no cgroup"))?;
    work(cgroup)
        .map(|()| 0)
        .map_err(|error| Failure::of(&error))
}
