//! The OCI spec: reading it, and what a Wasm container changes in it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use medley_engine::Preopen;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Process, Spec};

use crate::confinement::{self, Labels};

pub(crate) mod asked;
mod container_spec;
pub(crate) mod devices;
pub(crate) mod environment;
mod inherit;
pub(crate) mod propagation;
pub(crate) mod seccomp;
pub(crate) mod words;

pub(crate) use container_spec::{ContainerSpec, Features};
pub(crate) use inherit::{beyond_permitted, inherit};

/// Why a spec can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("cannot read the container's spec {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It can't be understood.
    #[error("the container's spec {} is not a valid OCI config.json", path.display())]
    Parse {
        path: PathBuf,
        /// Where and what.
        source: words::Error,
    },
    /// It has no `root`.
    #[error("the container's spec {} has no root.path", path.display())]
    NoRoot { path: PathBuf },
    /// It has no `linux`.
    #[error("the container's spec {} has no linux section: it is for another platform", path.display())]
    NoLinux { path: PathBuf },
    /// It asks for something that is not done.
    #[error(transparent)]
    Asked(#[from] asked::Refused),
    /// Its process's environment.
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// What its process is to be confined by.
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    /// The changed spec could not be written for the helper.
    #[error("cannot write the changed spec {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The name of a bundle's spec.
const CONFIG: &str = "config.json";

/// Kinds of mounts that a Wasm guest has no use for, and that would lead it to the shim's own
/// binary or to the host's settings.
const NOT_FOR_WASM: [&str; 4] = ["proc", "sysfs", "cgroup", "cgroup2"];

/// Where procfs is mounted.
const PROC: &str = "/proc";

/// Reads a bundle's spec.
///
/// # Errors
/// [`Error`] if it is missing, malformed, or not one of a Linux container.
pub fn load(bundle: &Path) -> Result<Spec, Error> {
    read(bundle).map(|read| read.value)
}

/// As [`load`], and tells which capabilities in it are not known and were left out.
pub(crate) fn read(bundle: &Path) -> Result<words::Read<Spec>, Error> {
    let path = bundle.join(CONFIG);
    let text = std::fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let read = words::spec(&text).map_err(|source| Error::Parse {
        path: path.clone(),
        source,
    })?;
    if read.value.root().is_none() {
        return Err(Error::NoRoot { path });
    }
    if read.value.linux().is_none() {
        return Err(Error::NoLinux { path });
    }
    Ok(read)
}

/// Tells of capabilities that were left out, as runc does.
pub(crate) fn warn_of_unknown(id: &str, capabilities: &[String]) {
    if !capabilities.is_empty() {
        log::warn!(
            "{id}: ignoring unknown or unavailable capabilities: {}",
            capabilities.join(", ")
        );
    }
}

/// The annotations of a bundle's spec, and nothing else of it.
///
/// # Errors
/// [`Error`] if the spec is missing or malformed.
pub fn annotations(bundle: &Path) -> Result<HashMap<String, String>, Error> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let path = bundle.join(CONFIG);
    let text = std::fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let spec: Annotated = serde_json::from_slice(&text).map_err(|source| Error::Parse {
        path,
        source: source.into(),
    })?;
    Ok(spec.annotations)
}

/// The rootfs that a spec names, absolute.
#[must_use]
pub fn rootfs(bundle: &Path, spec: &Spec) -> PathBuf {
    let root = spec
        .root()
        .as_ref()
        .map(|root| root.path().clone())
        .unwrap_or_default();
    bundle.join(root)
}

/// The user that the container's process runs as.
#[must_use]
pub fn uid(spec: &Spec) -> u32 {
    let process = spec.process().as_ref();
    process.map_or(0, |process| uid_of(spec, process))
}

/// The user on the node that `process` runs as in the container of `spec`.
#[must_use]
pub fn uid_of(spec: &Spec, process: &Process) -> u32 {
    let linux = spec.linux().as_ref();
    let mappings = linux.and_then(|linux| linux.uid_mappings().as_deref());
    host_id(mappings, process.user().uid())
}

/// The container's root, as a user and a group on the node.
pub(crate) fn root_of(spec: &Spec) -> (u32, u32) {
    let linux = spec.linux().as_ref();
    let users = linux.and_then(|linux| linux.uid_mappings().as_deref());
    let groups = linux.and_then(|linux| linux.gid_mappings().as_deref());
    (host_id(users, 0), host_id(groups, 0))
}

