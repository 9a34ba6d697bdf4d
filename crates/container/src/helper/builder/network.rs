//! In the helper: the network devices of the node that a container takes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libcontainer::network::NetworkError;
use libcontainer::network::network_device::dev_change_net_namespace;
use libcontainer::process::channel::{ChannelError, InitSender, MainReceiver};
use oci_spec::runtime::{Linux, LinuxNamespaceType};

/// Why they could not be moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("cannot open the network namespace {}", path.display())]
    Namespace { path: PathBuf, source: io::Error },
    #[error("cannot move the network device {name}")]
    Move { name: String, source: NetworkError },
}

/// Moves them to the network namespace that init is in, and tells it their addresses.
pub(super) fn move_devices(
    linux: &Linux,
    pid: i32,
    from_init: &mut MainReceiver,
    to_init: &mut InitSender,
) -> Result<(), Error> {
    let devices = linux.net_devices().as_ref().filter(|it| !it.is_empty());
    let namespace = super::namespace(linux, LinuxNamespaceType::Network);
    // On the node's network they stay where they are.
    let (Some(devices), Some(_)) = (devices, namespace) else {
        return Ok(());
    };
    from_init.wait_for_network_setup_ready()?;
    // Our child, which is not reaped: the pid is its own. The spec's own path is one that init knows.
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let file = File::open(&path).map_err(|source| Error::Namespace { path, source })?;
    let mut addresses = HashMap::new();
    for (name, device) in devices {
        let moved = dev_change_net_namespace(name, file.as_raw_fd(), device);
        let moved = moved.map_err(|source| Error::Move {
            name: name.clone(),
            source,
        })?;
        addresses.insert(name.clone(), moved);
    }
    Ok(to_init.move_network_device(addresses)?)
}
