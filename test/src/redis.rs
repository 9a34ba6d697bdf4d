//! Redis on loopback: Debian's `redis-server`.

use crate::debian;
use crate::loopback::Loopback;
use anyhow::Result;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A running server, which keeps nothing; it is gone when it is dropped.
#[derive(Debug)]
pub struct Redis(Loopback);

impl Redis {
    /// Starts one, and waits until it listens.
    ///
    /// # Errors
    /// Debian's packages cannot be fetched, or it does not listen.
    pub fn start() -> Result<Self> {
        let root = debian::redis()?;
        let server = Loopback::start(|dir, address| {
            let mut command = Command::new(root.join("usr/bin/redis-check-rdb"));
            // Debian's programs of Redis are one, told apart by its name.
            command
                .arg0("redis-server")
                .env("LD_LIBRARY_PATH", libraries(&root))
                .args(["--bind", &address.ip().to_string()])
                .args(["--port", &address.port().to_string()])
                .args(["--save", "", "--appendonly", "no", "--dir"])
                .arg(dir);
            Ok(command)
        })?;
        Ok(Self(server))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.0.address())
    }
}

fn libraries(root: &std::path::Path) -> std::path::PathBuf {
    root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}
