//! `delete`: cleans up after a shim that died, or that never made the container.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use containerd_shim::{DeleteResponse, Flags};
use containerd_shim_protos::protobuf::{Message, MessageField};
use medley_container::{shim, spec};
use medley_dispatch::sandbox_of;
use medley_types::exit_status::KILLED;

use crate::{sockets, start};

/// Runs `delete` and prints how the container ended.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let bundle = start::bundle(flags)?;
    let socket = socket(&bundle, flags);
    let alive = shim_is_alive(&socket);
    let mut bundles = vec![bundle.clone()];
    if !alive {
        // With task API 3 this is called for the pod alone: its containers go with it.
        bundles.extend(rest_of_sandbox(&bundle, &flags.id));
    }
    let mut failed = Vec::new();
    let mut pid = None;
    for each in &bundles {
        match shim::remove_after_crash(each, alive) {
            Ok(found) if *each == bundle => pid = found,
            Ok(_) => {}
            Err(error) => failed.push(medley_types::sentence(&error)),
        }
    }
    if !alive && let Err(error) = shim::sandbox::remove_after_crash(&bundle) {
        failed.push(medley_types::sentence(&error));
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    let response = DeleteResponse {
        pid: pid
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default(),
        // Of a container whose shim is gone containerd is told that SIGKILL ended it.
        exit_status: KILLED.into(),
        exited_at: MessageField::some(SystemTime::now().into()),
        ..Default::default()
    };
    let mut stdout = std::io::stdout();
    stdout.write_all(&response.write_to_bytes()?)?;
    stdout.flush().context("cannot answer containerd")
}

/// How long a shim that was killed may take to let go of its socket. containerd calls `delete` when
/// its connection ends, and the kernel closes a dead process's files one after the other.
const LET_GO: Duration = Duration::from_millis(500);

/// The socket of the shim of this bundle.
fn socket(bundle: &Path, flags: &Flags) -> PathBuf {
    let address = std::fs::read_to_string(bundle.join(start::ADDRESS_FILE));
    // One that was killed while `start` was about to write it down has a socket all the same.
    let address = address.unwrap_or_else(|_| {
        let annotations = spec::annotations(bundle).unwrap_or_default();
        let sandbox = sandbox_of(&flags.id, &annotations);
        containerd_shim::socket_address(&flags.address, &flags.namespace, sandbox)
    });
    sockets::path(address.trim())
}

/// Whether the shim with this socket still serves; if not, the socket is removed.
fn shim_is_alive(socket: &Path) -> bool {
    if UnixStream::connect(socket).is_ok_and(|connection| stays_open(&connection)) {
        return true;
    }
    std::fs::remove_file(socket).ok();
    if let Some(dir) = socket.parent()
        && let Err(error) = sockets::sweep(dir)
    {
        log::debug!("the sockets of dead shims stay: {error}");
    }
    false
}

/// Whether the connection stays. The server says nothing before it is asked, so that anything to read
/// is the end.
fn stays_open(connection: &UnixStream) -> bool {
    let hung_up = connection.set_read_timeout(Some(LET_GO)).and_then(|()| {
        let mut connection = connection;
        connection.read(&mut [0])
    });
    matches!(hung_up, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The bundles of the other containers that the dead shim of `id` served.
fn rest_of_sandbox(bundle: &Path, id: &str) -> Vec<PathBuf> {
    let is_leader = match spec::annotations(bundle) {
        Ok(own) => sandbox_of(id, &own) == id,
        // A pod of the Sandbox API has no spec.
        Err(spec::Error::Read { .. }) => true,
        Err(_) => false,
    };
    let Some(siblings) = bundle.parent().filter(|_| is_leader) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(siblings).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path != bundle)
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            spec::annotations(path).is_ok_and(|theirs| sandbox_of(&name, &theirs) == id)
        })
        .collect()
}