/// The supplementary groups that the container's process has, as ids on the node.
#[must_use]
pub fn groups(spec: &Spec) -> Vec<u32> {
    let process = spec.process().as_ref();
    let groups = process.and_then(|process| process.user().additional_gids().as_ref());
    let mappings = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.gid_mappings().as_deref());
    groups
        .into_iter()
        .flatten()
        .map(|group| host_id(mappings, *group))
        .collect()
}

/// What the container's process is confined by.
pub(crate) fn labels(spec: &Spec) -> Labels {
    let process = spec.process().as_ref();
    process.map_or_else(Labels::default, Labels::of)
}

/// The SELinux label of what is mounted for the container.
pub(crate) fn mount_label(spec: &Spec) -> Option<&str> {
    let linux = spec.linux().as_ref();
    let label = linux.and_then(|linux| linux.mount_label().as_deref());
    label.filter(|label| !label.is_empty())
}

/// The id on the node of an id in the container's user namespace.
pub(crate) fn host_id(mappings: Option<&[LinuxIdMapping]>, id: u32) -> u32 {
    let mapped = mappings.into_iter().flatten().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id())?;
        (offset < mapping.size()).then(|| mapping.host_id().saturating_add(offset))
    });
    mapped.unwrap_or(id)
}

/// The path of its cgroup.
pub(crate) fn cgroups_path(spec: &Spec) -> Option<&Path> {
    let linux = spec.linux().as_ref();
    linux.and_then(|linux| linux.cgroups_path().as_deref())
}

/// Whether the cgroup's path has the form of a systemd scope, `slice:prefix:name`.
#[must_use]
pub fn names_scope(spec: &Spec) -> bool {
    cgroups_path(spec).is_some_and(|path| path.to_string_lossy().split(':').count() == 3)
}

/// Whether the container has a pid namespace of its own, whose processes die with init.
#[must_use]
pub fn has_own_pid_namespace(spec: &Spec) -> bool {
    has_own_namespace(spec, LinuxNamespaceType::Pid)
}

/// Whether the container has a network namespace that is made for it alone.
pub(crate) fn has_own_network_namespace(spec: &Spec) -> bool {
    has_own_namespace(spec, LinuxNamespaceType::Network)
}

fn has_own_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == kind && namespace.path().is_none())
}

/// Whether something is to be run right after the start.
#[must_use]
pub fn has_poststart_hooks(spec: &Spec) -> bool {
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststart().as_ref());
    hooks.is_some_and(|hooks| !hooks.is_empty())
}

/// Whether it has a share of the processors' caches and memory bandwidth, by resctrl.
pub(crate) fn has_resctrl(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    linux.is_some_and(|linux| linux.intel_rdt().is_some())
}

/// Whether something is to be run after the container was deleted.
#[must_use]
pub fn has_poststop_hooks(spec: &Spec) -> bool {
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststop().as_ref());
    hooks.is_some_and(|hooks| !hooks.is_empty())
}

/// The spec of a Linux container, made of the one that containerd wrote; none if that can be taken as it
/// is, and was not `changed` before.
#[must_use]
pub fn for_linux(bundle: &Path, mut spec: Spec, changed: bool) -> Option<Spec> {
    let adapted = adapt(&mut spec) | seccomp::spell_out(&mut spec);
    if !(adapted || changed) {
        return None;
    }
    make_root_absolute(bundle, &mut spec);
    Some(spec)
}

/// Says what libcontainer would not understand in its words. Whether anything was changed.
fn adapt(spec: &mut Spec) -> bool {
    let mut changed = devices::spell_out(spec);
    if let Some(word) = propagation::of_root(spec)
        && let Some(linux) = spec.linux_mut()
    {
        linux.set_rootfs_propagation(Some(word.to_owned()));
        changed = true;
    }
    if let Some(process) = spec.process_mut() {
        changed |= inherit::complete(process);
    }
    changed
}

/// Leaves it to init, who is the container's user by then, to enter the working directory: root may
/// not.
pub(crate) fn leave_cwd_to_init(spec: &mut Spec) {
    if let Some(process) = spec.process_mut() {
        process.set_cwd(PathBuf::from("/"));
    }
}

/// The changed spec lies elsewhere, and a relative root would be looked for there.
fn make_root_absolute(bundle: &Path, spec: &mut Spec) {
    let rootfs = rootfs(bundle, spec);
    if let Some(root) = spec.root_mut() {
        root.set_path(rootfs);
    }
}

