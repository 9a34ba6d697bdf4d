//! In the shim: where the mounts of a container go, found before libcontainer makes them.
//!
//! libcontainer makes no mount point behind a symlink that leads to nothing, and writes to some
//! paths below the rootfs as if no image had symlinks: /dev, and what a cgroup mount holds. So every
//! destination is resolved here, with the rootfs as `/`, and an image in which libcontainer would
//! follow a link to the node is refused.

pub(crate) mod cgroups;
mod dev;
mod error;
mod image;
mod nodes;
mod own;
mod proc;
mod tmpfs;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

pub(super) use error::Error;
use image::Image;
use own::DEV;

use crate::protocol::{BoundDev, Node};

/// Kinds of mounts that have to be where their name is, and not where a link leads.
const NEVER_BEHIND_LINKS: [&str; 2] = ["proc", "sysfs"];

/// What has become of a container's mounts.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Whether the spec is another now.
    pub(crate) changed: bool,
    /// Device nodes that are mounted, and have to be made before.
    pub(crate) nodes: Vec<Node>,
    /// Each tmpfs that is to have what the image has where it lies.
    pub(crate) filled: Vec<PathBuf>,
    /// What is mounted at `/dev`, where it is a directory of the node.
    pub(crate) dev: Option<BoundDev>,
}

/// Puts in place of the destination of each mount the path that it is in the end, and keeps the mode
/// of a directory that a tmpfs covers, as runc does. Devices outside of `/dev` become mounts too, from
/// nodes in `dir`.
///
/// # Errors
/// [`Error`].
pub(crate) fn resolve(spec: &mut Spec, rootfs: &Path, dir: &Path) -> Result<Resolved, Error> {
    let mut image = Image::open(rootfs)?;
    image.has_dir_or_nothing(Path::new(DEV))?;
    let mut changed = false;
    let mut filled = Vec::new();
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let kind = mount.typ().clone().unwrap_or_default();
        let asked = mount.destination().clone();
        let found = if NEVER_BEHIND_LINKS.contains(&kind.as_str()) {
            let found = image.resolve_dir_of(&asked)?;
            image.has_dir_or_nothing(&found)?;
            found
        } else {
            image.resolve(&asked)?
        };
        if found == Path::new("/") {
            return Err(Error::Root { path: asked });
        }
        proc::check(mount, &found)?;
        let is_filled = tmpfs::is_filled(mount);
        changed |= tmpfs::forget_filling(mount);
        if kind == "tmpfs" {
            changed |= image.keep_mode(mount, &found)?;
        }
        if found.as_os_str() != asked.as_os_str() {
            mount.set_destination(found.clone());
            changed = true;
        }
        if is_filled {
            // What the image has there is seen all the same, links among it.
            filled.push(found);
        } else {
            image.covered.push(found);
        }
    }
    let (nodes, has_nodes) = nodes::adapt(spec, &image, dir)?;
    let dev = dev::adapt(spec)?;
    Ok(Resolved {
        changed: changed || has_nodes || dev.is_some(),
        dev,
        nodes,
        filled,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, resolve};
    use oci_spec::runtime::Spec;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Where mounts at `destinations` go in `rootfs`, with their options.
    fn resolved(rootfs: &Path, mounts: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(kind, at)| {
                format!(r#"{{"destination": "{at}", "type": "{kind}", "source": "{kind}"}}"#)
            })
            .collect();
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "mounts": [{}]}}"#,
            mounts.join(",")
        );
        let mut spec: Spec = serde_json::from_str(&json).unwrap();
        resolve(&mut spec, rootfs, Path::new("/state"))?;
        let mounts = spec.mounts().iter().flatten();
        Ok(mounts
            .map(|mount| {
                let options = mount.options().clone().unwrap_or_default().join(",");
                format!("{} {options}", mount.destination().display())
                    .trim_end()
                    .to_owned()
            })
            .collect())
    }

    #[test]
    fn a_destination_behind_links_is_found_inside_the_rootfs() {
        let rootfs = tempfile::tempdir().unwrap();
        let at = |path: &str| rootfs.path().join(path);
        std::fs::create_dir(at("etc")).unwrap();
        symlink("../run/resolve/stub.conf", at("etc/resolv.conf")).unwrap();
        symlink("/mnt/data", at("data")).unwrap();
        symlink("data", at("chain")).unwrap();
        symlink("../../../up", at("out")).unwrap();
        let seen = resolved(
            rootfs.path(),
            &[
                ("bind", "/etc/resolv.conf"),
                ("bind", "/data"),
                ("bind", "/chain/below/it"),
                ("bind", "/out"),
                ("bind", "plain/../relative/"),
            ],
        );
        assert_eq!(
            seen.unwrap(),
            [
                "/run/resolve/stub.conf",
                "/mnt/data",
                "/mnt/data/below/it",
                "/up",
                "/relative"
            ]
        );
        assert!(!at("mnt").exists(), "looking makes nothing");
    }

    #[test]
    fn links_below_an_earlier_mount_are_not_the_images() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(rootfs.path().join("data")).unwrap();
        symlink("/elsewhere", rootfs.path().join("data/link")).unwrap();
        let mounts = [
            ("bind", "/data/link"),
            ("bind", "/data"),
            ("bind", "/data/link"),
        ];
        assert_eq!(
            resolved(rootfs.path(), &mounts).unwrap(),
            ["/elsewhere", "/data", "/data/link"]
        );
    }

    #[test]
    fn links_that_lead_to_each_other_are_refused() {
        let rootfs = tempfile::tempdir().unwrap();
        symlink("b", rootfs.path().join("a")).unwrap();
        symlink("a", rootfs.path().join("b")).unwrap();
        let error = resolved(rootfs.path(), &[("bind", "/a/c")]).unwrap_err();
        assert!(matches!(error, Error::Loop { .. }), "{error}");
    }

    #[test]
    fn an_image_whose_dev_or_proc_is_no_dir_is_refused() {
        for (name, kind) in [("dev", "tmpfs"), ("proc", "proc"), ("sys", "sysfs")] {
            let rootfs = tempfile::tempdir().unwrap();
            symlink("/", rootfs.path().join(name)).unwrap();
            let at = format!("/{name}");
            let error = resolved(rootfs.path(), &[(kind, &at)]).unwrap_err();
            assert!(error.to_string().contains(&at), "{error}");
            std::fs::remove_file(rootfs.path().join(name)).unwrap();
            std::fs::write(rootfs.path().join(name), "").unwrap();
            assert!(resolved(rootfs.path(), &[(kind, &at)]).is_err());
            std::fs::remove_file(rootfs.path().join(name)).unwrap();
            assert!(resolved(rootfs.path(), &[(kind, &at)]).is_ok());
        }
    }

    #[test]
    fn nothing_is_mounted_over_the_root() {
        let rootfs = tempfile::tempdir().unwrap();
        symlink("..", rootfs.path().join("up")).unwrap();
        for at in ["/", "/a/..", "/up"] {
            let error = resolved(rootfs.path(), &[("bind", at)]).unwrap_err();
            assert!(matches!(error, Error::Root { .. }), "{error}");
        }
    }
}
