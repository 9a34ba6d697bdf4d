//! In the helper: the agent that a seccomp profile names, which decides what the profile leaves to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use oci_spec::runtime::{
    ContainerProcessStateBuilder, LinuxSeccomp, SECCOMP_FD_NAME, State, VERSION,
};

/// Why it could not be given what it listens to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the seccomp profile has calls for a listener, and no listenerPath")]
    NoPath,
    #[error("cannot tell the seccomp listener of the container")]
    State(#[from] oci_spec::OciSpecError),
    #[error("cannot tell the seccomp listener of the container")]
    Encode(#[from] serde_json::Error),
    #[error("cannot give the seccomp listener {} what it is to listen to", path.display())]
    Send { path: PathBuf, source: io::Error },
}

/// One that is connected.
pub(crate) struct Agent {
    path: PathBuf,
    metadata: String,
    socket: UnixStream,
}

impl Agent {
    /// Connects to that of a profile, by a path of the node's.
    pub(crate) fn connect(profile: &LinuxSeccomp) -> Result<Self, Error> {
        let path = profile.listener_path().clone().ok_or(Error::NoPath)?;
        match UnixStream::connect(&path) {
            Ok(socket) => Ok(Self {
                path,
                metadata: profile.listener_metadata().clone().unwrap_or_default(),
                socket,
            }),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// Gives it what the filter of the process `pid` asks by. `state` is the container's.
    pub(crate) fn hand_over(self, state: State, pid: i32, asked_by: &OwnedFd) -> Result<(), Error> {
        let message = ContainerProcessStateBuilder::default()
            .version(VERSION)
            .fds(vec![SECCOMP_FD_NAME.to_owned()])
            .pid(pid)
            .metadata(self.metadata)
            .state(state)
            .build()?;
        let message = serde_json::to_vec(&message)?;
        medley_sys::message::send(&self.socket, &message, &[asked_by.as_fd()])
            .map_err(|source| failed(self.path, source))
    }
}

fn failed(path: PathBuf, source: io::Error) -> Error {
    // As libcontainer says it, for the shim to tell it in a sentence.
    log::error!(
        "failed to connect to seccomp notify listener path listener_path={path:?} err={source:?}"
    );
    Error::Send { path, source }
}
