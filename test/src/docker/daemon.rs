//! dockerd, the process: its configuration, its start, its end.

use super::Storage;
use crate::Containerd;
use crate::containerd::PATIENCE;
use crate::runtime::Runtime;
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A dockerd; a dropped one that was not closed is killed, and the end of its log shown.
#[derive(Debug)]
pub(super) struct Daemon {
    dir: PathBuf,
    /// Guards the process, which is another one after a restart.
    child: Mutex<Child>,
    closed: bool,
}

impl Daemon {
    pub(super) fn spawn(
        containerd: &Containerd,
        programs: &Path,
        storage: Storage,
    ) -> Result<Self> {
        let dir = containerd.dir().join("docker");
        let settings = settings(containerd, &dir, programs, storage);
        std::fs::write(dir.join("daemon.json"), settings.to_string())?;
        let options = format!("Cache = \"{}\"\n", dir.join("cache").display());
        std::fs::write(dir.join("options.toml"), options)?;
        let child = Mutex::new(spawn(containerd, &dir, programs)?);
        Ok(Self {
            dir,
            child,
            closed: false,
        })
    }

    /// Starts one over the dirs of one that has ended.
    pub(super) fn again(&self, containerd: &Containerd, programs: &Path) -> Result<()> {
        *self.lock() = spawn(containerd, &self.dir, programs)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where clients find it.
    pub(super) fn host(&self) -> String {
        host(&self.dir)
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.lock().id()).unwrap_or(0)
    }

    /// What it mounts for itself: the dir of everything, and the network of `--network host`.
    pub(super) fn own_mounts(&self) -> [PathBuf; 2] {
        ["data", "exec/netns/default"].map(|path| self.dir.join(path))
    }

    /// Fails with the end of its log if it has ended.
    pub(super) fn expect_alive(&self) -> Result<()> {
        match self.lock().try_wait()? {
            Some(status) => bail!("dockerd has ended ({status}):\n{}", self.log_tail()),
            None => Ok(()),
        }
    }

    pub(super) fn stop(&self) -> Result<()> {
        let mut child = self.lock();
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "dockerd does not stop on SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<()> {
        let mut child = self.lock();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops it for good.
    pub(super) fn close(&mut self) -> Result<()> {
        self.stop()?;
        self.unmount();
        self.closed = true;
        Ok(())
    }

    /// It leaves the network of `--network host` mounted, with any runtime.
    fn unmount(&self) {
        for mount in self.own_mounts() {
            // Not there where no container had the host's network, or it has gone by itself.
            umount2(&mount, MntFlags::MNT_DETACH).ok();
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let telling = |line: &&str| !line.contains("level=info");
        let lines: Vec<_> = log.lines().filter(telling).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        eprintln!("end of the log of dockerd:\n{}", self.log_tail());
        // Errors cannot be returned from here: containerd's leftovers takes away what stays.
        self.kill().ok();
        self.unmount();
    }
}

fn host(dir: &Path) -> String {
    format!("unix://{}", dir.join("d.sock").display())
}

fn spawn(containerd: &Containerd, dir: &Path, programs: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    let rest = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let own = [programs.join("usr/bin"), programs.join("usr/sbin")];
    let path = format!("{}:{}:{rest}", own[0].display(), own[1].display());
    enter_network(containerd)
        .arg(own[1].join("dockerd"))
        .arg("--config-file")
        .arg(dir.join("daemon.json"))
        .env("PATH", path)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("DOCKER_HOST")
        // As containerd's.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run nsenter: install util-linux")
}

/// `nsenter`, which becomes the program that is named next.
pub(super) fn enter_network(containerd: &Containerd) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", containerd.pid()));
    command.arg("--");
    command
}

fn settings(containerd: &Containerd, dir: &Path, programs: &Path, storage: Storage) -> Value {
    let mut settings = json!({
        "hosts": [host(dir)],
        "data-root": dir.join("data"),
        "exec-root": dir.join("exec"),
        "pidfile": dir.join("pid"),
        "containerd": containerd.socket(),
        "containerd-namespace": containerd.name(),
        "cgroup-parent": format!("/{}", containerd.name()),
        // Else systemd's on cgroup v2, which has its own names for cgroups.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "features": {"containerd-snapshotter": storage == Storage::Snapshotter},
        "runtimes": {
            "medley": {
                "runtimeType": Runtime::Medley.name(),
                "options": {"ConfigPath": dir.join("options.toml")},
            },
            // As `--add-runtime` has it: containerd's shim for runc calls it.
            "command-line": {"path": containerd.command_line()},
        },
        "init-path": programs.join("usr/bin/docker-init"),
        "userland-proxy-path": programs.join("usr/sbin/docker-proxy"),
        "live-restore": true,
        "shutdown-timeout": 5,
    });
    if storage == Storage::Overlay2 {
        settings["storage-driver"] = json!("overlay2");
    }
    settings
}
