//! Where a container's input comes from and its output goes, for who makes it.

use std::os::fd::OwnedFd;

use medley_io::{ContainerStdio, Stdio, StdioHandles};

use super::error::Error;
use super::planned_cgroup::PlannedCgroup;
use super::settings::CreateRequest;
use crate::spec::ContainerSpec;

/// What the maker of a container gives it, at the moments at which it is asked for.
pub(super) trait Streams {
    /// Changes the spec as only this maker does.
    fn adapt(&mut self, _: &mut ContainerSpec) {}

    /// The container's ends, owned by the user `uid` of the node.
    fn open(&mut self, uid: u32) -> Result<ContainerStdio, Error>;

    /// Writes down what was decided, before anything is made.
    fn decided(
        &mut self,
        _: &CreateRequest,
        _: &ContainerSpec,
        _: &PlannedCgroup,
        _is_wasm: bool,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Takes the master of the container's terminal.
    fn connect(&mut self, master: OwnedFd) -> Result<(), Error>;
}

/// What containerd names: FIFOs and logs, with handles on them that stay with the shim.
pub(super) struct NamedStreams {
    pub(super) stdio: Stdio,
    pub(super) handles: Option<StdioHandles>,
}

impl Streams for NamedStreams {
    fn open(&mut self, uid: u32) -> Result<ContainerStdio, Error> {
        let (ends, handles) = self.stdio.open(uid)?;
        self.handles = Some(handles);
        Ok(ends)
    }

    fn connect(&mut self, master: OwnedFd) -> Result<(), Error> {
        match &self.handles {
            Some(handles) => Ok(handles.connect(master)?),
            None => Err(medley_io::Error::NoTerminal.into()),
        }
    }
}
