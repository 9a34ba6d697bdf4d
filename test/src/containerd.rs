//! A private containerd: own dirs, own sockets, own network, gone without a trace.

use crate::images::{Image, write_layout};
use crate::leftovers::{Leftovers, Process, unique};
use crate::net::Subnet;
use crate::runtime::{Runtime, shim_path};
use crate::{Client, Cri, Engine};
use anyhow::{Context, Result, bail, ensure};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod process;

/// How long anything that ought to be quick may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The namespace that the CRI plugin keeps its containers in.
pub const CRI_NAMESPACE: &str = "k8s.io";

/// What a [`Containerd`] is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The runtime that its clients use unless told otherwise.
    pub runtime: Runtime,
    /// The containerd to run; `ctr` is taken from the same dir.
    pub binary: PathBuf,
    /// Lines added to the end of its configuration.
    pub extra_config: String,
    /// Whether containerd and its shims log debug lines.
    pub debug: bool,
    /// Variables of its environment, and so of its shims'.
    pub env: Vec<(String, String)>,
    /// Whether it is run by `nohup`, which has it and all that it runs ignore SIGHUP.
    pub nohup: bool,
    /// Whether it is started with descriptor 9 on the node's root.
    pub with_root_open: bool,
    /// Whether it runs in a network namespace of its own, with nothing but `lo` in it.
    pub own_network: bool,
    /// A program that changes what it has been given and then runs it, with its arguments.
    pub run_by: Vec<String>,
}

impl Options {
    /// The installed containerd, with `runtime`.
    pub fn new(runtime: Runtime) -> Self {
        let binary = ["/usr/bin/containerd", "/usr/local/bin/containerd"]
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from("/usr/bin/containerd"));
        Self {
            runtime,
            binary,
            extra_config: String::new(),
            debug: false,
            env: Vec::new(),
            nohup: false,
            with_root_open: false,
            own_network: false,
            run_by: Vec::new(),
        }
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has a program run it, which gets its command line after these arguments.
    #[must_use]
    pub fn run_by(mut self, command: &[&str]) -> Self {
        self.run_by = command.iter().map(ToString::to_string).collect();
        self
    }

    /// For a shim that does not have this engine, be its program beside it or not.
    #[must_use]
    pub fn without(self, engine: Engine) -> Self {
        let name = engine.name().to_uppercase();
        self.env(&format!("CONTAINERD_SHIM_WASM_{name}"), "off")
    }
}

impl From<Runtime> for Options {
    fn from(runtime: Runtime) -> Self {
        Self::new(runtime)
    }
}

/// A running private containerd.
///
/// [`Containerd::close`] removes what is left in it and fails if anything stays on
/// the host. A dropped one (a test that failed) kills and removes everything without a word,
/// and shows the end of its log.
#[derive(Debug)]
pub struct Containerd {
    options: Options,
    name: String,
    dir: PathBuf,
    child: Child,
    leftovers: Arc<Leftovers>,
    _subnet: Subnet,
    closed: bool,
}

impl Containerd {
    /// Starts the installed containerd with `runtime` and waits until it answers.
    ///
    /// # Errors
    /// Not root, no containerd, no shim, or it does not answer in [`PATIENCE`].
    pub async fn start(runtime: Runtime) -> Result<Self> {
        Self::start_with(Options::new(runtime)).await
    }

    /// Starts one with an image in it, and connects a client: what most tests need.
    ///
    /// # Errors
    /// As for [`Containerd::start`], [`Containerd::import`] and [`Containerd::client`].
    pub async fn with_image(
        options: impl Into<Options>,
        image: Image,
    ) -> Result<(Self, Client, Image)> {
        let this = Self::start_with(options.into()).await?;
        this.import(&[&image]).await?;
        let client = this.client().await?;
        Ok((this, client, image))
    }

