//! A private podman: the installed one, with its storage, its state and its network in namespaces of
//! its own, which end with the test, and all that runs in them.

use crate::containerd::PATIENCE;
use crate::docker::{CommandOutput, finish};
use crate::images::{Image, write_docker_archive};
use crate::leftovers::{Leftovers, unique};
use crate::proc;
use crate::runtime::{Runtime, shim_path};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the first process of the namespaces does, with the dir of the test as `$0`. The shell reaps
/// what is left to it, as a machine's pid 1 does, and ends at the end of the test's process.
const SETUP: &str = r#"
set -e
ip link set lo up
mkdir -p /var/lib/cni /var/lib/containers /var/lib/containerd-shim-wasm
mount -t tmpfs -o mode=755 medley-podman /run
mount -t tmpfs medley-podman /var/lib/cni
mount -t tmpfs medley-podman /var/lib/containers
mount --bind "$0/wasm" /var/lib/containerd-shim-wasm
mkdir -p /run/netns /run/lock /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work medley-podman /etc
cp -r "$0/etc/." /etc/
echo ready
exec 3<&0
while read -r _ <&3; do :; done
"#;

/// podman's network of that name, on a bridge.
const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "podman", "plugins": [
{"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
 "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.88.0.0/16"}]]}},
{"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "tuning"}]}"#;

/// The limits of descriptors and processes are those that any user may set: podman's own are above
/// what a machine without CAP_SYS_RESOURCE allows.
const SETTINGS: &str = r#"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"#;

/// The uid and gid of the user who is not root.
const USER: u32 = 61500;

/// Who runs podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Root.
    Root,
    /// A user with ids of `/etc/subuid`, and no rights.
    User,
}

/// A running private podman.
///
/// [`Podman::close`] removes its containers and fails if anything of them stays on the host. One that
/// is dropped (a test that failed) is killed and removed.
#[derive(Debug)]
pub struct Podman {
    runtime: Runtime,
    by: By,
    name: String,
    dir: PathBuf,
    leftovers: Leftovers,
    /// Guards the ids of pods.
    pods: Mutex<Vec<String>>,
    /// `unshare`, whose only child is the first process of the namespaces.
    outer: Child,
    /// That process.
    inner: u32,
}

