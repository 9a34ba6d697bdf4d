//! The binary by itself, and `start` as containerd 2.3 calls it.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use medley_test::runtime::shim_path;
use medley_test::shim::{Bench, Shim, TASK_V3};
use medley_test::stdio::Stdin;
use medley_test::*;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const NOBODY: u32 = 65534;

/// A dir that goes with the test, and in it a copy of the shim that anybody may run.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-copy-{}", leftovers::unique()));
        std::fs::create_dir(&dir)?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        let this = Self(dir);
        std::fs::copy(shim_path()?, this.path())?;
        std::fs::set_permissions(this.path(), PermissionsExt::from_mode(0o755))?;
        Ok(this)
    }

    fn path(&self) -> PathBuf {
        self.0.join(Runtime::Medley.binary())
    }

    /// Runs it as a user who may change nothing, without an environment.
    fn run(&self, arg: &str) -> Result<Output> {
        let mut command = Command::new(self.path());
        command
            .arg(arg)
            .env_clear()
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY);
        Ok(command.stdin(Stdio::null()).output()?)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn info_is_told_to_anybody_without_input_and_environment() -> Result<()> {
    let done = Copy::new()?.run("-info")?;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    let info = RuntimeInfo::parse_from_bytes(&done.stdout)?;
    assert_eq!(info.name, "io.containerd.wasm.v1");
    assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[test]
fn the_version_is_told_to_anybody_without_input_and_environment() -> Result<()> {
    let done = Copy::new()?.run("-v")?;
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout)?;
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    assert!(text.contains("io.containerd.wasm.v1"), "{text}");
    Ok(())
}

#[tokio::test]
async fn start_answers_bootstrap_params_with_version_3_and_serves_it() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    let spec = Spec::of(&image, bench.namespace(), "it").args(["/bin/sh", "-c", "exit 42"]);
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let params = BootstrapParams {
        instance_id: "it".to_owned(),
        namespace: bench.namespace().to_owned(),
        containerd_version: "2.3.0".to_owned(),
        containerd_ttrpc_address: bench.ttrpc_address(),
        containerd_grpc_address: bench.ttrpc_address().replace(".ttrpc", ""),
        containerd_binary: "/bin/false".to_owned(),
        ..Default::default()
    };
    // It need not be read.
    nix::unistd::mkfifo(
        &bundle.join("log"),
        nix::sys::stat::Mode::from_bits_truncate(0o700),
    )?;
    let done = bench
        .command_with("it", &bundle, "start", params.write_to_bytes()?)
        .await?;
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let answer = BootstrapResult::parse_from_bytes(&done.stdout)?;
    assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
    let socket = answer
        .address
        .strip_prefix("unix://")
        .context("no unix socket")?;
    let shim = Shim::connect(std::path::Path::new(socket))
        .await?
        .speaking(TASK_V3);
    let mut stdio = bench.stdio("it", Stdin::None)?;
    shim.create("it", &bundle, &stdio).await?;
    shim.start("it").await?;
    assert_eq!(shim.wait("it").await?, 42);
    stdio.drain().await?;
    assert_eq!(shim.delete("it").await?, 42);
    shim.shutdown("it").await;
    bench.close().await
}
