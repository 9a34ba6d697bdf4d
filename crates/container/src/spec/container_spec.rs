//! A container's spec as the shim works on it: read and checked once.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::change::{for_linux, for_wasm};
use super::facts::{
    has_own_pid_namespace, has_poststart_hooks, has_poststop_hooks, has_resctrl, labels,
    mount_label,
};
use super::file::{Error, read, save, warn_of_unknown};
use super::{asked, environment};
use crate::confinement::{check_apparmor, check_selinux};

/// A container's spec, which becomes what libcontainer reads.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSpec {
    pub(crate) oci: Spec,
    /// Whether it is another than the one in the bundle by now.
    pub(crate) is_changed: bool,
}

impl ContainerSpec {
    /// Reads the spec of the container `id`, and refuses what is not done.
    pub(crate) fn load(id: &str, bundle: &Path) -> Result<Self, Error> {
        let read = read(bundle)?;
        warn_of_unknown(id, &read.unknown_capabilities);
        let spec = read.value;
        asked::check(&spec)?;
        let labels = labels(&spec);
        check_apparmor(labels.apparmor.as_deref())?;
        check_selinux(labels.selinux.as_deref(), "process.selinuxLabel")?;
        check_selinux(mount_label(&spec), "linux.mountLabel")?;
        if let Some(process) = spec.process() {
            environment::check(process)?;
        }
        Ok(Self {
            oci: spec,
            is_changed: !read.unknown_capabilities.is_empty(),
        })
    }

    /// The working directory of its process, and the user, as the container has it.
    pub(crate) fn cwd_and_user(&self) -> (PathBuf, u32) {
        let process = self.oci.process().as_ref();
        process.map_or_else(Default::default, |process| {
            (process.cwd().clone(), process.user().uid())
        })
    }

    /// Writes to `dir` what libcontainer is to read for a Linux container, and gives the directory of
    /// it: the bundle, if the spec in there can be taken as it is.
    pub(crate) fn save_for_linux(&self, bundle: &Path, dir: &Path) -> Result<PathBuf, Error> {
        match for_linux(bundle, self.oci.clone(), self.is_changed) {
            Some(changed) => save(dir, &changed).map(|()| dir.to_owned()),
            None => Ok(bundle.to_owned()),
        }
    }

    /// The same for a Wasm container.
    pub(crate) fn save_for_wasm(&self, bundle: &Path, dir: &Path) -> Result<PathBuf, Error> {
        save(dir, &for_wasm(bundle, self.oci.clone()))?;
        Ok(dir.to_owned())
    }
}

/// What the shim has to know of a container as long as there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Features {
    /// Whether its processes die with init.
    pub(crate) own_pid_namespace: bool,
    pub(crate) poststart_hooks: bool,
    pub(crate) poststop_hooks: bool,
    /// Whether it may have a group of its own in resctrl.
    pub(crate) resctrl: bool,
}

impl Features {
    pub(crate) fn of(spec: &Spec) -> Self {
        Self {
            own_pid_namespace: has_own_pid_namespace(spec),
            poststart_hooks: has_poststart_hooks(spec),
            poststop_hooks: has_poststop_hooks(spec),
            resctrl: has_resctrl(spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerSpec, Features};
    use crate::spec::Error;
    use std::path::Path;

    const SPEC: &str = r#"{
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["/app"], "cwd": "/srv", "user": {"uid": 5, "gid": 0},
            "capabilities": {"bounding": [], "effective": [], "inheritable": [],
                "permitted": [], "ambient": []}},
        "hooks": {"poststop": [{"path": "/bin/true"}]},
        "linux": {"namespaces": [{"type": "pid"}], "intelRdt": {"closID": "x"}}
    }"#;

    fn bundle(spec: &str) -> tempfile::TempDir {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("config.json"), spec).unwrap();
        bundle
    }

    #[test]
    fn a_spec_that_is_not_changed_is_taken_where_it_is() {
        let (bundle, dir) = (bundle(SPEC), tempfile::tempdir().unwrap());
        let mut spec = ContainerSpec::load("id", bundle.path()).unwrap();
        assert_eq!(spec.cwd_and_user(), ("/srv".into(), 5));
        let saved = spec.save_for_linux(bundle.path(), dir.path()).unwrap();
        assert_eq!(saved, bundle.path());
        spec.is_changed = true;
        let saved = spec.save_for_linux(bundle.path(), dir.path()).unwrap();
        assert_eq!(saved, dir.path());
        // It lies elsewhere: a relative root would be looked for there.
        let saved = ContainerSpec::load("id", dir.path()).unwrap();
        let root = saved.oci.root().as_ref().unwrap().path().clone();
        assert_eq!(root, bundle.path().join("rootfs"));
    }

    #[test]
    fn a_wasm_container_has_a_spec_of_its_own() {
        let (bundle, dir) = (bundle(SPEC), tempfile::tempdir().unwrap());
        let spec = ContainerSpec::load("id", bundle.path()).unwrap();
        let saved = spec.save_for_wasm(bundle.path(), dir.path()).unwrap();
        assert_eq!(saved, dir.path());
        let saved = ContainerSpec::load("id", dir.path()).unwrap();
        let process = saved.oci.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
    }

    #[test]
    fn what_is_not_done_is_refused_when_the_spec_is_read() {
        let relative = SPEC.replace("/bin/true", "bin/true");
        let error = ContainerSpec::load("id", bundle(&relative).path()).unwrap_err();
        assert!(matches!(error, Error::Asked(_)), "{error}");
        let error = ContainerSpec::load("id", Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
        let elsewhere = SPEC.replace("\"linux\"", "\"windows\"");
        assert!(ContainerSpec::load("id", bundle(&elsewhere).path()).is_err());
    }

    #[test]
    fn an_unknown_capability_changes_the_spec() {
        let unknown = SPEC.replace("\"bounding\": []", "\"bounding\": [\"CAP_OF_TOMORROW\"]");
        let bundle = bundle(&unknown);
        assert!(ContainerSpec::load("id", bundle.path()).unwrap().is_changed);
    }

    #[test]
    fn the_features_of_a_container_are_read_from_its_spec() {
        let bundle = bundle(SPEC);
        let spec = ContainerSpec::load("id", bundle.path()).unwrap();
        let features = Features::of(&spec.oci);
        assert!(features.own_pid_namespace && features.poststop_hooks && features.resctrl);
        assert!(!features.poststart_hooks);
    }
}