impl Podman {
    /// Makes the namespaces for podman with `runtime`.
    ///
    /// # Errors
    /// Not root, no podman, no shim.
    pub fn start(runtime: Runtime, by: By) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "not root, which the tests of podman need"
        );
        crate::stale::sweep();
        let name = unique();
        let dir = std::env::temp_dir().join(format!("medley-{name}"));
        fill(&dir)?;
        let outer = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--ipc",
                "--uts",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["bash", "-c", SETUP])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare: install util-linux")?;
        let leftovers = Leftovers::new(&name, &dir, &dir.join("none"), "none".to_owned());
        let mut this = Self {
            runtime,
            by,
            name,
            dir,
            leftovers,
            pods: Mutex::default(),
            outer,
            inner: 0,
        };
        let mut line = String::new();
        let stdout = this.outer.stdout.take().context("no stdout of unshare")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(
            line == "ready\n",
            "cannot set the namespaces of podman up: see above"
        );
        this.inner = *proc::children_of(this.outer.id())
            .first()
            .context("unshare has no child")?;
        Ok(this)
    }

    /// Runs a test on a podman of its own, which is closed when the test has passed.
    ///
    /// # Errors
    /// As for [`Podman::start`] and [`Podman::close`], and the test's own.
    pub async fn with(
        runtime: Runtime,
        by: By,
        test: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let podman = Self::start(runtime, by)?;
        test(&podman).await?;
        podman.close().await
    }

    /// The runtime that its containers run with.
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// That runtime's program.
    pub fn program(&self) -> PathBuf {
        self.dir.join(match self.runtime {
            Runtime::Medley => "bin/medley",
            Runtime::Runc => "bin/runc",
        })
    }

    /// A word that no other test has, which may be the cgroup of what it runs without podman.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dir with everything of it, which the user may enter.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program in the namespaces, as root.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.inner));
        command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--"]);
        command.arg(program);
        command
    }

    /// The podman client, as the one who runs it.
    pub fn client(&self) -> Command {
        let mut command = match self.by {
            By::Root => self.inside("podman"),
            By::User => {
                let mut command = self.inside("setpriv");
                command.args([&format!("--reuid={USER}"), &format!("--regid={USER}")]);
                command.args(["--clear-groups", "--inh-caps=-all", "podman"]);
                command
            }
        };
        let store = self.dir.join("store");
        for (flag, path) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(flag).arg(store.join(path));
        }
        let driver = match self.by {
            By::Root => "overlay",
            // Not each kernel gives users overlayfs.
            By::User => "vfs",
        };
        command
            .args(["--storage-driver", driver, "--runtime"])
            .arg(self.program());
        command
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("HOME", self.dir.join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.join("home/run"))
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// Runs `podman` with these arguments.
    ///
    /// # Errors
    /// It cannot be run, or does not come to an end; one that fails is no error.
    pub async fn podman(&self, args: &[&str]) -> Result<CommandOutput> {
        let mut command = self.client();
        command.args(args);
        finish(command, None).await
    }

    /// As [`Podman::podman`], and types `input` first.
    ///
    /// # Errors
    /// As for [`Podman::podman`].
    pub async fn podman_reads(&self, input: &str, args: &[&str]) -> Result<CommandOutput> {
        let mut command = self.client();
        command.args(args);
        finish(command, Some(input)).await
    }

    /// What `podman` says on stdout, trimmed at its end.
    ///
    /// # Errors
    /// It fails.
    pub async fn says(&self, args: &[&str]) -> Result<String> {
        let said = self.podman(args).await?;
        said.text()
            .with_context(|| format!("podman {}", args.join(" ")))
    }

    /// `run --detach` of a container called `name`; returns its id.
    ///
    /// # Errors
    /// It fails.
    pub async fn up(&self, name: &str, args: &[&str]) -> Result<String> {
        let id = self
            .says(&[&["run", "--detach", "--name", name], args].concat())
            .await?;
        self.leftovers.expect_gone("podman", &id);
        Ok(id)
    }

    /// Remembers the pods that there are, whose cgroups are to be removed.
    ///
    /// # Errors
    /// podman does not list them.
    pub async fn remember_pods(&self) -> Result<()> {
        let all = self.says(&["pod", "ps", "-q", "--no-trunc"]).await?;
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.extend(all.lines().map(str::to_owned));
        Ok(())
    }

    /// `inspect` by a template.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn inspect(&self, name: &str, template: &str) -> Result<String> {
        self.says(&["inspect", "--format", template, name]).await
    }

    /// Waits until `podman` says what is expected, and returns that; both streams are looked at.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until_says(&self, args: &[&str], is_so: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.podman(args).await?;
            let text = said.out + &said.err;
            if is_so(&text) {
                return Ok(text);
            }
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "podman {} still says: {text}", args.join(" "));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Loads images as `podman load` does.
    ///
    /// # Errors
    /// `podman load` says no.
    pub async fn load(&self, images: &[&Image]) -> Result<()> {
        for image in images {
            let path = self.dir.join(format!("{}.tar", unique()));
            write_docker_archive(&path, &[image])?;
            self.says(&["load", "-q", "-i", &path.to_string_lossy()])
                .await?;
            std::fs::remove_file(&path)?;
        }
        Ok(())
    }

    /// Removes the containers and pods that are left; then checks that nothing of them stays on the
    /// host, and ends the namespaces.
    ///
    /// # Errors
    /// The list of what was left behind. It is gone all the same.
    pub async fn close(mut self) -> Result<()> {
        for id in self.says(&["ps", "-a", "-q", "--no-trunc"]).await?.lines() {
            self.leftovers.expect_gone("podman", id);
        }
        self.remember_pods().await?;
        self.says(&["pod", "rm", "--all", "--force", "-t", "0"])
            .await?;
        self.says(&["rm", "--all", "--force", "-t", "0"]).await?;
        let own: Vec<i32> = self.own_processes();
        let left = self.leftovers.settle(&own, Duration::from_secs(10));
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        self.end()
    }

    /// The processes that live as long as the namespaces, among them what rootless podman keeps its
    /// user namespace by.
    fn own_processes(&self) -> Vec<i32> {
        let mut own = vec![self.outer.id(), self.inner];
        own.extend(proc::children_of(self.inner).into_iter().filter(|pid| {
            let name = proc::field(*pid, "Name").unwrap_or_default();
            name == "catatonit" || name.starts_with("podman")
        }));
        own.into_iter()
            .filter_map(|pid| i32::try_from(pid).ok())
            .collect()
    }

    /// Ends the namespaces: the first process reads no more.
    fn end(&mut self) -> Result<()> {
        drop(self.outer.stdin.take());
        self.outer.wait()?;
        self.leftovers.sweep()?;
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        remove_parents(&pods);
        pods.clear();
        drop(pods);
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Errors cannot be returned from here: what stays is taken away at the start of the next run.
        self.end().ok();
    }
}

