//! Mounts over procfs. libcontainer looks at those of procfs and sysfs alone, where runc looks at the
//! others: an image's volume at `/proc` would answer the runtime and the container in the kernel's place.

use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::PROC_SUPER_MAGIC;

use super::error::Error;
use crate::spec::is_bind;

const PROC: &str = "/proc";

/// Kinds that are of the kernel's making too.
const NEVER_REFUSED: [&str; 4] = ["proc", "sysfs", "mqueue", "cgroup"];

/// What lxcfs and its like show a container of itself.
const FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Refuses `mount`, which is at `found` in the end, if runc does.
pub(super) fn check(mount: &Mount, found: &Path) -> Result<(), Error> {
    let Ok(below) = found.strip_prefix(PROC) else {
        return Ok(());
    };
    let kind = mount.typ().as_deref().unwrap_or_default();
    let is_procfs =
        |path: &Path| rustix::fs::statfs(path).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC);
    let source = mount.source().as_deref().filter(|_| is_bind(mount));
    let fine = match below.as_os_str().is_empty() {
        true => source.is_some_and(is_procfs),
        false => FILES.iter().any(|file| below == Path::new(file)),
    };
    if fine || NEVER_REFUSED.contains(&kind) {
        return Ok(());
    }
    Err(Error::OverProc {
        path: mount.destination().clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use oci_spec::runtime::Mount;
    use std::path::Path;

    #[test]
    fn only_procfs_and_what_stands_for_it_is_mounted_over_procfs() {
        let is_refused = |kind: &str, source: &str, at: &str| {
            let mount: Mount = serde_json::from_value(serde_json::json!({
                "destination": at, "type": kind, "source": source,
            }))
            .unwrap();
            check(&mount, Path::new(at)).is_err()
        };
        for (kind, source, at) in [
            ("bind", "/etc", "/proc"),
            ("tmpfs", "tmpfs", "/proc"),
            ("bind", "/etc", "/proc/self"),
            ("bind", "/proc", "/proc/sys"),
            ("tmpfs", "tmpfs", "/proc/cpuinfo/x"),
        ] {
            assert!(is_refused(kind, source, at), "{kind} {source} {at}");
        }
        for (kind, source, at) in [
            ("proc", "proc", "/proc"),
            ("bind", "/proc", "/proc"),
            ("bind", "/etc/hosts", "/proc/meminfo"),
            ("bind", "/etc/hosts", "/proc/sys/kernel/ns_last_pid"),
            ("bind", "/etc", "/procs"),
            ("bind", "/etc", "/a/proc/self"),
        ] {
            assert!(!is_refused(kind, source, at), "{kind} {source} {at}");
        }
    }
}