/// The spec of a Wasm container, made of the one that containerd wrote: the same namespaces,
/// cgroup, capabilities and user, less what a guest must not have.
#[must_use]
pub fn for_wasm(bundle: &Path, mut spec: Spec) -> Spec {
    adapt(&mut spec);
    make_root_absolute(bundle, &mut spec);
    let proc_is_needed = needs_proc(&spec);
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.start_container().as_ref());
    let runs_inside = hooks.is_some_and(|hooks| !hooks.is_empty());
    if let Some(mounts) = spec.mounts_mut() {
        mounts.retain(|mount| match mount.typ().as_deref() {
            Some("proc") => proc_is_needed,
            Some(kind) => !NOT_FOR_WASM.contains(&kind),
            None => true,
        });
    }
    let mounts = spec.mounts().iter().flatten();
    // libcontainer's mount for the parameters is masked as a whole.
    let mounted: Vec<_> = mounts
        .map(|mount| mount.destination().clone())
        .filter(|at| at != Path::new(PROC))
        .collect();
    if let Some(process) = spec.process_mut() {
        // Nothing is ever executed: the guest loses nothing, and a filter needs no capability.
        process.set_no_new_privileges(Some(true));
        // libcontainer needs procfs to set them; the helper has done it by then.
        process.user_mut().set_additional_gids(None);
        // In force from an exec on, which there is none of: init changes to it by itself.
        process.set_apparmor_profile(None);
    }
    if let Some(linux) = spec.linux_mut() {
        let mut masked = to_be_seen(linux.masked_paths(), &mounted);
        masked.extend(proc_is_needed.then(|| PROC.to_owned()));
        let read_only = to_be_seen(linux.readonly_paths(), &mounted);
        linux.set_masked_paths(Some(masked).filter(|paths| !paths.is_empty()));
        linux.set_readonly_paths(Some(read_only).filter(|paths| !paths.is_empty()));
        // A startContainer hook runs in the container, after the filter: ours would stop it.
        if linux.seccomp().is_none() && !runs_inside {
            linux.set_seccomp(seccomp::wasm_profile());
        }
    }
    seccomp::spell_out(&mut spec);
    spec
}

/// The paths that a guest could see: those below /proc and /sys are not there, or covered as a whole,
/// except for what is mounted there.
fn to_be_seen(paths: &Option<Vec<String>>, mounted: &[PathBuf]) -> Vec<String> {
    let below = |path: &Path| [PROC, "/sys"].iter().any(|at| path.starts_with(at));
    let is_seen = |path: &Path| {
        let mut mounts = mounted.iter().filter(|at| below(at));
        mounts.any(|at| at.starts_with(path) || path.starts_with(at))
    };
    let paths = paths.iter().flatten();
    paths
        .filter(|path| !below(Path::new(path)) || is_seen(Path::new(path)))
        .cloned()
        .collect()
}

/// Whether libcontainer writes kernel parameters to procfs, which is covered then before the guest
/// starts.
fn needs_proc(spec: &Spec) -> bool {
    let sysctl = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.sysctl().as_ref());
    sysctl.is_some_and(|sysctl| !sysctl.is_empty())
}

/// The directories that a guest may open: the rootfs, and every mount of files below it.
#[must_use]
pub fn preopens(spec: &Spec) -> Vec<Preopen> {
    // The kernel says what of the rootfs is read-only, and file mounts on it may not be.
    let mut preopens = vec![Preopen::at("/".to_owned(), false)];
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    preopens.extend(
        mounts
            .iter()
            .filter(|mount| holds_files(mount))
            .map(|mount| {
                Preopen::at(
                    mount.destination().display().to_string(),
                    has_option(mount, &["ro", "rro"]),
                )
            }),
    );
    preopens
}

fn holds_files(mount: &Mount) -> bool {
    let below_dev = mount.destination().starts_with("/dev");
    !below_dev && (is_bind(mount) || mount.typ().as_deref().is_some_and(|kind| kind == "tmpfs"))
}

/// Whether it shows what is elsewhere on the node, as libcontainer tells it.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind") || has_option(mount, &["bind", "rbind"])
}

/// Whether a mount has one of these options.
pub(crate) fn has_option(mount: &Mount, requested: &[&str]) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    options
        .iter()
        .any(|option| requested.contains(&option.as_str()))
}

