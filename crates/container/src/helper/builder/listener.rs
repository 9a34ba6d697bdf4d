//! In the helper: the listener that a seccomp profile names, which decides what the profile leaves to it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libcontainer::process::args::ContainerArgs;
use libcontainer::process::channel::{ChannelError, InitSender, MainReceiver};
use libcontainer::seccomp;
use oci_spec::runtime::{
    ContainerProcessStateBuilder, ContainerState, LinuxSeccomp, SECCOMP_FD_NAME, StateBuilder,
    VERSION,
};

/// Why it could not be given what it listens to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the seccomp profile has calls for a listener, and no listenerPath")]
    NoPath,
    #[error("the container has no state to tell the seccomp listener of")]
    NoState,
    #[error("cannot tell the seccomp listener of the container")]
    State(#[from] oci_spec::OciSpecError),
    #[error("cannot tell the seccomp listener of the container")]
    Encode(#[from] serde_json::Error),
    #[error("cannot give the seccomp listener {} what it is to listen to", path.display())]
    Send { path: PathBuf, source: io::Error },
}

/// Sends the listener what init's filter asks by, if it has one.
pub(super) fn hand_over(
    profile: &LinuxSeccomp,
    args: &ContainerArgs,
    pid: i32,
    from_init: &mut MainReceiver,
    to_init: &mut InitSender,
) -> Result<(), Error> {
    if !seccomp::is_notify(profile) {
        return Ok(());
    }
    let path = profile.listener_path().clone().ok_or(Error::NoPath)?;
    let container = args.container.as_ref().ok_or(Error::NoState)?;
    let known = &container.state;
    let state = StateBuilder::default()
        .version(VERSION)
        .id(known.id.clone())
        .status(ContainerState::Creating)
        .pid(pid)
        .bundle(known.bundle.clone())
        .annotations(known.annotations.clone().unwrap_or_default())
        .build()?;
    let message = ContainerProcessStateBuilder::default()
        .version(VERSION)
        .fds(vec![SECCOMP_FD_NAME.to_owned()])
        .pid(pid)
        .metadata(profile.listener_metadata().clone().unwrap_or_default())
        .state(state)
        .build()?;
    let message = serde_json::to_vec(&message)?;
    let asked_by = from_init.wait_for_seccomp_request()?;
    let sent = medley_sys::message::duplicate(asked_by).and_then(|asked_by| {
        let socket = UnixStream::connect(&path)?;
        medley_sys::message::send(&socket, &message, &[asked_by.as_fd()])
    });
    sent.map_err(|source| {
        // As libcontainer says it, for the shim to tell it in a sentence.
        log::error!(
            "failed to connect to seccomp notify listener path listener_path={path:?} err={source:?}"
        );
        Error::Send { path, source }
    })?;
    Ok(to_init.seccomp_notify_done()?)
}
