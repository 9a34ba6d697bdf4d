//! In the helper: what init's filter asks by, for the agent that its seccomp profile names.

use std::io;

use libcontainer::process::channel::{ChannelError, InitSender, MainReceiver};
use libcontainer::seccomp;
use oci_spec::runtime::{ContainerState, LinuxSeccomp, State};

use crate::helper::agent::{self, Agent};
use crate::hooks;

/// Why the agent could not be given it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("cannot take what init's seccomp filter asks by")]
    Take(#[source] io::Error),
    #[error(transparent)]
    Agent(#[from] agent::Error),
}

/// Hands it over, if the profile has something for an agent.
pub(super) fn hand_over(
    profile: &LinuxSeccomp,
    state: &State,
    pid: i32,
    from_init: &mut MainReceiver,
    to_init: &mut InitSender,
) -> Result<(), Error> {
    if !seccomp::is_notify(profile) {
        return Ok(());
    }
    let asked_by = from_init.wait_for_seccomp_request()?;
    let asked_by = medley_sys::message::duplicate(asked_by).map_err(Error::Take)?;
    let state = hooks::told(state, ContainerState::Creating, pid);
    Agent::connect(profile)?.hand_over(state, pid, &asked_by)?;
    Ok(to_init.seccomp_notify_done()?)
}
