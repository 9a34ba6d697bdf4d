//! A guest's WASI context: arguments, environment, preopens and network, the same for modules and
//! components, and how it ended.

use std::path::Path;

use medley_engine::memory::LimitExceeded;
use medley_engine::{Guest, GuestExit};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::error::chain;
use crate::stdio::Output;

/// What the guest reads as its working directory. WASI preview 1 has none of its own; Go and
/// others read this variable.
const PWD: &str = "PWD";

/// A builder with all that `guest` names. Preopens that are not there, or that the container's
/// user may not open, are left out: the guest gets ENOENT where a Linux program gets EACCES.
pub(crate) fn builder(guest: &Guest) -> std::io::Result<WasiCtxBuilder> {
    let mut builder = WasiCtxBuilder::new();
    args_env(&mut builder, guest);
    builder
        .inherit_stdin()
        .stdout(Output::of(std::io::stdout())?)
        .stderr(Output::of(std::io::stderr())?)
        // One guest in one process: a blocking read blocks no other guest.
        .allow_blocking_current_thread(true);
    preopens(&mut builder, guest);
    Ok(builder)
}

/// The pod's network.
pub(crate) fn network(builder: &mut WasiCtxBuilder) {
    builder
        .inherit_network()
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
}

/// Arguments and environment.
pub(crate) fn args_env(builder: &mut WasiCtxBuilder, guest: &Guest) {
    builder
        .args(&guest.args)
        .envs(&guest.env)
        .initial_cwd(&guest.cwd);
    if !guest.env.iter().any(|(name, _)| name == PWD) {
        builder.env(PWD, &guest.cwd);
    }
}

/// The dirs.
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

/// A runtime for one guest: no threads but those that block.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Why a guest could not be instantiated: for want of memory, or what the engine says.
pub(crate) fn not_started(error: &wasmtime::Error, refused: Option<LimitExceeded>) -> GuestExit {
    let refused = refused.map(|refused| refused.to_string());
    GuestExit::NotStarted(refused.unwrap_or_else(|| chain(error)))
}

/// How a guest ended, told from what its call gave.
pub(crate) fn ended(path: &Path, result: Result<(), wasmtime::Error>) -> GuestExit {
    let Err(error) = result else {
        return GuestExit::Exited(0);
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        // POSIX exit: the low eight bits.
        return GuestExit::Exited(exit.0.to_le_bytes()[0]);
    }
    GuestExit::Trapped(format!("{}: {error:?}", path.display()))
}
