//! In the shim: device nodes outside of `/dev`, for which libcontainer has only a refusal, and those on
//! what is mounted below it.
//!
//! The helper makes them where no container can reach, and they are mounted where the spec wants
//! them: inside the rootfs in spite of the links that the image has, on a rootfs that is read-only, and over a
//! file that the image or an earlier life of the container has left there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, Spec};

use super::error::Error;
use super::image::Image;
use super::own::{DEV, mount};
use crate::protocol::{Node, NodeKind};
use crate::spec::host_id;

/// Where the helper makes them, in the directory of the container's state.
const DIR: &str = "nodes";

/// Who may do what with a node for which the spec does not say it, as with every runtime.
const MODE: u32 = 0o666;

/// Takes the devices outside of `/dev` out of the spec, mounts them instead, and tells what the helper
/// has to make in `dir`. Whether the spec was changed is told too.
pub(super) fn adapt(
    spec: &mut Spec,
    image: &Image,
    dir: &Path,
) -> Result<(Vec<Node>, bool), Error> {
    let Some(linux) = spec.linux().as_ref() else {
        return Ok((Vec::new(), false));
    };
    let (uids, gids) = (linux.uid_mappings().clone(), linux.gid_mappings().clone());
    let mut changed = false;
    let (mut kept, mut nodes, mut mounts) = (Vec::new(), Vec::new(), Vec::new());
    let mut found_before = HashSet::new();
    for mut device in linux.devices().clone().unwrap_or_default() {
        let found = image.resolve(device.path())?;
        // As with runc: the first is there then.
        if !found_before.insert(found.clone()) {
            changed = true;
            continue;
        }
        numbers(&device)?;
        if found.starts_with(DEV) && !is_in_volume(&found, image) {
            if found.as_os_str() != device.path().as_os_str() {
                device.set_path(found);
                changed = true;
            }
            kept.push(device);
            continue;
        }
        let at = dir.join(DIR).join(nodes.len().to_string());
        nodes.push(node(
            &device,
            at.clone(),
            (uids.as_deref(), gids.as_deref()),
        )?);
        mounts.push(mount("bind", &at, &found, &["bind"])?);
    }
    changed |= !nodes.is_empty();
    if changed && let Some(linux) = spec.linux_mut() {
        linux.set_devices(Some(kept));
    }
    if !mounts.is_empty() {
        // Last, as every runtime makes devices once all mounts are there.
        let mut all = spec.mounts().clone().unwrap_or_default();
        all.extend(mounts);
        spec.set_mounts(Some(all));
    }
    Ok((nodes, changed))
}

/// Whether something is mounted below `/dev` where the device belongs. Others may have it too, and
/// libcontainer makes a device by a path of the node, which they could lead elsewhere meanwhile.
fn is_in_volume(device: &Path, image: &Image) -> bool {
    let mut mounts = image.covered.iter();
    mounts.any(|at| at.starts_with(DEV) && at != Path::new(DEV) && device.starts_with(at))
}

type Mappings<'m> = (Option<&'m [LinuxIdMapping]>, Option<&'m [LinuxIdMapping]>);

/// The kind of a device, and its numbers.
fn numbers(device: &LinuxDevice) -> Result<(NodeKind, u32, u32), Error> {
    let invalid = || Error::Device {
        path: device.path().clone(),
    };
    let number = |number: i64| u32::try_from(number).map_err(|_| invalid());
    let kind = match device.typ() {
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Char,
        LinuxDeviceType::P => NodeKind::Fifo,
        // In a rule it stands for all of them.
        LinuxDeviceType::A => return Err(invalid()),
    };
    match kind {
        NodeKind::Fifo => Ok((kind, 0, 0)),
        NodeKind::Block | NodeKind::Char => {
            Ok((kind, number(device.major())?, number(device.minor())?))
        }
    }
}

