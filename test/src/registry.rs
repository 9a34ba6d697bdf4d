//! A registry on loopback: Debian's `docker-registry`, with a folder of its own.

use crate::containerd::PATIENCE;
use crate::debian;
use crate::house::unique;
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; it is gone when it is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Registry {
    /// Starts one, and waits until it listens.
    ///
    /// # Errors
    /// Debian's package cannot be fetched, or it does not listen in [`PATIENCE`].
    pub fn start() -> Result<Self> {
        let binary = debian::registry()?;
        let dir = std::env::temp_dir().join(format!("medley-{}", unique()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Free now; should somebody else be quicker, it does not listen, which is told.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = dir.join("config.yml");
        let storage = dir.join("storage");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"{address}\"}}\n",
                storage.display()
            ),
        )?;
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new(&binary)
            .arg("serve")
            .arg(&config)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let mut this = Self {
            child,
            dir,
            address,
        };
        this.wait_ready()?;
        Ok(this)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("the registry ended ({status}): {}", log());
            }
            if Instant::now() > deadline {
                bail!(
                    "the registry does not listen on {}: {}",
                    self.address,
                    log()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The name of an image in it. containerd talks to loopback without TLS.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}:latest", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Errors cannot be returned from here; a folder that stays says so by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}
