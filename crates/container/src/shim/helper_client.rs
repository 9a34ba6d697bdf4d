//! Running a helper: spawn, ask, hear the answer, reap.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use medley_sys::children;
use medley_sys::pidfd::PidFd;
use medley_types::Cancel;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::engine_binaries::Chosen;
use super::{Error, Host};
use crate::helper::log_file;
use crate::protocol::{Reply, Request};

/// The name that a helper goes by in the process list.
const NAME: &str = "containerd-shim-wasm-v1";

/// Most of a helper's log that is read, in bytes.
const LOG_MAX: u64 = 1 << 20;

/// A helper's answer, and the descriptors that came with it.
pub(super) type Answer = (Reply, Vec<OwnedFd>);

/// The pid of the process that was asked for, and the master of its terminal.
pub(super) fn made((reply, fds): Answer) -> Result<(i32, Option<OwnedFd>), Error> {
    match reply {
        Reply::Created { pid } => Ok((pid, fds.into_iter().next())),
        Reply::Compiled { .. }
        | Reply::Pod { .. }
        | Reply::UserNamespace
        | Reply::NotCached { .. }
        | Reply::NoCache { .. }
        | Reply::Target { .. }
        | Reply::Layers { .. }
        | Reply::Fetched { .. }
        | Reply::Entrypoint { .. }
        | Reply::Fingerprint { .. }
        | Reply::Unfit { .. }
        | Reply::Failed { .. } => Err(Error::NoAnswer {
            reason: "it answered something else".into(),
        }),
    }
}

/// What a helper left.
pub(super) struct Told {
    /// Its answer, if it gave one.
    pub(super) answer: io::Result<Answer>,
    /// How it ended.
    pub(super) end: End,
    /// The processor time that it took.
    pub(super) time: Duration,
    /// What it wrote to its log.
    pub(super) log: String,
}

/// How a helper ended.
pub(super) enum End {
    /// By itself, or by somebody's signal.
    Exited(ExitStatus),
    /// It took too long and was killed.
    TimedOut,
}

impl End {
    /// Whether `signal` ended it.
    pub(super) fn is_by(&self, signal: Signal) -> bool {
        let Self::Exited(status) = self else {
            return false;
        };
        status.signal() == Some(signal.as_raw())
    }
}

