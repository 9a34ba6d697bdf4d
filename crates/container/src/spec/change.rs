//! The spec that libcontainer reads, made of the one that containerd wrote.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use super::facts::rootfs;
use super::{inherit, propagation, seccomp};

/// Kinds of mounts that a Wasm guest has no use for, and that would lead it to the shim's own
/// binary or to the host's settings.
const NOT_FOR_WASM: [&str; 4] = ["proc", "sysfs", "cgroup", "cgroup2"];

/// Whether a guest sees this mount.
pub(crate) fn is_for_wasm(mount: &Mount) -> bool {
    let kind = mount.typ().as_deref();
    kind.is_none_or(|kind| !NOT_FOR_WASM.contains(&kind))
}

/// Where procfs is mounted.
const PROC: &str = "/proc";

/// The spec of a Linux container, made of the one that containerd wrote; none if that can be taken as it
/// is, and was not `changed` before.
#[must_use]
pub(crate) fn for_linux(bundle: &Path, mut spec: Spec, changed: bool) -> Option<Spec> {
    let adapted = adapt(&mut spec) | seccomp::spell_out(&mut spec);
    if !(adapted || changed) {
        return None;
    }
    make_root_absolute(bundle, &mut spec);
    Some(spec)
}

/// The spec of a Wasm container, made of the one that containerd wrote: the same namespaces,
/// cgroup, capabilities and user, less what a guest must not have.
#[must_use]
pub(crate) fn for_wasm(bundle: &Path, mut spec: Spec) -> Spec {
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
        // A profile comes into force at an exec, and a guest's process has none: init changes to it itself.
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

/// Leaves it to init, who is the container's user by then, to enter the working directory: root may
/// not.
pub(crate) fn leave_cwd_to_init(spec: &mut Spec) {
    if let Some(process) = spec.process_mut() {
        process.set_cwd(PathBuf::from("/"));
    }
}

/// Rewrites what libcontainer would not understand. Says whether anything was changed.
fn adapt(spec: &mut Spec) -> bool {
    let mut changed = false;
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

/// The changed spec lies elsewhere, and a relative root would be looked for there.
fn make_root_absolute(bundle: &Path, spec: &mut Spec) {
    let rootfs = rootfs(bundle, spec);
    if let Some(root) = spec.root_mut() {
        root.set_path(rootfs);
    }
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
