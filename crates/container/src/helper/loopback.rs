//! In the helper: the loopback interface of a network namespace that a container has for itself. The
//! kernel makes it, and leaves it down.

use std::io;

use medley_sys::clone::SingleThreaded;
use medley_sys::pidfd::PidFd;

/// Its name in every network namespace.
const NAME: &str = "lo";

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
#[error("cannot bring up the interface {NAME} of the container's network namespace")]
pub(crate) struct Error(#[source] io::Error);

/// Brings it up. This process is in the namespace of `init` from then on.
pub(crate) fn bring_up(alone: &SingleThreaded, init: i32) -> Result<(), Error> {
    PidFd::open(init)
        .and_then(|init| alone.enter_network(&init))
        .and_then(|()| medley_sys::network::bring_up(NAME))
        .map_err(Error)
}
