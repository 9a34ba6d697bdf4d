//! A /24 of its own for each containerd, so that pods of parallel tests do not clash.

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use std::fs::File;
use std::path::Path;

/// A range of addresses, ours for as long as the value lives.
#[derive(Debug)]
pub struct Subnet {
    third: u8,
    // The kernel lets go of the lock with the process, so that a crash frees the range.
    _lock: Flock<File>,
}

impl Subnet {
    /// Takes a range that no parallel test has and that the host does not route.
    ///
    /// # Errors
    /// All of them are taken.
    pub fn lease() -> Result<Self> {
        let dir = std::env::temp_dir().join("medley-test-subnets");
        std::fs::create_dir_all(&dir)?;
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        for third in 1..=250_u8 {
            // /proc/net/route prints the address as a little-endian number.
            if routes.contains(&format!("{third:02X}{:02X}{:02X}", 123, 10)) {
                continue;
            }
            let file = File::create(dir.join(third.to_string()))?;
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Self { third, _lock: lock });
            }
        }
        bail!("no free range of addresses in 10.123.0.0/16")
    }

    /// What each address of the range starts with, such as `10.123.7.`.
    pub fn prefix(&self) -> String {
        format!("10.123.{}.", self.third)
    }

    /// Writes a CNI configuration that gives each pod an address of the range over a
    /// veth pair of its own (no bridge stays behind) and keeps its leases in `data`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_cni(&self, conf_dir: &Path, data: &Path) -> Result<()> {
        std::fs::create_dir_all(conf_dir)?;
        let conf = json!({
            "cniVersion": "0.4.0",
            "name": "medley-test",
            "plugins": [{
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": data,
                    "ranges": [[{"subnet": format!("{}0/24", self.prefix())}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        std::fs::write(
            conf_dir.join("10-medley.conflist"),
            serde_json::to_vec(&conf)?,
        )
        .context("cannot write the CNI configuration")
    }
}
