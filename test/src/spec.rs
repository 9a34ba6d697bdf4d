//! OCI runtime specs as `ctr run` makes them.

use crate::images::Image;
use serde_json::{Value, json};

const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A spec under construction.
#[derive(Debug, Clone)]
pub struct Spec(pub(crate) Value);

impl Spec {
    /// containerd's default spec for a container of the image, in the cgroup
    /// `/<namespace>/<id>`.
    pub fn of(image: &Image, namespace: &str, id: &str) -> Self {
        let tmpfs = |to: &str, options: &[&str]| json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options});
        let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
        let plain = ["nosuid", "noexec", "nodev"];
        let device = |major: i64, minor: Option<i64>| {
            let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
            if let Some(minor) = minor {
                rule["minor"] = json!(minor);
            }
            rule
        };
        let mut devices = vec![json!({"allow": false, "access": "rwm"})];
        for (major, minor) in [
            (1, 3),
            (1, 8),
            (1, 7),
            (5, 0),
            (1, 5),
            (1, 9),
            (5, 1),
            (136, -1),
            (5, 2),
        ] {
            devices.push(device(major, (minor >= 0).then_some(minor)));
        }
        let mut user = image
            .user
            .split(':')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        let uid = user.next().unwrap_or(0);
        let gid = user.next().unwrap_or(0);
        let mut env = image.env.clone();
        if !env.iter().any(|variable| variable.starts_with("PATH=")) {
            env.insert(
                0,
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            );
        }
        let namespaces = ["pid", "ipc", "uts", "mount", "network"];
        Self(json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid, "additionalGids": [gid]},
                "args": image.args,
                "env": env,
                "cwd": image.cwd,
                "capabilities": {
                    "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                },
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", &plain),
                tmpfs("/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts",
                    &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
                tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
                mount("/dev/mqueue", "mqueue", &plain),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                tmpfs("/run", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            ],
            "linux": {
                "resources": {"devices": devices},
                "cgroupsPath": format!("/{namespace}/{id}"),
                "namespaces": namespaces.map(|kind| json!({"type": kind})),
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                    "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
                ],
                "readonlyPaths": [
                    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
                ],
            },
            "annotations": {},
        }))
    }

    /// Replaces the arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        self.0["process"]["args"] = json!(args);
        self
    }

    /// Adds `NAME=value` to the environment.
    #[must_use]
    pub fn env(mut self, variable: &str) -> Self {
        if let Some(env) = self.0["process"]["env"].as_array_mut() {
            env.push(json!(variable));
        }
        self
    }

    /// Asks for a terminal.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.0["process"]["terminal"] = json!(true);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, path: &str) -> Self {
        self.0["process"]["cwd"] = json!(path);
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.0["process"]["user"] = json!({"uid": uid, "gid": gid});
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["annotations"][key] = json!(value);
        self
    }

    /// Binds a file or dir of the host into the container.
    #[must_use]
    pub fn bind(mut self, source: &std::path::Path, destination: &str, readonly: bool) -> Self {
        let mode = if readonly { "ro" } else { "rw" };
        if let Some(mounts) = self.0["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": destination,
                "type": "bind",
                "source": source,
                "options": ["rbind", mode],
            }));
        }
        self
    }

    /// Any other change.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.0);
        self
    }

    /// The spec as JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }
}
