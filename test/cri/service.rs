//! `install` on a machine's own containerd: a service of systemd, which makes the cgroups too. It is for a machine
//! where nothing can be broken, the virtual one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use medley_test::*;

const CONFIG: &str = "/etc/containerd/config.toml";

/// What keeps the package's unit from being started.
const MASK: &str = "/etc/systemd/system/containerd.service";

/// The cgroup of the pods, as a kubelet with the driver systemd has one.
const SLICE: &str = "medley-pods.slice";

/// Whether this is the virtual machine. If not, says past the harness that `what` can't be tried.
fn can_try(what: &str) -> Result<bool> {
    let is_own = std::env::var_os("MEDLEY_MACHINE").is_some_and(|value| value == "virtual");
    if !is_own {
        let line = format!(
            "\ntest: not tried: {what}: it changes the machine's own containerd; make test-vm\n"
        );
        std::io::stderr().write_all(line.as_bytes())?;
    }
    Ok(is_own)
}

/// Runs a command to its end.
fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<Output> {
    let done = Command::new(&program).args(args).output()?;
    Ok(done)
}

/// What a command that succeeded said.
fn done(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<String> {
    let done = run(program, args)?;
    ensure!(done.status.success(), "{args:?}: {done:?}");
    Ok(String::from_utf8(done.stdout)?)
}

/// containerd as its package brings it, with files in a directory of the test's own.
struct Service {
    dir: PathBuf,
    config: String,
}

impl Service {
    fn start() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-test-{}", leftovers::unique()));
        std::fs::create_dir(&dir)?;
        let at = dir.display();
        let config = format!(
            r#"# The node's own.
version = 2
root = "{at}/root"
state = "{at}/state"

[grpc]
  address = "{at}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "medley.test/pause:latest"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
"#
        );
        std::fs::create_dir_all(Path::new(CONFIG).parent().context("no directory")?)?;
        std::fs::write(CONFIG, &config)?;
        std::fs::remove_file(MASK)?;
        let service = Self { dir, config };
        done("systemctl", &["daemon-reload"])?;
        done("systemctl", &["start", "containerd"])?;
        Ok(service)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    async fn cri(&self) -> Result<Cri> {
        Cri::at(&self.socket(), &self.dir, &format!("/{SLICE}")).await
    }

    /// The service's process.
    fn pid(&self) -> Result<String> {
        done(
            "systemctl",
            &["show", "--value", "-p", "MainPID", "containerd"],
        )
    }

    fn import(&self, images: &[&Image]) -> Result<()> {
        let tar = self.dir.join("images.tar");
        images::write_layout(&tar, images)?;
        let (socket, tar) = (self.socket(), tar.to_string_lossy().into_owned());
        let socket = socket.to_string_lossy();
        done(
            "ctr",
            &[
                "--address",
                &socket,
                "-n",
                "k8s.io",
                "images",
                "import",
                &tar,
            ],
        )?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = [
            run("systemctl", &["stop", "containerd", SLICE]),
            run("ln", &["-sf", "/dev/null", MASK]),
            run("systemctl", &["daemon-reload"]),
            run("rm", &["-rf", CONFIG, &self.dir.to_string_lossy()]),
        ];
        for failed in stopped
            .iter()
            .filter(|done| !done.as_ref().is_ok_and(|done| done.status.success()))
        {
            eprintln!("containerd's service is not as it was: {failed:?}");
        }
    }
}

/// The cgroup of a container, as systemd has it.
fn scope_of(pid: u32) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let line = text.lines().find(|line| line.starts_with("0::"));
    Ok(line.context("no cgroup")?[3..].to_owned())
}

/// From a service without it to a mixed pod by one command, through a restart of the service, and back.
#[tokio::test]
async fn it_is_installed_under_systemd_and_taken_away_again() -> Result<()> {
    if !can_try("install on a service of systemd")? {
        return Ok(());
    }
    let service = Service::start()?;
    let shim = runtime::shim_path()?;
    let first = service.pid()?;
    let said = done(&shim, &["install", "--restart"])?;
    assert!(
        said.contains("containerd: installed /usr/local/bin/containerd-shim-wasm-v1"),
        "{said}"
    );
    let second = service.pid()?;
    assert_ne!(first, second, "it was not restarted: {said}");
    let config = std::fs::read_to_string(CONFIG)?;
    assert!(config.starts_with(&service.config), "{config}");
    assert_eq!(
        config.matches("SystemdCgroup = true").count(),
        2,
        "{config}"
    );
    let said = done(&shim, &["install", "--restart"])?;
    assert!(said.contains("nothing to change"), "{said}");
    assert_eq!(service.pid()?, second);

    let linux = images::linux()?;
    let wasm = images::wasm("sleeper", &guests::module("sleep")?)?;
    service.import(&[&linux, &wasm, &containerd::sandbox_image()?])?;
    let cri = service.cri().await?;
    let mut options =
        PodOptions::namespaces(|all| all.network = k8s_cri::v1::NamespaceMode::Node.into());
    options.handler = Some("wasm".to_owned());
    let pod = cri.run_pod("mixed", options).await?;
    let side = PodContainer::new("side", &linux).command(["/bin/sleep", "3600"]);
    let side = pod.run(side).await?;
    let guest = pod.run(PodContainer::new("guest", &wasm)).await?;
    for container in [&side, &guest] {
        let scope = scope_of(container.pid().await?)?;
        let expected = format!("cri-containerd-{}.scope", container.id);
        assert!(
            scope.contains(SLICE) && scope.ends_with(&expected),
            "{scope}"
        );
        let state = done("systemctl", &["is-active", &expected])?;
        assert_eq!(state.trim(), "active");
    }

    // The service goes, the pod stays.
    done("systemctl", &["restart", "containerd"])?;
    let cri = service.cri().await?;
    let side = cri.container(&side.id);
    let ran = side.exec_sync(&["/bin/echo", "hello"], 60).await?;
    assert_eq!(ran.stdout, "hello\n");
    let refused = run(&shim, &["uninstall", "--restart"])?;
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("shims run containers"), "{said}");
    cri.remove_all().await?;
    let away = tokio::time::timeout(Duration::from_secs(300), async {
        loop {
            let tried = run(&shim, &["uninstall", "--restart"])?;
            let said = String::from_utf8(tried.stderr)?;
            if tried.status.success() {
                return Ok::<_, anyhow::Error>(());
            }
            // A shim that is on its way to its end.
            ensure!(said.contains("shims run containers"), "{said}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    away.await??;
    assert_eq!(std::fs::read_to_string(CONFIG)?, service.config);
    for path in [
        "/usr/local/bin/containerd-shim-wasm-v1",
        "/var/lib/containerd-shim-wasm",
    ] {
        assert!(!Path::new(path).exists(), "{path} is left");
    }
    Ok(())
}
