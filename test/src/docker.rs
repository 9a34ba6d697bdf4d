//! A private Docker: a dockerd of its own over a containerd of its own, both of Debian testing and
//! in a network of their own, so that its bridge and its packet filter never meet the host's.

use crate::images::{Image, write_docker_archive};
use crate::{Containerd, Options, Runtime, debian};
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

mod calls;
mod daemon;
mod terminal;

pub use calls::{CommandOutput, finish};
use daemon::Daemon;
pub use terminal::Terminal;

/// Who mounts the root of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// containerd's snapshotter: Create names mounts, and the shim mounts them.
    Snapshotter,
    /// Docker's own graph driver `overlay2`: dockerd mounts it, and Create names no mounts.
    Overlay2,
}

/// A running private Docker.
///
/// [`Docker::close`] removes what is left in it and fails if anything stays on the host. A dropped
/// one (a test that failed) kills and removes everything, and shows the end of its logs.
#[derive(Debug)]
pub struct Docker {
    // Dropped in this order: what dockerd leaves, containerd's leftovers takes away.
    daemon: Daemon,
    containerd: Containerd,
    /// Debian's packages, unpacked.
    programs: PathBuf,
    storage: Storage,
}

impl Docker {
    /// Starts one whose containers run with `runtime`, and waits until it answers.
    ///
    /// # Errors
    /// Not root, Debian's packages cannot be fetched, no shim, or it does not answer in time.
    pub async fn start(runtime: Runtime, storage: Storage) -> Result<Self> {
        let programs = debian::docker()?;
        let mut options = Options::new(runtime);
        options.binary = debian::containerd("testing")?;
        options.own_network = true;
        let containerd = Containerd::start_with(options).await?;
        let dir = containerd.dir().join("docker");
        std::fs::create_dir_all(dir.join("client"))?;
        let plugins = programs.join("usr/libexec/docker/cli-plugins");
        let client = json!({"cliPluginsExtraDirs": [plugins]});
        std::fs::write(dir.join("client/config.json"), client.to_string())?;
        let daemon = Daemon::spawn(&containerd, &programs, storage)?;
        for mount in daemon.own_mounts() {
            containerd.leftovers().keep_mount(&mount);
        }
        let this = Self {
            daemon,
            containerd,
            programs,
            storage,
        };
        this.wait_ready().await?;
        Ok(this)
    }

    /// Runs a test on a Docker of its own, which is closed when the test has passed.
    ///
    /// # Errors
    /// As for [`Docker::start`] and [`Docker::close`], and the test's own.
    pub async fn with(
        runtime: Runtime,
        storage: Storage,
        test: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let docker = Self::start(runtime, storage).await?;
        test(&docker).await?;
        docker.close().await
    }

    async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + crate::containerd::PATIENCE;
        loop {
            let asked = self.docker(&["version"]).await?;
            if asked.code == 0 {
                return Ok(());
            }
            self.daemon.expect_alive()?;
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "dockerd does not answer: {}", asked.err);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The containerd below it, whose [`Containerd::client`] sees the containers, too.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The runtime that its containers run with.
    pub fn runtime(&self) -> Runtime {
        self.containerd.runtime()
    }

    /// Who mounts the roots of its containers.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The dir with everything of dockerd.
    pub fn dir(&self) -> &Path {
        self.daemon.dir()
    }

    /// The docker client, told which daemon to talk to.
    pub fn client(&self) -> Command {
        let mut command = Command::new(self.programs.join("usr/bin/docker"));
        command
            .env("DOCKER_HOST", self.daemon.host())
            .env("DOCKER_CONFIG", self.dir().join("client"))
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_DEFAULT_PLATFORM");
        command
    }

    /// A program in the network of dockerd, where the published ports are.
    pub fn in_network(&self, program: &str) -> Command {
        let mut command = daemon::enter_network(&self.containerd);
        command.arg(program);
        command
    }

