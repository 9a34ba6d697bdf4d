//! `state`: what a container is, as the OCI runtime spec has it.

use std::collections::BTreeMap;

use medley_container::shim::command::{Record, Status};
use serde::Serialize;

use crate::args::Args;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::output::print;
use crate::time;

pub(crate) const ABOUT: About = About {
    name: "state",
    args: "<container-id>",
    about: "print the state of a container as JSON",
    flags: &[],
};

/// What is said of a container that did not come so far that its spec was read.
const OCI_VERSION: &str = "1.2.0";

/// The state of a container, with its fields in runc's order: there are callers that look for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    oci_version: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: String,
    rootfs: String,
    pub(crate) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// Told by `list` alone.
    pub(crate) owner: String,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let id = &args.rest[0];
    let state = of(id, &global.record(id)?);
    print(&serde_json::to_string_pretty(&state).map_err(|error| Failure::of(&error))?)?;
    Ok(0)
}

/// The state of one container.
pub(crate) fn of(id: &str, record: &Record) -> State {
    let status = record.status();
    let pid = match status {
        Status::Stopped => 0,
        _ => record.pid().unwrap_or(0),
    };
    let about = record.about();
    let path = |path: Option<&std::path::PathBuf>| {
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    State {
        oci_version: about.map_or(OCI_VERSION.to_owned(), |about| about.oci_version.clone()),
        id: id.to_owned(),
        pid,
        status: status.name(),
        bundle: path(about.map(|about| &about.bundle)),
        rootfs: path(about.map(|about| &about.rootfs)),
        created: time::with_nanos(about.map_or_else(|| record.since(), |about| about.created)),
        annotations: about
            .map(|about| about.annotations.clone().into_iter().collect())
            .unwrap_or_default(),
        owner: String::new(),
    }
}
