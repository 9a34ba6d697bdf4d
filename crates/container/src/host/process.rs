//! Running a helper: spawn, ask, hear the answer, reap.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use medley_sys::pidfd::PidFd;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;

use super::{Error, Host};
use crate::helper::VERB;
use crate::helper_log;
use crate::protocol::{Reply, Request};

/// The name that a helper goes by in the process list.
const NAME: &str = "containerd-shim-wasm-v1";

/// Most of a helper's log that is read, in bytes.
const LOG_MAX: u64 = 1 << 20;

impl Reply {
    /// The pid of the process that was asked for.
    pub(super) fn pid(self) -> Result<i32, Error> {
        match self {
            Self::Created { pid } => Ok(pid),
            Self::Compiled { .. }
            | Self::Pod { .. }
            | Self::NotCached { .. }
            | Self::NoCache { .. }
            | Self::Failed { .. } => Err(Error::NoAnswer {
                reason: "it answered something else".into(),
            }),
        }
    }
}

/// Runs one helper to its end and gives its answer.
pub(super) fn ask(
    host: &Host,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<(Reply, Vec<OwnedFd>), Error> {
    let message = serde_json::to_vec(request).map_err(|error| Error::Talk(error.into()))?;
    let (ours, theirs) = medley_sys::message::pair().map_err(Error::Spawn)?;
    let mut log = File::from(
        rustix::fs::memfd_create("medley-helper-log", MemfdFlags::CLOEXEC)
            .map_err(|errno| Error::Spawn(errno.into()))?,
    );
    let mut child = Command::new(host.binary.path())
        .arg0(NAME)
        .arg(VERB)
        .env_clear()
        // Ours may be a bundle that is gone by now.
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log.try_clone().map_err(Error::Spawn)?))
        .spawn()
        .map_err(Error::Spawn)?;
    if let Ok(pid) = i32::try_from(child.id()) {
        host.track(pid);
    }
    let answer =
        medley_sys::message::send(&ours, &message, fds).and_then(|()| answer_or_end(&ours, &child));
    if answer.is_err() {
        // Whatever it is doing, nobody waits for it any more.
        child.kill().ok();
    }
    // Reaped before anything else: init becomes our child with the helper's end.
    drop(ours);
    let status = child.wait();
    if let Ok(pid) = i32::try_from(child.id()) {
        host.children().tracked.remove(&pid);
    }
    let log = read_log(&mut log).map_err(Error::Talk)?;
    if host.debug {
        log.lines().for_each(|line| log::debug!("helper: {line}"));
    }
    match answer {
        Ok((bytes, fds)) => {
            let reply =
                serde_json::from_slice(&bytes).map_err(|error| Error::Talk(error.into()))?;
            match reply {
                Reply::Failed { reason } => Err(Error::Refused {
                    reason: explain(&reason, &log),
                }),
                reply => Ok((reply, fds)),
            }
        }
        Err(_) if !log.is_empty() => Err(Error::NoAnswer {
            reason: helper_log::cause(&log).unwrap_or_default().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let reason = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(Error::NoAnswer { reason })
        }
        Err(error) => Err(Error::Talk(error)),
    }
}

/// Waits for the helper's answer, or for its end. The socket alone does not tell the end: init, the
/// helper's clone, holds it too.
fn answer_or_end(socket: &OwnedFd, helper: &Child) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let pid = i32::try_from(helper.id()).map_err(io::Error::other)?;
    let helper = PidFd::open(pid)?;
    let mut ready = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(&helper, PollFlags::IN),
    ];
    while let Err(errno) = rustix::event::poll(&mut ready, None) {
        if errno != rustix::io::Errno::INTR {
            return Err(errno.into());
        }
    }
    // An answer that it gave before it ended counts.
    if ready[0].revents().contains(PollFlags::IN) {
        return medley_sys::message::receive(socket);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A helper's reason, with the detail that only its log has.
fn explain(reason: &str, log: &str) -> String {
    /// Hooks as libcontainer writes them, and as the OCI runtime spec and its users do.
    const HOOKS: [(&str, &str); 3] = [
        ("create runtime hook", "createRuntime hook"),
        ("create container hook", "createContainer hook"),
        ("start container hook", "startContainer hook"),
    ];
    let reason = match helper_log::cause(log) {
        Some(cause) if !reason.contains(cause) => format!("{reason} ({cause})"),
        _ => reason.to_owned(),
    };
    HOOKS.iter().fold(reason, |reason, (theirs, ours)| {
        reason.replace(theirs, ours)
    })
}

fn read_log(log: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    log.rewind()?;
    log.take(LOG_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
