//! A registry on loopback: Debian's `docker-registry`.

use crate::debian;
use crate::loopback::Loopback;
use anyhow::Result;
use std::process::Command;

/// A running registry; it is gone when it is dropped.
#[derive(Debug)]
pub struct Registry(Loopback);

impl Registry {
    /// Starts one, and waits until it listens.
    ///
    /// # Errors
    /// Debian's package cannot be fetched, or it does not listen.
    pub fn start() -> Result<Self> {
        let binary = debian::registry()?;
        let server = Loopback::start(|dir, address| {
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
            let mut command = Command::new(binary);
            command.arg("serve").arg(config);
            Ok(command)
        })?;
        Ok(Self(server))
    }

    /// The name of an image in it. containerd talks to loopback without TLS.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}:latest", self.0.address())
    }
}
