//! In the helper: the hierarchies that have no controller.
//!
//! Beside those of cgroup v1's controllers a node may have systemd's own, `name=systemd`, and a
//! unified one that counts nothing. libcontainer leaves them out, and a container would stay where
//! the shim is: in the unit of containerd for systemd, and for a tool that looks processes up there.
//! So the helper goes there before, and init, its clone, is where runc would have put it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hierarchies;
use crate::mount::is_v2;
use crate::paths::relative;
use crate::processes::PROCS;

/// Moves this process to where a container `id` with this `cgroupsPath` belongs, in each hierarchy
/// that has no controller. One that can't be used is left, as it limits nothing.
pub fn join(path: Option<&Path>, id: &str) {
    if is_v2() {
        return;
    }
    let Some(relative) = relative(path, id, false) else {
        return;
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for mount in mounts(&own) {
        let dir = mount.join(&relative);
        if let Err(error) = join_one(&mount, &dir) {
            log::debug!("not in the cgroup {}: {error}", dir.display());
        }
    }
}

fn join_one(mount: &Path, dir: &Path) -> io::Result<()> {
    // Not a dir that only looks like one: below a cgroup's root there is this file.
    if !mount.join(PROCS).is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join(PROCS), "0")
}

/// Where the hierarchies without controllers are mounted, by a `/proc/<pid>/cgroup`.
fn mounts(own: &str) -> Vec<PathBuf> {
    hierarchies::mounts(own)
        .filter(|hierarchy| hierarchy.is_without_controller())
        .map(|hierarchy| hierarchy.mount)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::mounts;

    #[test]
    fn only_hierarchies_without_controllers_are_joined() {
        let own = "9:name=systemd:/a\n4:cpu,cpuacct:/\n3:memory:/b\n0::/\n";
        let found = mounts(own);
        let paths: Vec<_> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(paths, ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]);
        assert!(mounts("4:memory:/\n").is_empty());
        // Ours may be out of sight, in a container that is a node.
        assert_eq!(mounts("9:name=systemd:/../../a\n").len(), 1);
    }
}
