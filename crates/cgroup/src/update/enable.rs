//! Controllers of the unified hierarchy, which a cgroup has only if all above it enable them.
//!
//! Who makes a cgroup enables what it knows: systemd nothing of huge pages and RDMA, libcontainer
//! neither in a cgroup that is there already. So what a limit needs is enabled right before it is set.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxResources};

use super::error::UpdateError;
use super::values::{named, text};
use super::write::put;
use crate::files::words;

/// Enables what `resources` need and the cgroup `dir` lacks, from `mount` downwards.
///
/// # Errors
/// [`UpdateError::Processes`] of a cgroup above, or [`UpdateError::NotEnabled`].
pub(super) fn controllers(
    mount: &Path,
    dir: &Path,
    resources: &LinuxResources,
) -> Result<(), UpdateError> {
    let needed = needed(resources);
    if needed.is_empty() {
        return Ok(());
    }
    let offered = words(mount, "cgroup.controllers");
    let own = words(dir, "cgroup.controllers");
    for (controller, name) in needed {
        // What the node does not offer is refused for want of its file.
        if own.contains(&controller) || !offered.contains(&controller) {
            continue;
        }
        let enabled = enable(mount, dir, &controller);
        if let Err((at, source)) = enabled {
            let dir = at.to_owned();
            let is_busy = source.kind() == std::io::ErrorKind::ResourceBusy;
            return Err(if is_busy {
                UpdateError::Processes { name, dir }
            } else {
                UpdateError::NotEnabled {
                    name,
                    controller,
                    dir,
                    source,
                }
            });
        }
    }
    Ok(())
}

/// In every cgroup above `dir`, whose own processes it does not concern.
fn enable<'a>(
    mount: &Path,
    dir: &'a Path,
    controller: &str,
) -> Result<(), (&'a Path, std::io::Error)> {
    let above = dir.ancestors().skip(1);
    let mut above: Vec<_> = above.take_while(|at| at.starts_with(mount)).collect();
    above.reverse();
    for at in above {
        let file = "cgroup.subtree_control";
        if !words(at, file).iter().any(|enabled| enabled == controller) {
            put(&at.join(file), &format!("+{controller}")).map_err(|source| (at, source))?;
        }
    }
    Ok(())
}

/// The controllers whose files are to be written, with what of the spec each is for.
fn needed(resources: &LinuxResources) -> Vec<(String, String)> {
    let memory = resources.memory().is_some_and(|it| {
        let numbers = [it.limit(), it.reservation(), it.swap()];
        numbers.into_iter().any(|number| named(number).is_some())
    });
    let cpu = resources.cpu().as_ref();
    let of_cpu = |it: &LinuxCpu| {
        let numbers = [named(it.shares()), named(it.period()), it.burst()];
        numbers.iter().any(Option::is_some) || named(it.quota()).is_some() || it.idle().is_some()
    };
    let of_sets =
        |it: &LinuxCpu| text(it.cpus().as_ref()).is_some() || text(it.mems().as_ref()).is_some();
    let pids = resources.pids().is_some_and(|it| it.limit() != 0);
    let mut pages = resources.hugepage_limits().iter().flatten();
    let pages = pages.any(|page| page.limit() != 0);
    let rdma = resources.rdma().as_ref().is_some_and(|it| !it.is_empty());
    let io = resources.block_io().as_ref();
    let of_spec = [
        ("memory", "memory", memory),
        ("cpu", "cpu", cpu.is_some_and(of_cpu)),
        ("cpuset", "cpu.cpus", cpu.is_some_and(of_sets)),
        ("pids", "pids.limit", pids),
        (
            "io",
            "blockIO",
            io.is_some_and(|it| *it != LinuxBlockIo::default()),
        ),
        ("hugetlb", "hugepageLimits", pages),
        ("rdma", "rdma", rdma),
    ];
    let of_spec = of_spec.into_iter().filter(|(_, _, asked)| *asked);
    let mut needed: Vec<_> = of_spec
        .map(|(controller, name, _)| (controller.to_owned(), name.to_owned()))
        .collect();
    let unified = resources.unified().iter().flatten();
    needed.extend(unified.filter_map(|(key, _)| {
        let (controller, _) = key.split_once('.')?;
        Some((controller.to_owned(), key.clone()))
    }));
    needed
}

#[cfg(test)]
mod tests {
    use super::{UpdateError, controllers, words};
    use oci_spec::runtime::LinuxResources;
    use std::path::Path;

    fn needs(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    /// A dir in place of a cgroup: what is written stays as it is, as the kernel would not have it.
    fn cgroup(at: &Path, controllers: &str) {
        std::fs::create_dir_all(at).unwrap();
        std::fs::write(at.join("cgroup.controllers"), controllers).unwrap();
        std::fs::write(at.join("cgroup.subtree_control"), "cpu\n").unwrap();
    }

    #[test]
    fn what_a_limit_needs_is_enabled_in_every_cgroup_above() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("pod");
        let own = pod.join("it");
        cgroup(root.path(), "cpu hugetlb pids\n");
        cgroup(&pod, "cpu\n");
        cgroup(&own, "cpu\n");
        let enabled = |at: &Path| words(at, "cgroup.subtree_control");
        // Which is nothing, for these: the node has no rdma, and cpu is enabled.
        for json in [
            r#"{"memory": {"limit": 0}, "pids": {"limit": 0}, "blockIO": {}}"#,
            r#"{"cpu": {"shares": 2}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#,
            r#"{"rdma": {"mlx5_0": {"hcaHandles": 2}}, "unified": {"rdma.max": "a"}}"#,
        ] {
            controllers(root.path(), &own, &needs(json)).unwrap();
            assert_eq!(enabled(&pod), ["cpu"], "{json}");
        }
        for (json, controller) in [
            (
                r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}"#,
                "+hugetlb",
            ),
            (r#"{"unified": {"pids.max": "5"}}"#, "+pids"),
        ] {
            controllers(root.path(), &own, &needs(json)).unwrap();
            for at in [root.path(), &pod] {
                assert_eq!(enabled(at), [controller], "{json}");
            }
            assert_eq!(enabled(&own), ["cpu"]);
        }
    }

    #[test]
    fn a_controller_that_cannot_be_enabled_is_told_with_the_place() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("pod");
        let own = pod.join("it");
        cgroup(root.path(), "pids\n");
        cgroup(&own, "");
        std::fs::remove_file(root.path().join("cgroup.subtree_control")).unwrap();
        let error = controllers(root.path(), &own, &needs(r#"{"pids": {"limit": 5}}"#));
        let error = error.unwrap_err();
        assert!(error.is_failed_precondition());
        let UpdateError::NotEnabled { dir, name, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((dir.as_path(), name.as_str()), (root.path(), "pids.limit"));
    }
}
