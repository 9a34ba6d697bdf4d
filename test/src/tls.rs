//! A server that speaks TLS: OpenSSL's own, on loopback.

use crate::loopback::Loopback;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// What its authority's certificate is called in its folder.
const AUTHORITY: &str = "authority.pem";

/// A running server that answers `/hello`; it is gone when it is dropped. An authority that nobody
/// knows vouches for it.
#[derive(Debug)]
pub struct SecureServer(Loopback);

impl SecureServer {
    /// Starts one, and waits until it listens.
    ///
    /// # Errors
    /// There is no `openssl`, or it does not listen.
    pub fn start() -> Result<Self> {
        let server = Loopback::start(|dir, address| {
            let request = "req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";
            let authority = format!("-keyout authority.key -out {AUTHORITY} -subj /CN=authority");
            let server = format!(
                "-keyout server.key -out server.pem -subj /CN=server -CA {AUTHORITY} \
                 -CAkey authority.key -addext basicConstraints=critical,CA:FALSE \
                 -addext subjectAltName=IP:{}",
                address.ip()
            );
            for certificate in [authority, server] {
                let mut command = openssl(dir, &format!("{request} {certificate}"));
                let done = command.output().context("cannot run openssl")?;
                ensure!(
                    done.status.success(),
                    "openssl: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
            std::fs::write(dir.join("hello"), "hello\n")?;
            let serve = format!("s_server -WWW -accept {address} -cert server.pem -key server.key");
            Ok(openssl(dir, &serve))
        })?;
        Ok(Self(server))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// The certificate of who vouches for it, in PEM.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority(&self) -> Result<Vec<u8>> {
        let path = self.0.dir().join(AUTHORITY);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

fn openssl(dir: &Path, args: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(args.split_whitespace()).current_dir(dir);
    command
}
