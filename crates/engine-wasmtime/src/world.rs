//! The guest's world, the same for modules and components.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use medley_engine::{Ended, Guest};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::chain;
use crate::limiter::Limiter;
use crate::output::Output;

/// What the guest reads as its working directory. WASI preview 1 has none of its own; Go and
/// others read this variable.
const PWD: &str = "PWD";

/// A builder with all that `guest` names. Preopens that are not there, or that the container's
/// user may not open, are left out: the guest gets ENOENT where a Linux program gets EACCES.
pub(crate) fn builder(guest: &Guest) -> std::io::Result<WasiCtxBuilder> {
    let mut builder = WasiCtxBuilder::new();
    surroundings(&mut builder, guest);
    builder
        .inherit_stdin()
        .stdout(Output::of(std::io::stdout())?)
        .stderr(Output::of(std::io::stderr())?)
        // One guest in one process: a blocking read blocks nobody else.
        .allow_blocking_current_thread(true);
    preopens(&mut builder, guest);
    Ok(builder)
}

/// Arguments, environment and network.
pub(crate) fn surroundings(builder: &mut WasiCtxBuilder, guest: &Guest) {
    builder
        .args(&guest.args)
        .envs(&guest.env)
        .initial_cwd(&guest.cwd)
        .inherit_network()
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
    if !guest.env.iter().any(|(name, _)| name == PWD) {
        builder.env(PWD, &guest.cwd);
    }
}

/// The folders.
pub(crate) fn preopens(builder: &mut WasiCtxBuilder, guest: &Guest) {
    for preopen in &guest.preopens {
        if !Path::new(&preopen.path).is_dir() {
            continue;
        }
        let permissions = if preopen.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        // Not readable for the container's user: as if it were not there.
        if builder
            .preopened_dir(&preopen.path, &preopen.name, permissions)
            .is_err()
        {
            continue;
        }
    }
}

/// An unbuffered handle of our own stdout or stderr: whatever the guest wrote is out, however
/// the process ends.
pub(crate) fn stdio(stream: impl AsFd) -> std::io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// A runtime for one guest: no threads but those that block.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Why a guest could not be instantiated: for want of memory, or what the engine says.
pub(crate) fn not_started(error: &wasmtime::Error, limiter: &Limiter) -> Ended {
    let refused = limiter.refused().map(|refused| refused.to_string());
    Ended::NotStarted(refused.unwrap_or_else(|| chain(error)))
}

/// How a guest ended, told from what its call gave.
pub(crate) fn ended(path: &Path, result: Result<(), wasmtime::Error>) -> Ended {
    let Err(error) = result else {
        return Ended::Exited(0);
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        // As of POSIX exit: the low eight bits.
        return Ended::Exited(exit.0.to_le_bytes()[0]);
    }
    Ended::Trapped(format!("{}: {error:?}", path.display()))
}
