//! A container's spec as the shim works on it: read and checked once.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

use super::change::{for_linux, for_wasm};
use super::facts::{
    cgroups_path, has_own_pid_namespace, has_poststart_hooks, has_poststop_hooks, has_resctrl,
    is_bind, labels, mount_label,
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
            is_changed: read.is_completed || !read.unknown_capabilities.is_empty(),
        })
    }

    /// Gives its process further variables.
    pub(crate) fn add_env(&mut self, variables: &[String]) {
        let Some(process) = self
            .oci
            .process_mut()
            .as_mut()
            .filter(|_| !variables.is_empty())
        else {
            return;
        };
        let mut env = process.env().clone().unwrap_or_default();
        env.extend_from_slice(variables);
        process.set_env(Some(env));
        self.is_changed = true;
    }

    /// Says what runc makes of a spec for its command line: sources of bind mounts are relative to the
    /// bundle, a `HOME` that is empty is not set, a limit of no processes is one of a single one, a
    /// namespace whose path is empty is a new one, and a path that is masked twice is masked.
    pub(crate) fn as_runc_reads_it(&mut self, bundle: &Path) {
        for mount in self.oci.mounts_mut().iter_mut().flatten() {
            let source = mount.source().clone();
            let source = source.filter(|source| is_bind(mount) && source.is_relative());
            if let Some(source) = source {
                mount.set_source(Some(bundle.join(source)));
                self.is_changed = true;
            }
        }
        if let Some(process) = self.oci.process_mut() {
            self.is_changed |= leave_home_to_us(process);
        }
        let Some(linux) = self.oci.linux_mut() else {
            return;
        };
        let pids = linux
            .resources_mut()
            .as_mut()
            .and_then(|all| all.pids_mut().as_mut());
        if let Some(pids) = pids.filter(|pids| pids.limit() == 0) {
            pids.set_limit(1);
            self.is_changed = true;
        }
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        for namespace in &mut namespaces {
            if namespace.path().as_ref().is_some_and(is_empty) {
                namespace.set_path(None);
                self.is_changed = true;
            }
        }
        linux.set_namespaces(Some(namespaces));
        if let Some(paths) = linux.masked_paths() {
            let mut once: Vec<String> = Vec::new();
            for path in paths {
                if !once.contains(path) {
                    once.push(path.clone());
                }
            }
            if once.len() < paths.len() {
                linux.set_masked_paths(Some(once));
                self.is_changed = true;
            }
        }
    }

    /// Names a cgroup, if the spec names none.
    pub(crate) fn default_cgroup(&mut self, path: &Path) {
        if cgroups_path(&self.oci).is_some_and(|path| !path.as_os_str().is_empty()) {
            return;
        }
        if let Some(linux) = self.oci.linux_mut() {
            linux.set_cgroups_path(Some(path.to_owned()));
            self.is_changed = true;
        }
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

/// Takes a `HOME` out that is empty in the end. Whether there was one.
fn leave_home_to_us(process: &mut Process) -> bool {
    const HOME: &str = "HOME=";
    let mut env = process.env().clone().unwrap_or_default();
    let last = env.iter().rfind(|entry| entry.starts_with(HOME));
    if last.is_none_or(|last| last != HOME) {
        return false;
    }
    env.retain(|entry| !entry.starts_with(HOME));
    process.set_env(Some(env));
    true
}

/// What the shim has to know of a container as long as there is one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
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
    fn a_spec_for_the_command_line_is_read_as_runc_does() {
        let bundle = bundle(SPEC);
        let mut spec = ContainerSpec::load("id", bundle.path()).unwrap();
        spec.as_runc_reads_it(bundle.path());
        assert!(!spec.is_changed);
        let text = SPEC.replace(
            "\"intelRdt\": {\"closID\": \"x\"}",
            "\"maskedPaths\": [\"/a\", \"/a\"]",
        );
        let text = text.replace("{\"type\": \"pid\"}", "{\"type\": \"pid\", \"path\": \"\"}");
        let text = text.replace(
            "\"hooks\"",
            "\"mounts\": [{\"destination\": \"/m\", \"source\": \"s\", \"options\": [\"rbind\"]},
                {\"destination\": \"/t\", \"source\": \"tmpfs\", \"type\": \"tmpfs\"}], \"hooks\"",
        );
        std::fs::write(bundle.path().join("config.json"), text).unwrap();
        let mut spec = ContainerSpec::load("id", bundle.path()).unwrap();
        spec.as_runc_reads_it(bundle.path());
        assert!(spec.is_changed);
        let mounts = spec.oci.mounts().as_ref().unwrap();
        assert_eq!(
            mounts[0].source().as_ref().unwrap(),
            &bundle.path().join("s")
        );
        assert_eq!(mounts[1].source().as_ref().unwrap(), Path::new("tmpfs"));
        let linux = spec.oci.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_ref().unwrap().len(), 1);
        assert!(linux.namespaces().as_ref().unwrap()[0].path().is_none());
    }

    #[test]
    fn an_empty_home_is_not_set() {
        let env = |env: &[&str]| {
            let json = serde_json::json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": env});
            let mut process = serde_json::from_value(json).unwrap();
            let changed = super::leave_home_to_us(&mut process);
            (changed, process.env().clone().unwrap())
        };
        assert_eq!(
            env(&["HOME=/a", "A=1", "HOME="]),
            (true, vec!["A=1".to_owned()])
        );
        assert!(!env(&["HOME=", "HOME=/a"]).0 && !env(&["A=1"]).0);
    }

    #[test]
    fn a_process_without_a_user_is_roots() {
        let bundle = bundle(&SPEC.replace("\"user\": {\"uid\": 5, \"gid\": 0},", ""));
        let spec = ContainerSpec::load("id", bundle.path()).unwrap();
        assert!(spec.is_changed);
        assert_eq!(spec.cwd_and_user(), ("/srv".into(), 0));
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
