//! The process: its configuration and its environment.

use super::Options;
use crate::runtime::{Runtime, shim_path};
use anyhow::{Context, Result};
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a new network namespace needs before a program may take its place in it.
const OWN_NETWORK: &str = r#"ip link set lo up && exec "$0" "$@""#;

/// Where containerd's shim for runc finds Medley's command line, below the dir of a containerd.
pub(crate) const COMMAND_LINE: &str = "bin/medley";

/// Puts the command line there, if a shim was built; and in place of runc as well with
/// `MEDLEY_AS_RUNC=1`, which has all tests of runc ask it.
pub(super) fn command_line(dir: &Path) -> Result<()> {
    let Ok(shim) = shim_path() else {
        return Ok(());
    };
    let program = dir.join(COMMAND_LINE);
    symlink(shim, &program)?;
    if std::env::var_os("MEDLEY_AS_RUNC").is_some_and(|value| value == "1") {
        // It goes by its name.
        let runc = dir.join("bin/runc");
        std::fs::write(
            &runc,
            format!("#!/bin/sh\nexec {} \"$@\"\n", program.display()),
        )?;
        std::fs::set_permissions(&runc, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Runs containerd in its dir, with the shim under test first in its PATH.
pub(super) fn spawn(dir: &Path, options: &Options) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    let beside = options.binary.parent().unwrap_or(Path::new("/usr/bin"));
    let rest = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let path = format!("{}:{}:{rest}", dir.join("bin").display(), beside.display());
    let before: Vec<String> = if options.nohup {
        vec!["nohup".to_owned()]
    } else if options.with_root_open {
        ["/bin/sh", "-c", r#"exec 9</; exec "$0" "$@""#]
            .map(str::to_owned)
            .to_vec()
    } else if options.own_network {
        ["unshare", "--net", "--", "sh", "-c", OWN_NETWORK]
            .map(str::to_owned)
            .to_vec()
    } else {
        options.run_by.clone()
    };
    let mut command = match before.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&options.binary);
            command
        }
        None => Command::new(&options.binary),
    };
    let child = command
        .arg("--config")
        .arg(dir.join("config.toml"))
        .env("PATH", path)
        // Not the node's: what a test compiles goes away with it.
        .env("CONTAINERD_SHIM_WASM_CACHE", dir.join("cache"))
        .env_remove("NOTIFY_SOCKET")
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        // Its own group: a Ctrl-C on the terminal is for us, who then take it down in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", options.binary.display()))?;
    if !may_lower_oom_score() {
        // A process that may not lower the score gives containers none below its own.
        std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000")?;
    }
    Ok(child)
}

/// Whether this process has CAP_SYS_RESOURCE, bit 24 of its effective set.
fn may_lower_oom_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << 24) != 0)
}

/// Version 2 of the configuration, which 1.6 and 1.7 read and 2.x migrates.
pub(super) fn config(dir: &Path, socket: &Path, options: &Options) -> String {
    let dir = dir.display();
    let socket = socket.display();
    let level = if options.debug { "debug" } else { "info" };
    let restrict = !may_lower_oom_score();
    let cni_bin = ["/usr/lib/cni", "/opt/cni/bin"]
        .into_iter()
        .find(|path| Path::new(path).join("ptp").exists())
        .unwrap_or("/opt/cni/bin");
    let annotations = r#"["module.wasm.image/*", "run.oci.*"]"#;
    let wasm = Runtime::Medley.name();
    let runc = Runtime::Runc.name();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[debug]
  level = "{level}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "medley.test/pause:latest"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = {restrict}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "{runc}"
      pod_annotations = {annotations}
      container_annotations = {annotations}
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasm]
      runtime_type = "{wasm}"
      pod_annotations = {annotations}
      container_annotations = {annotations}
{extra}
"#,
        extra = options.extra_config
    )
}

/// The end of a log, less what every containerd says.
pub(super) fn telling_tail(log: &str) -> String {
    let dull = [
        "loading plugin",
        "Start ",
        "serving...",
        "Connect containerd",
        "Get image",
    ];
    let telling = |line: &&str| {
        !dull
            .iter()
            .any(|word| line.contains(&format!("msg=\"{word}")))
    };
    let lines: Vec<_> = log.lines().filter(telling).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