    /// Loads images as `docker load` does.
    ///
    /// # Errors
    /// `docker load` says no.
    pub async fn load(&self, images: &[&Image]) -> Result<()> {
        let path = self
            .dir()
            .join(format!("{}.tar", crate::leftovers::unique()));
        write_docker_archive(&path, images)?;
        self.says(&["load", "-q", "-i", &path.to_string_lossy()])
            .await?;
        Ok(std::fs::remove_file(&path)?)
    }

    /// Has dockerd end as at an update, with SIGTERM, and starts it again over the same dirs.
    /// Containers run on meanwhile: it is configured so.
    ///
    /// # Errors
    /// It does not end, does not come back, or what `meanwhile` fails with.
    pub async fn restart_after(&self, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        self.daemon.stop()?;
        meanwhile().await?;
        self.daemon.again(&self.containerd, &self.programs)?;
        self.wait_ready().await
    }

    /// As [`Docker::restart_after`], but dockerd is killed with SIGKILL.
    ///
    /// # Errors
    /// As for [`Docker::restart_after`].
    pub async fn killed(&self, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        self.daemon.kill()?;
        meanwhile().await?;
        self.daemon.again(&self.containerd, &self.programs)?;
        self.wait_ready().await
    }

    /// Fails if anything but the two daemons is left; containers must have been removed.
    ///
    /// # Errors
    /// The list of what is left.
    pub fn expect_clean(&self) -> Result<()> {
        let leftovers = self.containerd.leftovers();
        // containerd names every shim that it talks to.
        for line in self.containerd.log().lines() {
            if let Some((_, rest)) = line.split_once("connecting to shim ") {
                let id = rest.split(['"', ' ']).next().unwrap_or_default();
                leftovers.expect_gone(self.containerd.name(), id);
            }
        }
        let daemons = [self.containerd.pid(), self.daemon.pid()];
        let left = leftovers.settle(&daemons, Duration::from_secs(10));
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }

    /// Removes the containers that are left; then checks that nothing stays on the host, stops
    /// dockerd and containerd, and checks again.
    ///
    /// # Errors
    /// The list of what was left behind. It is gone all the same.
    pub async fn close(mut self) -> Result<()> {
        let all = self.says(&["ps", "--all", "--quiet"]).await?;
        let ids: Vec<_> = all.lines().collect();
        if !ids.is_empty() {
            self.says(&[&["rm", "--force", "--volumes"][..], &ids].concat())
                .await?;
        }
        self.expect_clean()?;
        self.daemon.close()?;
        self.containerd.leftovers().keep_no_mount();
        self.containerd.close().await
    }
}

/// Makes two tests out of an async function that takes a [`Docker`]: of Medley, and of runc, which
/// tests the tests.
#[macro_export]
macro_rules! each_docker {
    ($($(#[$meta:meta])* async fn $name:ident($docker:ident: &Docker) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($docker: &$crate::Docker) -> $crate::Result<()> $body
            $crate::docker_tests! {
                medley(Medley, Snapshotter)
                runc(Runc, Snapshotter)
            }
        }
    )*};
}

/// As [`each_docker`], and a third test: of Medley where Docker mounts the roots itself.
#[macro_export]
macro_rules! each_docker_and_storage {
    ($($(#[$meta:meta])* async fn $name:ident($docker:ident: &Docker) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($docker: &$crate::Docker) -> $crate::Result<()> $body
            $crate::docker_tests! {
                medley(Medley, Snapshotter)
                medley_on_overlay2(Medley, Overlay2)
                runc(Runc, Snapshotter)
            }
        }
    )*};
}

/// Tests that run the `body` beside them on a [`Docker`] of this runtime and this storage.
#[macro_export]
macro_rules! docker_tests {
    ($($name:ident($runtime:ident, $storage:ident))*) => {$(
        #[tokio::test]
        async fn $name() -> $crate::Result<()> {
            $crate::Docker::with($crate::Runtime::$runtime, $crate::Storage::$storage, body).await
        }
    )*};
}
