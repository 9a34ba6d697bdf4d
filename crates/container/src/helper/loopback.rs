//! In the helper: the loopback interface of a network namespace that a container has for itself. The
//! kernel makes it, and leaves it down.

use std::io;

use super::inside::EnteredContainer;

/// Its name in every network namespace.
const NAME: &str = "lo";

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
#[error("cannot bring up the interface {NAME} of the container's network namespace")]
pub(crate) struct Error(#[source] io::Error);

/// Brings it up. This process is in the namespace from then on.
pub(crate) fn bring_up(inside: &EnteredContainer<'_>) -> Result<(), Error> {
    inside
        .enter_network()
        .and_then(|()| medley_sys::network::bring_up(NAME))
        .map_err(Error)
}