/// Removes the cgroups of pods, which podman leaves in some hierarchies, and the one that it makes for
/// them all, unless another podman uses it.
fn remove_parents(pods: &[String]) {
    const ROOT: &str = "/sys/fs/cgroup";
    let entries = std::fs::read_dir(ROOT).into_iter().flatten().flatten();
    let hierarchies = entries.map(|entry| entry.path());
    for root in hierarchies.chain([PathBuf::from(ROOT)]) {
        let parent = root.join("libpod_parent");
        for dir in pods
            .iter()
            .map(|pod| parent.join(pod))
            .chain([parent.clone()])
        {
            // Not there, or in use.
            std::fs::remove_dir(dir).ok();
        }
    }
}

/// Writes what podman reads.
fn fill(dir: &Path) -> Result<()> {
    for part in ["bin", "wasm", "etc/cni/net.d", "home/run", "store"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists());
    std::os::unix::fs::symlink(
        runc.context("no runc: install Debian's runc")?,
        dir.join("bin/runc"),
    )?;
    // The user may not get to where the shim was built.
    std::fs::copy(shim_path()?, dir.join("bin/medley"))?;
    std::fs::write(dir.join("etc/cni/net.d/87-podman-bridge.conflist"), NETWORK)?;
    std::fs::write(dir.join("containers.conf"), SETTINGS)?;
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let user = format!("medleyuser:x:{USER}:{USER}::/:/bin/sh\n");
    std::fs::write(dir.join("etc/passwd"), passwd + &user)?;
    let group = std::fs::read_to_string("/etc/group")?;
    std::fs::write(
        dir.join("etc/group"),
        format!("{group}medleyuser:x:{USER}:\n"),
    )?;
    for ids in ["subuid", "subgid"] {
        std::fs::write(dir.join("etc").join(ids), "medleyuser:2000000:65536\n")?;
    }
    for part in ["home", "home/run", "store"] {
        std::os::unix::fs::chown(dir.join(part), Some(USER), Some(USER))?;
    }
    Ok(())
}

/// Makes two tests out of an async function that takes a [`Podman`] run by root: of Medley, and of runc,
/// which tests the tests.
#[macro_export]
macro_rules! each_podman {
    ($($tests:tt)*) => {
        $crate::podman_of! { [medley(Medley, Root) runc(Runc, Root)] $($tests)* }
    };
}

/// As [`each_podman`], and the same again by a user who is not root.
#[macro_export]
macro_rules! each_podman_and_user {
    ($($tests:tt)*) => {
        $crate::podman_of! {
            [medley(Medley, Root) runc(Runc, Root) runc_rootless(Runc, User)] $($tests)*
        }
    };
}

/// Makes a test out of each async function for each of the runtimes and users in brackets.
#[macro_export]
macro_rules! podman_of {
    ($all:tt $($(#[$meta:meta])* async fn $name:ident($podman:ident: &Podman) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($podman: &$crate::podman::Podman) -> $crate::Result<()> $body
            $crate::podman_tests! { $all }
        }
    )*};
}

/// Tests that run the `body` beside them on a [`Podman`] with this runtime, run by this one.
#[macro_export]
macro_rules! podman_tests {
    ([$($name:ident($runtime:ident, $by:ident))*]) => {$(
        #[tokio::test]
        async fn $name() -> $crate::Result<()> {
            $crate::podman::Podman::with($crate::Runtime::$runtime, $crate::podman::By::$by, body).await
        }
    )*};
}
