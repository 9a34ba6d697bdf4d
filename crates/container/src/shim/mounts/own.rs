//! Mounts of our own.

use std::path::Path;

use oci_spec::runtime::{Mount, MountBuilder};

use super::error::Error;

/// Below it libcontainer makes devices and links by paths of the node.
pub(super) const DEV: &str = "/dev";

/// A mount of our own.
pub(super) fn mount(
    kind: &str,
    source: &Path,
    at: &Path,
    options: &[&str],
) -> Result<Mount, Error> {
    let mount = MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(at)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build();
    mount.map_err(|source| Error::Mount {
        path: at.to_owned(),
        source,
    })
}