/// Writes a spec where the helper finds it.
///
/// # Errors
/// [`Error::Write`].
pub fn save(dir: &Path, spec: &Spec) -> Result<(), Error> {
    let path = dir.join(CONFIG);
    let write = || -> io::Result<()> {
        let mut file = io::BufWriter::new(std::fs::File::create(&path)?);
        serde_json::to_writer(&mut file, spec)?;
        io::Write::flush(&mut file)
    };
    write().map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{for_wasm, has_own_pid_namespace, names_scope, preopens, uid};
    use oci_spec::runtime::Spec;
    use std::path::Path;

    fn spec(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    const SPEC: &str = r#"{
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs", "readonly": true},
        "process": {"args": ["/app.wasm"], "cwd": "/", "user": {"uid": 5, "gid": 0}},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            {"destination": "/dev/shm", "type": "bind", "source": "/x", "options": ["rbind"]},
            {"destination": "/data", "type": "bind", "source": "/y", "options": ["rbind", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
        ],
        "linux": {
            "cgroupsPath": "system.slice:docker:abc",
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}],
            "maskedPaths": ["/proc/keys"]
        }
    }"#;

    #[test]
    fn a_wasm_container_has_no_procfs_no_sysfs_and_a_filter() {
        let spec = for_wasm(Path::new("/bundle"), spec(SPEC));
        let kinds: Vec<_> = spec
            .mounts()
            .iter()
            .flatten()
            .filter_map(|mount| mount.typ().clone())
            .collect();
        assert_eq!(kinds, ["bind", "bind", "tmpfs"]);
        assert_eq!(
            spec.root().as_ref().unwrap().path(),
            Path::new("/bundle/rootfs")
        );
        assert_eq!(
            spec.process().as_ref().unwrap().no_new_privileges(),
            Some(true)
        );
        assert!(spec.linux().as_ref().unwrap().seccomp().is_some());
        assert!(spec.linux().as_ref().unwrap().masked_paths().is_none());
    }

    #[test]
    fn what_is_masked_stays_so_where_a_mount_shows_it() {
        let json = SPEC.replace("/dev/shm", "/sys/firmware/acpi").replace(
            r#"["/proc/keys"]"#,
            r#"["/proc/keys", "/sys/firmware", "/sys/firmware/acpi/a", "/sys/power", "/a"],
                "readonlyPaths": ["/proc/sys", "/sys/firmware/acpi"]"#,
        );
        let spec = for_wasm(Path::new("/bundle"), spec(&json));
        let linux = spec.linux().as_ref().unwrap();
        let masked = linux.masked_paths().as_deref().unwrap();
        assert_eq!(masked, ["/sys/firmware", "/sys/firmware/acpi/a", "/a"]);
        let read_only = linux.readonly_paths().as_deref().unwrap();
        assert_eq!(read_only, ["/sys/firmware/acpi"]);
    }

    #[test]
    fn procfs_is_covered_where_sysctls_are_to_be_set() {
        let json = SPEC.replace(
            "\"maskedPaths\"",
            "\"sysctl\": {\"net.a\": \"1\"}, \"maskedPaths\"",
        );
        let spec = for_wasm(Path::new("/bundle"), spec(&json));
        let masked = spec.linux().as_ref().unwrap().masked_paths().clone();
        assert_eq!(masked, Some(vec!["/proc".to_owned()]));
        assert!(
            spec.mounts()
                .iter()
                .flatten()
                .any(|mount| mount.typ().as_deref() == Some("proc"))
        );
    }

    #[test]
    fn supplementary_groups_are_set_outside_of_the_container() {
        let json = SPEC
            .replace("\"gid\": 0", "\"gid\": 0, \"additionalGids\": [7]")
            .replace("uidMappings", "gidMappings");
        let spec = spec(&json);
        assert_eq!(super::groups(&spec), [100_007]);
        let changed = for_wasm(Path::new("/bundle"), spec);
        assert!(
            changed
                .process()
                .as_ref()
                .unwrap()
                .user()
                .additional_gids()
                .is_none()
        );
    }

    #[test]
    fn every_mount_of_files_is_a_preopen_and_keeps_its_ro() {
        let preopens = preopens(&spec(SPEC));
        let seen: Vec<_> = preopens
            .iter()
            .map(|preopen| (preopen.path.as_str(), preopen.read_only))
            .collect();
        assert_eq!(seen, [("/", false), ("/data", true), ("/tmp", false)]);
    }

    #[test]
    fn the_user_is_the_one_on_the_node() {
        assert_eq!(uid(&spec(SPEC)), 100_005);
    }

    /// And a pid namespace from its own.
    #[test]
    fn systemd_is_told_from_the_cgroup_path() {
        assert!(names_scope(&spec(SPEC)));
        assert!(has_own_pid_namespace(&spec(SPEC)));
        let shared = SPEC.replace(
            r#"{"type": "pid"}"#,
            r#"{"type": "pid", "path": "/proc/1/ns/pid"}"#,
        );
        assert!(!has_own_pid_namespace(&spec(&shared)));
    }
}
