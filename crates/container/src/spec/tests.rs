use super::change::for_wasm;
use super::facts::has_own_pid_namespace;
use super::{groups, names_scope, preopens, uid};
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
    assert_eq!(groups(&spec), [100_007]);
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
