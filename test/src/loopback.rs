//! Servers of other programs on loopback, each with a dir of its own.

use crate::containerd::PATIENCE;
use crate::leftovers::unique;
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Loopback {
    child: Child,
    dir: Dir,
    address: SocketAddr,
}

/// A dir that is removed when it is dropped.
#[derive(Debug)]
struct Dir(PathBuf);

impl Loopback {
    /// Runs what `command` makes of its dir and its address, and waits until it listens.
    ///
    /// # Errors
    /// It cannot be run, or does not listen in [`PATIENCE`].
    pub(crate) fn start(
        command: impl FnOnce(&Path, SocketAddr) -> Result<Command>,
    ) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-{}", unique()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = Dir(dir);
        // Free now; should another process be quicker, it does not listen, which is told.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = command(&dir.0, address)?;
        let log = std::fs::File::create(dir.0.join("log"))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let mut this = Self {
            child,
            dir,
            address,
        };
        this.wait_ready(&command)?;
        Ok(this)
    }

    fn wait_ready(&mut self, command: &Command) -> Result<()> {
        let name = command.get_program().display();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.dir.0.join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended ({status}): {}", log());
            }
            if Instant::now() > deadline {
                bail!("{name} does not listen on {}: {}", self.address, log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its dir.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir.0
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Errors cannot be returned from here; a dir that stays says so by itself.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