/// Runs one helper to its end and gives its answer.
pub(super) fn ask(host: &Host, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Answer, Error> {
    let mut helper = Helper::start(host, &host.binaries.choose(request)?)?;
    helper.send(request, fds)?;
    helper.answer()
}

/// As [`ask`], of a helper that was started ahead, unless the request needs another program.
pub(super) fn ask_ahead<'h>(
    host: &'h Host,
    ahead: Option<Helper<'h>>,
    cancel: &Cancel,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<Answer, Error> {
    let chosen = host.binaries.choose(request)?;
    let mut helper = match ahead.filter(|_| chosen.beside.is_none()) {
        Some(helper) => helper,
        None => Helper::start(host, &chosen)?,
    }
    .cancelled_by(cancel)?;
    helper.send(request, fds)?;
    helper.answer().map_err(|error| explained(error, cancel))
}

/// As [`ask`], for `timeout` at the longest, or until it is cancelled. `thaw` has a process that was killed die, should it be
/// frozen.
pub(super) fn ask_for(
    host: &Host,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    timeout: Duration,
    cancel: &Cancel,
    thaw: impl FnOnce(),
) -> Result<Answer, Error> {
    let chosen = host.binaries.choose(request)?;
    let mut helper = Helper::start(host, &chosen)?.cancelled_by(cancel)?;
    helper.send(request, fds)?;
    let answer = helper.wait(Some(timeout));
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    if answer.as_ref().is_err_and(timed_out) {
        helper.child.kill().ok();
        thaw();
        helper.end(true)?;
        return Err(Error::HelperTimeout { timeout });
    }
    let (end, _, log) = helper.end(answer.is_err())?;
    match answer {
        Ok((reply, fds)) => Ok((accept(reply, &log)?, fds)),
        Err(error) => Err(explained(no_answer(error, &end, &log), cancel)),
    }
}

/// What of an error is due to cancelling.
fn explained(error: Error, cancel: &Cancel) -> Error {
    if cancel.is_cancelled() {
        Error::Cancelled
    } else {
        error
    }
}

/// A helper's answer, if it could do what it was asked.
pub(super) fn accept(reply: Reply, log: &str) -> Result<Reply, Error> {
    match reply {
        Reply::Failed { reason } => Err(Error::Refused {
            reason: explain(&reason, log),
        }),
        Reply::Unfit { reason } => Err(Error::Unfit { reason }),
        reply => Ok(reply),
    }
}

/// Runs one helper to its end, which comes after `patience` at the latest. `place` is told its pid
/// before it is asked.
pub(super) fn run<P>(
    host: &Host,
    request: &Request,
    fds: &[BorrowedFd<'_>],
    patience: Option<Duration>,
    place: impl FnOnce(i32) -> P,
) -> Result<(Told, P), Error> {
    let mut helper = Helper::start(host, &host.binaries.choose(request)?)?;
    let pid = i32::try_from(helper.child.id());
    let placed = place(pid.map_err(|error| Error::Spawn(io::Error::other(error)))?);
    helper.send(request, fds)?;
    Ok((helper.hear(patience)?, placed))
}

/// A helper that was started, before somebody knows what to ask it or while it does what it was
/// asked. One that nobody waits for is killed.
pub(super) struct Helper<'h> {
    host: &'h Host,
    child: Child,
    /// Closed once it has been heard.
    socket: Option<OwnedFd>,
    log: File,
    /// Why the request did not reach it.
    unsent: Option<io::Error>,
    /// What may end it.
    cancel: Option<Cancel>,
}

impl<'h> Helper<'h> {
    /// Starts our own binary ahead of a request that will most likely come: the kernel loads it
    /// while its caller does other things.
    pub(super) fn ahead(host: &'h Host) -> Result<Self, Error> {
        Self::start(host, &host.binaries.own())
    }

    fn start(host: &'h Host, chosen: &Chosen<'_>) -> Result<Self, Error> {
        let (ours, theirs) = medley_sys::message::pair().map_err(Error::Spawn)?;
        let log = File::from(
            rustix::fs::memfd_create("medley-helper-log", MemfdFlags::CLOEXEC)
                .map_err(|errno| Error::Spawn(errno.into()))?,
        );
        let mut command = Command::new(chosen.binary.path());
        command
            .arg0(NAME)
            .args(host.own.helper_args())
            .env_clear()
            .envs(chosen.beside.iter().flat_map(|beside| beside.env.clone()))
            // Ours may be a bundle that is gone by now.
            .current_dir("/")
            // Its own, with the hooks that it runs.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log.try_clone().map_err(Error::Spawn)?));
        let child = children::spawn(&mut command).map_err(|source| match chosen.beside {
            None => Error::Spawn(source),
            Some(beside) => Error::Beside {
                path: beside.path.clone(),
                engine: beside.engine,
                source,
            },
        })?;
        Ok(Self {
            host,
            child,
            socket: Some(ours),
            log,
            unsent: None,
            cancel: None,
        })
    }

    /// Has it end when what it is to make is given up.
    fn cancelled_by(mut self, cancel: &Cancel) -> Result<Self, Error> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // The pid is the helper's own until the helper is reaped, which `end` comes before.
        let stop = move || {
            // The group has its hooks too, which are not waited for.
            let Some(Err(errno)) = pid.map(|pid| kill_process_group(pid, Signal::KILL)) else {
                return;
            };
            if errno != Errno::SRCH {
                log::warn!("the helper {pid:?} is not killed: {errno}");
            }
        };
        if !cancel.begin(stop) {
            return Err(Error::Cancelled);
        }
        self.cancel = Some(cancel.clone());
        Ok(self)
    }

    /// Asks it, and lets it work. Its end, should it come before, is told by [`Self::hear`].
    pub(super) fn send(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let message = serde_json::to_vec(request).map_err(|error| Error::Talk(error.into()))?;
        if let Some(socket) = &self.socket {
            self.unsent = medley_sys::message::send_document(socket, &message, fds).err();
        }
        Ok(())
    }

    /// Waits for the answer of one that takes another request after it.
    pub(super) fn first_answer(mut self) -> Result<(Reply, Self), Error> {
        match self.wait(None) {
            Ok((reply, _)) => Ok((accept(reply, "")?, self)),
            Err(error) => {
                let (end, _, log) = self.end(true)?;
                Err(no_answer(error, &end, &log))
            }
        }
    }

    /// Waits for the end of one that was asked, and gives its answer.
    pub(super) fn answer(self) -> Result<Answer, Error> {
        let told = self.hear(None)?;
        match told.answer {
            Ok((reply, fds)) => Ok((accept(reply, &told.log)?, fds)),
            Err(error) => Err(no_answer(error, &told.end, &told.log)),
        }
    }

    /// Waits for the end of one that was asked, which comes after `patience` at the latest.
    fn hear(mut self, patience: Option<Duration>) -> Result<Told, Error> {
        let answer = self.wait(patience);
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let is_late = answer.as_ref().is_err_and(timed_out);
        let (end, time, log) = self.end(answer.is_err())?;
        let end = if is_late { End::TimedOut } else { end };
        Ok(Told {
            answer,
            end,
            time,
            log,
        })
    }

    /// Waits for its answer. A process that it has made comes to us with the helper's end, which waits
    /// for ours of the socket: the process is known by then, and is no orphan.
    fn wait(&mut self, patience: Option<Duration>) -> io::Result<Answer> {
        let (bytes, fds) = match (self.unsent.take(), &self.socket) {
            (None, Some(socket)) => answer_or_end(socket, &self.child, patience)?,
            (Some(error), _) => return Err(error),
            (None, None) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let reply: Reply = serde_json::from_slice(&bytes)?;
        if let Some(pid) = reply.made() {
            children::keep(pid);
        }
        Ok((reply, fds))
    }

    /// Waits for its end, and brings it about if nobody waits for what it is doing any more. Gives
    /// the processor time that it took and its log too.
    fn end(mut self, kill: bool) -> Result<(End, Duration, String), Error> {
        if kill {
            self.child.kill().ok();
        }
        let reaped = self.reap();
        let log = read_log(&mut self.log).map_err(Error::Talk)?;
        if self.host.debug {
            log.lines().for_each(|line| log::debug!("helper: {line}"));
        }
        let (status, time) = reaped.map_err(Error::Talk)?;
        Ok((End::Exited(status), time, log))
    }

    /// Reaps it, before anything else is done: init becomes our child with its end.
    fn reap(&mut self) -> io::Result<(ExitStatus, Duration)> {
        drop(self.socket.take());
        if let Some(cancel) = self.cancel.take() {
            cancel.end();
        }
        children::wait_with_time(&mut self.child)
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.child.kill().ok();
            if let Err(error) = self.reap() {
                log::warn!("a helper that nobody needs could not be reaped: {error}");
            }
        }
    }
}

