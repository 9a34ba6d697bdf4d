//! `delete`: cleans up after a shim that died, or that never made the container.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use containerd_shim::{DeleteResponse, Flags};
use containerd_shim_protos::protobuf::{Message, MessageField};
use medley_container::{host, pod, spec};

use crate::{group, start};

/// What containerd is told of a container whose shim is gone: SIGKILL ended it.
const KILLED: u32 = 137;

/// Runs `delete` and prints how the container ended.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let bundle = start::bundle(flags)?;
    let alive = shim_is_alive(&bundle);
    let mut bundles = vec![bundle.clone()];
    if !alive {
        // With task API 3 this is called for the pod alone: its containers go with it.
        bundles.extend(rest_of_group(&bundle, &flags.id));
    }
    let mut failed = Vec::new();
    let mut pid = None;
    for each in &bundles {
        match host::clean_up(each) {
            Ok(found) if *each == bundle => pid = found,
            Ok(_) => {}
            // Nothing was ever made of a bundle without a spec that can be read.
            Err(host::Error::Spec(_)) => {}
            Err(error) => failed.push(medley_task::error::sentence(&error)),
        }
    }
    if !alive && let Err(error) = pod::clean_up(&bundle) {
        failed.push(medley_task::error::sentence(&error));
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    let response = DeleteResponse {
        pid: pid
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default(),
        exit_status: KILLED,
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

/// Whether the shim of this bundle still serves; if not, its socket is removed.
fn shim_is_alive(bundle: &Path) -> bool {
    let Ok(address) = std::fs::read_to_string(bundle.join(start::ADDRESS_FILE)) else {
        return false;
    };
    let socket = start::socket_path(address.trim());
    if UnixStream::connect(&socket).is_ok_and(|connection| stays_open(&connection)) {
        return true;
    }
    std::fs::remove_file(&socket).ok();
    false
}

/// Whether nobody hangs up. The server says nothing before it is asked, so that anything to read
/// is the end.
fn stays_open(connection: &UnixStream) -> bool {
    let hung_up = connection.set_read_timeout(Some(LET_GO)).and_then(|()| {
        let mut connection = connection;
        connection.read(&mut [0])
    });
    matches!(hung_up, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The bundles of the other containers that the dead shim of `id` served.
fn rest_of_group(bundle: &Path, id: &str) -> Vec<PathBuf> {
    let is_leader = match spec::annotations(bundle) {
        Ok(own) => group::of(id, &own) == id,
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
            spec::annotations(path).is_ok_and(|theirs| group::of(&name, &theirs) == id)
        })
        .collect()
}