fn node(device: &LinuxDevice, at: PathBuf, (uids, gids): Mappings<'_>) -> Result<Node, Error> {
    let (kind, major, minor) = numbers(device)?;
    Ok(Node {
        at,
        kind,
        major,
        minor,
        mode: device.file_mode().unwrap_or(MODE) & 0o7777,
        uid: host_id(uids, device.uid().unwrap_or(0)),
        gid: host_id(gids, device.gid().unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Error, resolve};
    use crate::protocol::NodeKind;
    use oci_spec::runtime::Spec;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn spec(devices: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}},
            "mounts": [{{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}}],
            "linux": {{"uidMappings": [{{"containerID": 0, "hostID": 100000, "size": 10}}],
                "devices": [{devices}]}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn only_what_lies_outside_of_dev_is_made_and_mounted() {
        let rootfs = tempfile::tempdir().unwrap();
        symlink("/srv/real", rootfs.path().join("link")).unwrap();
        symlink("/dev", rootfs.path().join("to-dev")).unwrap();
        let mut spec = spec(
            r#"{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
            {"type": "c", "path": "/to-dev/other", "major": 1, "minor": 3},
            {"type": "b", "path": "/link/../blk", "major": 7, "minor": 1, "fileMode": 25008,
                "uid": 5, "gid": 6},
            {"type": "p", "path": "/dev/../pipe", "major": 9, "minor": 9}"#,
        );
        let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        assert!(resolved.changed);
        let linux = spec.linux().as_ref().unwrap();
        let devices = linux.devices().iter().flatten();
        let kept: Vec<_> = devices.map(|device| device.path().clone()).collect();
        assert_eq!(kept, [Path::new("/dev/fuse"), Path::new("/dev/other")]);
        let mounts = spec.mounts().iter().flatten().skip(1);
        let mounted: Vec<_> = mounts
            .map(|mount| {
                format!(
                    "{:?} {:?}",
                    mount.source().as_ref().unwrap(),
                    mount.destination()
                )
            })
            .collect();
        assert_eq!(
            mounted,
            [
                r#""/state/nodes/0" "/srv/blk""#,
                r#""/state/nodes/1" "/pipe""#
            ]
        );
        let [block, pipe] = &resolved.nodes[..] else {
            panic!("{:?}", resolved.nodes);
        };
        assert_eq!(
            (block.kind, block.major, block.minor),
            (NodeKind::Block, 7, 1)
        );
        assert_eq!((block.mode, block.uid, block.gid), (0o660, 100_005, 6));
        assert_eq!((pipe.kind, pipe.mode), (NodeKind::Fifo, 0o666));
    }

    #[test]
    fn a_device_in_a_volume_is_mounted_too() {
        let rootfs = tempfile::tempdir().unwrap();
        let mut spec =
            spec(r#"{"type": "c", "path": "/dev/volume/a/null", "major": 1, "minor": 3}"#);
        let mut mounts = spec.mounts().clone().unwrap();
        let volume = r#"{"destination": "/dev/volume", "type": "bind", "source": "/x"}"#;
        mounts.push(serde_json::from_str(volume).unwrap());
        spec.set_mounts(Some(mounts));
        let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        assert_eq!(resolved.nodes.len(), 1);
        let last = spec.mounts().iter().flatten().last().unwrap();
        assert_eq!(last.destination(), Path::new("/dev/volume/a/null"));
    }

    #[test]
    fn a_spec_whose_devices_lie_in_dev_stays_as_it_is() {
        let rootfs = tempfile::tempdir().unwrap();
        let mut spec = spec(r#"{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}"#);
        let before = spec.linux().clone();
        resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        assert_eq!(*spec.linux(), before);
    }

    #[test]
    fn of_two_devices_at_one_path_the_first_is_there() {
        let rootfs = tempfile::tempdir().unwrap();
        let mut spec = spec(
            r#"{"type": "c", "path": "/dev/x", "major": 1, "minor": 3},
            {"type": "c", "path": "/dev/../dev/x", "major": 1, "minor": 5},
            {"type": "c", "path": "/y", "major": 1, "minor": 3},
            {"type": "c", "path": "/y", "major": 1, "minor": 5}"#,
        );
        let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        let kept = spec.linux().as_ref().unwrap().devices().clone().unwrap();
        let numbers: Vec<_> = kept.iter().map(|device| device.minor()).collect();
        assert_eq!((numbers, resolved.nodes.len()), (vec![3], 1));
        assert_eq!(resolved.nodes[0].minor, 3);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let rootfs = tempfile::tempdir().unwrap();
        for (kind, path, major) in [("a", "/x", 1), ("c", "/x", -1), ("c", "/dev/x", -1)] {
            let device =
                format!(r#"{{"type": "{kind}", "path": "{path}", "major": {major}, "minor": 0}}"#);
            let resolved = resolve(&mut spec(&device), rootfs.path(), Path::new("/state"));
            let error = resolved.unwrap_err();
            assert!(matches!(error, Error::Device { .. }), "{error}");
        }
    }
}
