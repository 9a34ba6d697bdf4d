//! What a spec says of a container.

use std::path::{Path, PathBuf};

use medley_engine::Preopen;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Process, Spec};

use crate::confinement::Labels;

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
pub(crate) fn has_own_pid_namespace(spec: &Spec) -> bool {
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
pub(crate) fn has_poststart_hooks(spec: &Spec) -> bool {
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststart().as_ref());
    hooks.is_some_and(|hooks| !hooks.is_empty())
}

/// Whether something is to be run after the container was deleted.
#[must_use]
pub(crate) fn has_poststop_hooks(spec: &Spec) -> bool {
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststop().as_ref());
    hooks.is_some_and(|hooks| !hooks.is_empty())
}

/// Whether it has a share of the processors' caches and memory bandwidth, by resctrl.
pub(crate) fn has_resctrl(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    linux.is_some_and(|linux| linux.intel_rdt().is_some())
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

/// Whether it is a bind mount, by what libcontainer takes for one.
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