/// Why a helper gave no answer.
fn no_answer(error: io::Error, end: &End, log: &str) -> Error {
    if end.is_by(Signal::BUS) {
        return Error::Page;
    }
    let reason = match log_file::cause(log) {
        Some(cause) => cause.to_owned(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => match end {
            End::Exited(status) => status.to_string(),
            End::TimedOut => "it took too long".to_owned(),
        },
        None => return Error::Talk(error),
    };
    Error::NoAnswer { reason }
}

/// Waits for the helper's answer, or for its end. The socket alone does not tell the end: init, the
/// helper's clone, holds it too.
fn answer_or_end(
    socket: &OwnedFd,
    helper: &Child,
    patience: Option<Duration>,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let pid = i32::try_from(helper.id()).map_err(io::Error::other)?;
    let helper = PidFd::open(pid)?;
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut ready = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(&helper, PollFlags::IN),
    ];
    loop {
        let left = deadline
            .map(|deadline| {
                deadline
                    .saturating_duration_since(Instant::now())
                    .try_into()
            })
            .transpose()
            .map_err(io::Error::other)?;
        match rustix::event::poll(&mut ready, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // An answer that it gave before it ended counts.
    if ready[0].revents().contains(PollFlags::IN) {
        return medley_sys::message::receive_document(socket);
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
    let reason = match log_file::cause(log) {
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
