//! In the shim: the file system of cgroup v1 in a container, which the helper makes.
//!
//! libcontainer's can be written to where the spec says `ro`, and needs a process of the node that has
//! the number which init has in a pid namespace that it joins.

use std::path::Path;

use oci_spec::runtime::{Mount, Spec};

use super::error::Error;
use super::own::mount;
use crate::protocol::CgroupMount;
use crate::spec::has_option;

/// Puts a tmpfs in place of each such mount, for the helper to fill.
pub(crate) fn adapt(spec: &mut Spec) -> Result<Vec<CgroupMount>, Error> {
    if medley_cgroup::is_v2() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.typ().as_deref() != Some("cgroup") {
            continue;
        }
        found.push(CgroupMount {
            at: mount.destination().clone(),
            read_only: has_option(mount, &["ro"]),
        });
        *mount = tmpfs(mount.destination())?;
    }
    Ok(found)
}

fn tmpfs(at: &Path) -> Result<Mount, Error> {
    let options = ["nosuid", "noexec", "nodev", "mode=755"];
    mount("tmpfs", Path::new("tmpfs"), at, &options)
}