    /// Starts a containerd with `options` and waits until it answers.
    ///
    /// # Errors
    /// As for [`Containerd::start`].
    pub async fn start_with(options: Options) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "a private containerd needs root"
        );
        ensure!(
            options.binary.exists(),
            "no containerd at {}: install Debian's containerd",
            options.binary.display()
        );
        crate::stale::sweep();
        let name = unique();
        // Short, as socket paths end at 107 bytes.
        let dir = std::env::temp_dir().join(format!("medley-{name}"));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let subnet = Subnet::lease()?;
        subnet.write_cni(&dir.join("cni"), &dir.join("cni-data"))?;
        std::fs::create_dir(dir.join("bin"))?;
        match shim_path() {
            Ok(shim) => symlink(shim, dir.join("bin").join(Runtime::Medley.binary()))?,
            Err(error) if options.runtime == Runtime::Medley => {
                std::fs::remove_dir_all(&dir)?;
                return Err(error);
            }
            // runc tests the tests without it.
            Err(_) => {}
        }
        process::command_line(&dir)?;
        let socket = dir.join("c.sock");
        std::fs::write(
            dir.join("config.toml"),
            process::config(&dir, &socket, &options),
        )?;
        let child = process::spawn(&dir, &options)?;
        let leftovers = Arc::new(Leftovers::new(&name, &dir, &socket, subnet.prefix()));
        let this = Self {
            options,
            name,
            dir,
            child,
            leftovers,
            _subnet: subnet,
            closed: false,
        };
        this.wait_ready().await?;
        Ok(this)
    }

    async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = match containerd_client::Client::from_path(self.socket()).await {
                Ok(client) => client
                    .version()
                    .version(())
                    .await
                    .map_err(anyhow::Error::from),
                Err(error) => Err(error.into()),
            };
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("containerd does not answer"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Its name, which is also the containerd namespace of [`Containerd::client`] and
    /// the parent cgroup of everything in it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The runtime that its clients use.
    pub fn runtime(&self) -> Runtime {
        self.options.runtime
    }

    /// The dir with everything of it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// Medley's command line, for what calls an OCI runtime.
    pub fn command_line(&self) -> PathBuf {
        self.dir.join(process::COMMAND_LINE)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// What watches over its leftovers.
    pub fn leftovers(&self) -> &Arc<Leftovers> {
        &self.leftovers
    }

    /// What it and its shims have logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A client of its task API, in the namespace [`Containerd::name`].
    ///
    /// # Errors
    /// The socket does not answer.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self).await
    }

    /// A client of its CRI plugin.
    ///
    /// # Errors
    /// The socket does not answer.
    pub async fn cri(&self) -> Result<Cri> {
        Cri::connect(self).await
    }

    /// Runs `ctr` in the namespace [`Containerd::name`].
    ///
    /// # Errors
    /// `ctr` cannot be run, or does not come to an end within [`PATIENCE`]; one that
    /// fails is no error.
    pub async fn ctr(&self, args: &[&str]) -> Result<std::process::Output> {
        self.ctr_in(&self.name, args).await
    }

    async fn ctr_in(&self, namespace: &str, args: &[&str]) -> Result<std::process::Output> {
        let beside = self.options.binary.with_file_name("ctr");
        let ctr = if beside.exists() {
            beside
        } else {
            PathBuf::from("ctr")
        };
        let running = tokio::process::Command::new(ctr)
            .arg("-a")
            .arg(self.socket())
            .args(["-n", namespace])
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let done = tokio::time::timeout(PATIENCE, running).await;
        done.with_context(|| format!("`ctr {}` does not end", args.join(" ")))?
            .context("cannot run ctr")
    }

    /// Imports images for [`Containerd::client`].
    ///
    /// # Errors
    /// `ctr` says no.
    pub async fn import(&self, images: &[&Image]) -> Result<()> {
        self.import_into(&self.name, images).await
    }

    /// Imports images for [`Containerd::cri`], together with the pods' sandbox image,
    /// and waits until the CRI plugin has seen them.
    ///
    /// # Errors
    /// `ctr` says no, or the CRI plugin does not see them.
    pub async fn import_cri(&self, images: &[&Image]) -> Result<()> {
        let sandbox = sandbox_image()?;
        let all: Vec<_> = images.iter().copied().chain([&sandbox]).collect();
        self.import_into(CRI_NAMESPACE, &all).await?;
        let cri = self.cri().await?;
        for image in all {
            cri.wait_for_image(&image.name).await?;
        }
        Ok(())
    }

    /// As [`Containerd::import_cri`], with nothing of the images unpacked.
    ///
    /// # Errors
    /// As for [`Containerd::import_cri`].
    pub async fn import_cri_packed(&self, images: &[&Image]) -> Result<()> {
        let how = ["--all-platforms", "--no-unpack"];
        self.import_with(CRI_NAMESPACE, images, &how).await?;
        let cri = self.cri().await?;
        for image in images {
            cri.wait_for_image(&image.name).await?;
        }
        self.import_cri(&[]).await
    }

    /// Imports images as they are, for [`Containerd::client`]: all their platforms, and nothing of
    /// them unpacked.
    ///
    /// # Errors
    /// `ctr` says no.
    pub async fn import_packed(&self, images: &[&Image]) -> Result<()> {
        self.import_with(&self.name, images, &["--all-platforms", "--no-unpack"])
            .await
    }

    async fn import_into(&self, namespace: &str, images: &[&Image]) -> Result<()> {
        self.import_with(namespace, images, &[]).await
    }

    async fn import_with(&self, namespace: &str, images: &[&Image], how: &[&str]) -> Result<()> {
        let path = self.dir.join(format!("{}.tar", unique()));
        write_layout(&path, images)?;
        let file = path.to_string_lossy();
        let import = |local: &'static [&'static str]| {
            let args = [&["image", "import"][..], local, how, &[&*file]].concat();
            async move { self.ctr_in(namespace, &args).await }
        };
        let done = import(&["--local"]).await?;
        let done = if done.status.success() {
            done
        } else {
            // Before 2.0 there is no `--local`, and that way is the only one.
            import(&[]).await?
        };
        std::fs::remove_file(&path)?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "cannot import images: {stderr}");
        Ok(())
    }

    /// The shim processes that serve containers of this containerd: they run in the
    /// host's pid namespace, the init of a Wasm container does not.
    pub fn shims(&self) -> Vec<Process> {
        let host = std::fs::read_link("/proc/self/ns/pid").ok();
        let all = self.leftovers.processes().into_iter();
        let shims = all.filter(|process| {
            let argv0 = process.cmdline.split(' ').next().unwrap_or_default();
            [argv0, process.exe.as_str()]
                .iter()
                .any(|path| path.contains("containerd-shim-"))
        });
        shims
            .filter(|p| std::fs::read_link(format!("/proc/{}/ns/pid", p.pid)).ok() == host)
            .collect()
    }

    /// Kills containerd and starts it again over the same dirs; shims stay.
    ///
    /// # Errors
    /// As for [`Containerd::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.restart_after(async || Ok(())).await
    }

    /// As [`Containerd::restart`], and does something while no containerd is there.
    ///
    /// # Errors
    /// As for [`Containerd::start`], or what `meanwhile` fails with.
    pub async fn restart_after(
        &mut self,
        meanwhile: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        meanwhile().await?;
        self.child = process::spawn(&self.dir, &self.options)?;
        self.wait_ready().await
    }

    /// Fails if anything but containerd itself is left; containers must have been deleted.
    ///
    /// # Errors
    /// The list of what is left.
    pub fn expect_clean(&self) -> Result<()> {
        let left = self
            .leftovers
            .settle(&[self.pid()], Duration::from_secs(10));
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }

    /// Removes the pods, containers and tasks that are left, through containerd;
    /// then checks that nothing stays on the host, stops containerd, and checks again.
    ///
    /// # Errors
    /// The list of what was left behind. It is gone all the same.
    pub async fn close(mut self) -> Result<()> {
        let polite = self.remove_all().await;
        let clean = self.expect_clean();
        let stopped = self.stop();
        let left = self.leftovers.settle(&[], Duration::from_secs(5));
        // Said first, as the end of the log is only worth showing where something went wrong.
        self.closed = polite.is_ok() && clean.is_ok() && stopped.is_ok() && left.is_empty();
        self.finish();
        polite.context("cannot remove what the test made")?;
        clean?;
        stopped?;
        ensure!(
            left.is_empty(),
            "left behind without containerd:\n  {}",
            left.join("\n  ")
        );
        Ok(())
    }

    async fn remove_all(&self) -> Result<()> {
        self.cri().await?.remove_all().await?;
        self.client().await?.remove_all().await
    }

    fn stop(&mut self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("containerd does not stop on SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Takes down what is still there; nothing to do after a clean stop.
    fn finish(&mut self) {
        // Errors cannot be returned from here: what stays is in the last inspection.
        self.child.kill().ok();
        self.child.wait().ok();
        self.leftovers.sweep().ok();
        let log = self.log();
        if std::env::var_os("MEDLEY_KEEP").is_none() {
            std::fs::remove_dir_all(&self.dir).ok();
        }
        let left = self.leftovers.inspect(&[]);
        if !left.is_empty() {
            eprintln!("cannot remove:\n  {}", left.join("\n  "));
        }
        if std::thread::panicking() || !self.closed {
            let tail = process::telling_tail(&log);
            eprintln!(
                "end of the log of {}:\n{}",
                self.options.binary.display(),
                tail
            );
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if self.dir.exists() {
            self.finish();
        }
    }
}

/// The image of every pod's sandbox: busybox, asleep.
///
/// # Errors
/// As for [`crate::images::linux`].
pub fn sandbox_image() -> Result<Image> {
    crate::images::linux_builder("pause")?
        .entrypoint(["/bin/sleep", "2147483647"])
        .build()
}
