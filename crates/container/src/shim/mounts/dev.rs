//! In the shim: a directory of the node that is mounted at `/dev`, most often the node's own.
//!
//! libcontainer makes devices, links and a console in what is mounted there, and so it would in the
//! node's `/dev`. It gets a tmpfs for them, with what the spec mounts at `/dev` and below it in directories
//! of that tmpfs; the helper puts these where they belong before the container starts.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::error::Error;
use super::own::{DEV, mount};
use crate::protocol::{BoundDev, Staged};
use crate::spec::propagation::Kind;
use crate::spec::{has_option, is_bind};

/// Where the mounts wait.
const STAGE: &str = "/dev/medley";

/// Where libcontainer opens a terminal.
const TERMINALS: &str = "/dev/pts";

/// Stages what is mounted at `/dev` and below it, if that is no file system of the container's own. To
/// be called when every destination is the final one.
pub(super) fn adapt(spec: &mut Spec) -> Result<Option<BoundDev>, Error> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let last = mounts
        .iter()
        .rposition(|mount| mount.destination() == Path::new(DEV));
    let Some(first) = last.filter(|at| mounts.get(*at).is_some_and(is_bind)) else {
        return Ok(None);
    };
    check_paths(spec)?;
    let is_own = mounts.get(first).is_some_and(is_nodes_own);
    let propagation = mounts.get(first).and_then(Kind::of_mount);
    let mut staged = Vec::new();
    for mount in mounts.iter_mut().skip(first) {
        if mount.destination().starts_with(DEV) {
            let from = Path::new(STAGE).join(staged.len().to_string());
            let at = mount.destination().clone();
            mount.set_destination(from.clone());
            staged.push(Staged { from, at });
        }
    }
    mounts.insert(first, tmpfs()?);
    let process = spec.process().as_ref();
    let terminal = process
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    if terminal {
        mounts.push(terminals(is_own && !has_user_namespace(spec))?);
    }
    spec.set_mounts(Some(mounts));
    // No runtime makes devices in a directory that is not the container's.
    if let Some(linux) = spec.linux_mut() {
        linux.set_devices(None);
    }
    Ok(Some(BoundDev {
        staged,
        propagation: propagation.unwrap_or(Kind::Slave),
        console: terminal && propagation != Some(Kind::Shared),
    }))
}

/// What is masked or read-only there would be so on the tmpfs, and init would work there.
fn check_paths(spec: &Spec) -> Result<(), Error> {
    let below = |path: &Path| path.starts_with(DEV).then(|| path.to_owned());
    if let Some(linux) = spec.linux().as_ref() {
        let paths = [linux.masked_paths(), linux.readonly_paths()];
        let mut paths = paths.into_iter().flatten().flatten();
        if let Some(path) = paths.find_map(|path| below(Path::new(path))) {
            let what = "masked or read-only";
            return Err(Error::Covered { path, what });
        }
    }
    let process = spec.process().as_ref();
    match process.and_then(|process| below(process.cwd())) {
        Some(path) => Err(Error::Covered {
            path,
            what: "the working directory",
        }),
        None => Ok(()),
    }
}

/// Whether it is the node's `/dev`, with what is mounted below it.
fn is_nodes_own(mount: &Mount) -> bool {
    has_option(mount, &["rbind"]) && mount.source().as_deref() == Some(Path::new(DEV))
}

fn has_user_namespace(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
    let mut namespaces = namespaces.unwrap_or_default().iter();
    namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

fn tmpfs() -> Result<Mount, Error> {
    let options = ["nosuid", "noexec", "mode=755", "size=64k"];
    mount("tmpfs", Path::new("tmpfs"), Path::new(DEV), &options)
}

/// Where init's terminal comes from: the container will see the node's, if it sees any there. Otherwise
/// it is one that nothing but `/dev/console` leads to. A user namespace's root may not open the node's.
fn terminals(are_nodes: bool) -> Result<Mount, Error> {
    let at = Path::new(TERMINALS);
    if are_nodes {
        return mount("bind", at, at, &["bind"]);
    }
    let options = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    mount("devpts", Path::new("devpts"), at, &options)
}

#[cfg(test)]
mod tests {
    use super::super::{Error, resolve};
    use crate::spec::propagation::Kind;
    use oci_spec::runtime::Spec;
    use std::path::Path;

    fn spec(mounts: &str, rest: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "mounts": [{mounts}],
            "linux": {{"devices": [
                {{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}},
                {{"type": "c", "path": "/opt/null", "major": 1, "minor": 3}}]{rest}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    const TMPFS: &str = r#"{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}"#;

    const BIND: &str = r#"{"destination": "/dev/", "type": "bind", "source": "/dev",
            "options": ["rbind", "rprivate", "rw"]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/x", "options": ["rbind"]},
        {"destination": "/dev/shm", "type": "bind", "source": "/y", "options": ["rbind"]}"#;

    #[test]
    fn what_is_mounted_at_a_bound_dev_waits_in_a_tmpfs() {
        let rootfs = tempfile::tempdir().unwrap();
        let mut spec = spec(&format!("{TMPFS}, {BIND}"), "");
        let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        let mounts = spec.mounts().iter().flatten();
        let seen: Vec<_> = mounts
            .map(|mount| {
                let kind = mount.typ().as_deref().unwrap_or_default();
                format!("{kind} {}", mount.destination().display())
            })
            .collect();
        let expected = [
            "tmpfs /dev",
            "devpts /dev/pts",
            "tmpfs /dev",
            "bind /dev/medley/0",
            "bind /etc/hosts",
            "bind /dev/medley/1",
            "bind /opt/null",
        ];
        assert_eq!(seen, expected);
        assert!(spec.linux().as_ref().unwrap().devices().is_none());
        let dev = resolved.dev.unwrap();
        let staged = dev.staged.iter();
        let staged: Vec<_> = staged
            .map(|one| (one.from.as_path(), one.at.as_path()))
            .collect();
        let expected = [("/dev/medley/0", "/dev"), ("/dev/medley/1", "/dev/shm")];
        assert_eq!(
            staged,
            expected.map(|(from, at)| (Path::new(from), Path::new(at)))
        );
        assert_eq!((dev.propagation, dev.console), (Kind::Private, false));
    }

    #[test]
    fn a_dev_of_the_containers_own_is_left_to_libcontainer() {
        let rootfs = tempfile::tempdir().unwrap();
        for mounts in [TMPFS.to_owned(), format!("{BIND}, {TMPFS}"), String::new()] {
            let mut spec = spec(&mounts, "");
            let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
            assert!(resolved.dev.is_none());
            assert!(spec.linux().as_ref().unwrap().devices().is_some());
        }
    }

    #[test]
    fn what_cannot_be_masked_there_is_refused() {
        let rootfs = tempfile::tempdir().unwrap();
        let mut spec = spec(BIND, r#", "maskedPaths": ["/proc/x", "/dev/mem"]"#);
        let error = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap_err();
        assert!(matches!(error, Error::Covered { .. }), "{error}");
    }
}
