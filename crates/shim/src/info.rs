//! `-info` and `-v`: what this binary is, told without touching anything.

use std::io::Write;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use serde_json::json;

use crate::engines;

/// What containerd takes for the OCI runtime spec's `features` structure, as JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Prints the `RuntimeInfo` message that containerd 2 asks for.
pub(crate) fn print() -> anyhow::Result<()> {
    let info = RuntimeInfo {
        name: runtime().to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }),
        features: MessageField::some(Any {
            type_url: FEATURES.to_owned(),
            value: serde_json::to_vec(&features())?,
            ..Default::default()
        }),
        ..Default::default()
    };
    write(&info.write_to_bytes()?)
}

/// Prints the version, for people.
pub(crate) fn print_version() -> anyhow::Result<()> {
    let text = format!(
        "containerd-shim-wasm-v1 {}\n  runtime type: {}\n  engines:      {}\n",
        env!("CARGO_PKG_VERSION"),
        runtime(),
        crate::engines::described().join("\n                "),
    );
    write(text.as_bytes())
}

/// The runtime type, by the name that we were called by.
fn runtime() -> &'static str {
    engines::called_by().map_or(crate::names::RUNTIME, |alias| alias.runtime)
}

/// Only what works and is tested. Kubernetes schedules pods by it.
pub(crate) fn features() -> serde_json::Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": [
            "atime", "bind", "defaults", "dev", "diratime", "exec", "idmap",
            "noatime", "nodev", "nodiratime", "noexec", "norelatime", "nostrictatime", "nosuid",
            "private", "ratime", "rbind", "rdev", "relatime", "rexec", "ridmap", "rnoatime",
            "rnodev", "rnodiratime", "rnoexec", "rnosuid", "ro", "rprivate", "rrelatime", "rro",
            "rshared", "rslave", "rstrictatime", "rsuid", "runbindable", "rw", "shared", "slave",
            "strictatime", "suid", "unbindable",
        ],
        "annotations": { "io.containerd.wasm.v1.engines": crate::engines::names() },
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "mountExtensions": { "idmap": { "enabled": true } },
            "cgroup": { "v1": true, "v2": true, "systemd": true },
            "seccomp": seccomp(),
        },
    })
}

/// What a profile may say.
fn seccomp() -> serde_json::Value {
    json!({
        "enabled": true,
        "actions": [
            "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
            "SCMP_ACT_TRAP",
        ],
        "operators": [
            "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
        ],
        "knownFlags": [
            "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ],
        "supportedFlags": [
            "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC",
        ],
    })
}

fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}
