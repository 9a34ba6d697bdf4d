//! Certificates, and a server that speaks TLS: OpenSSL's own, on loopback.

use crate::leftovers::unique;
use crate::loopback::Loopback;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What its authority's certificate is called in its dir.
const AUTHORITY: &str = "authority.pem";

/// A server's certificate, signed by an authority that no bundle has; its files are removed when it is
/// dropped.
#[derive(Debug)]
pub struct Certificate(PathBuf);

impl Certificate {
    /// Makes one for this address.
    ///
    /// # Errors
    /// There is no `openssl`.
    pub fn new(ip: IpAddr) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-{}", unique()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let this = Self(dir);
        certify(&this.0, ip)?;
        Ok(this)
    }

    /// The certificate, in PEM.
    pub fn chain(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    /// Its key, in PEM.
    pub fn key(&self) -> PathBuf {
        self.0.join("server.key")
    }

    /// The certificate of who vouches for it, in PEM.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority(&self) -> Result<Vec<u8>> {
        authority(&self.0)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // Errors cannot be returned from here; a dir that stays says so by itself.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A running server that answers `/hello`; it is gone when it is dropped. An authority that no client
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
            certify(dir, address.ip())?;
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
        authority(self.0.dir())
    }
}

fn authority(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join(AUTHORITY);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes an authority in a dir, and a server's certificate that it vouches for.
fn certify(dir: &Path, ip: IpAddr) -> Result<()> {
    let request = "req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let authority = format!("-keyout authority.key -out {AUTHORITY} -subj /CN=authority");
    let server = format!(
        "-keyout server.key -out server.pem -subj /CN=server -CA {AUTHORITY} \
         -CAkey authority.key -addext basicConstraints=critical,CA:FALSE \
         -addext subjectAltName=IP:{ip}"
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
    Ok(())
}

fn openssl(dir: &Path, args: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(args.split_whitespace()).current_dir(dir);
    command
}
