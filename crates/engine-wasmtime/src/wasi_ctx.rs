//! A guest's WASI context: arguments, environment, preopens and network, the same for modules and
//! components, and how it ended.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use medley_engine::memory::LimitExceeded;
use medley_engine::{Guest, GuestExit};
use rustix::fs::{Mode, OFlags};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::error::chain;
use crate::stdio::Output;

/// What the guest reads as its working directory. WASI preview 1 has none of its own; Go and
/// others read this variable.
const PWD: &str = "PWD";

/// Held by the one who changes the working directory.
static WORKING_DIR: Mutex<()> = Mutex::new(());

/// Opens the dir that a preopen names.
pub(crate) type OpenDir = fn(&Path) -> io::Result<OwnedFd>;

/// A builder with all that `guest` names. Preopens that are not there, or that the container's
/// user may not open, are left out: the guest gets ENOENT where a Linux program gets EACCES.
pub(crate) fn builder(guest: &Guest) -> io::Result<WasiCtxBuilder> {
    builder_with(guest, dir)
}

/// The same, with dirs that `open` opens.
pub(crate) fn builder_with(guest: &Guest, open: OpenDir) -> io::Result<WasiCtxBuilder> {
    let mut builder = WasiCtxBuilder::new();
    args_env(&mut builder, guest);
    builder
        .inherit_stdin()
        .stdout(Output::of(std::io::stdout())?)
        .stderr(Output::of(std::io::stderr())?)
        // One guest in one process: a blocking read blocks no other guest.
        .allow_blocking_current_thread(true);
    preopens(&mut builder, guest, open);
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

/// A dir of the container.
pub(crate) fn dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The dirs. Each is opened once, so that what `open` has looked at is what the guest gets: what lies at a path may
/// change. Wasmtime takes paths alone, and the working directory is one that can't.
pub(crate) fn preopens(builder: &mut WasiCtxBuilder, guest: &Guest, open: OpenDir) {
    let _held = WORKING_DIR.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(back) = dir(Path::new(".")) else {
        return;
    };
    for preopen in &guest.preopens {
        let entered = open(Path::new(&preopen.path))
            .and_then(|dir| rustix::process::fchdir(dir).map_err(io::Error::from));
        if entered.is_err() {
            continue;
        }
        let permissions = if preopen.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        // Not readable for the container's user: as if it were not there.
        if builder
            .preopened_dir(".", &preopen.name, permissions)
            .is_err()
        {
            continue;
        }
    }
    // A guest's own is what its context says.
    rustix::process::fchdir(back).ok();
}

/// A runtime for one guest: no threads but those that block.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
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
