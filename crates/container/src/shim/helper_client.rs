//! Calls to helpers: start one, send it a request, wait for its reply and its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::iter::once;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use medley_sys::pidfd::PidFd;
use medley_sys::spawn::{self, Program};
use medley_sys::{children, watch};
use medley_types::Cancel;
use medley_types::EngineKind;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::engine_binaries::{Chosen, EngineBinaries, EngineBinary};
use super::error::Error;
use super::libcontainer_text;
use super::recorded_process::RecordedProcess;
use crate::helper::log_file;
use crate::protocol::{Failure, HelperCall, Reply, Request, receive_reply};

/// The name that a helper goes by in the process list.
const NAME: &str = "containerd-shim-wasm-v1";

/// Most of a helper's log that is read, in bytes.
const LOG_MAX: u64 = 1 << 20;

/// Starts helpers of this shim, and calls them.
#[derive(Debug)]
pub(super) struct Helpers {
    binaries: EngineBinaries,
    debug: bool,
    /// The shim, as records and helpers know it.
    shim: RecordedProcess,
}

impl Helpers {
    /// Helpers of this very binary, or of those `beside` it that have other engines.
    pub(super) fn new(beside: Vec<EngineBinary>, debug: bool) -> io::Result<Self> {
        Ok(Self {
            binaries: EngineBinaries::new(beside)?,
            debug,
            shim: RecordedProcess::own(),
        })
    }

    pub(super) fn debug(&self) -> bool {
        self.debug
    }

    pub(super) fn shim(&self) -> RecordedProcess {
        self.shim
    }

    pub(super) fn binaries(&self) -> &EngineBinaries {
        &self.binaries
    }

    /// Starts a helper for one call, and gives its reply once it has ended.
    pub(super) fn call<'f, C: HelperCall<BorrowedFd<'f>>>(
        &self,
        call: C,
    ) -> Result<C::Reply, Error> {
        let request = call.into();
        let helper = self.start(request.engine())?;
        Ok(helper.send_request(request).wait()?)
    }

    /// Starts a helper that has `engine`.
    pub(super) fn start(&self, engine: Option<EngineKind>) -> Result<HelperProcess, Error> {
        HelperProcess::start(self, &self.binaries.choose(engine)?)
    }

    /// `prestarted`, a helper of our own binary, if that has `engine`, and otherwise another.
    pub(super) fn start_unless(
        &self,
        prestarted: Option<HelperProcess>,
        engine: Option<EngineKind>,
    ) -> Result<HelperProcess, Error> {
        let chosen = self.binaries.choose(engine)?;
        match prestarted.filter(|_| chosen.beside.is_none()) {
            Some(helper) => Ok(helper),
            None => HelperProcess::start(self, &chosen),
        }
    }
}

/// A helper that waits for a request. It is killed if it is dropped without one.
#[derive(Debug)]
pub(super) struct HelperProcess {
    pid: i32,
    /// Closed before the helper is reaped.
    socket: Option<OwnedFd>,
    log: File,
    debug: bool,
    /// What may end it.
    cancel: Option<Cancel>,
}

/// A helper that has a request, and whose reply is still to come.
#[derive(Debug)]
pub(super) struct PendingCall<R> {
    helper: HelperProcess,
    /// Why the request did not reach it.
    unsent: Option<io::Error>,
    reply: PhantomData<fn() -> R>,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The helper ended without a reply.
    NoReply(HelperOutput),
    /// Everything else.
    Failed(Error),
}

/// What a helper left that gave no reply.
#[derive(Debug)]
pub(super) struct HelperOutput {
    pub(super) exit: HelperExit,
    /// The processor time that it took.
    pub(super) time: Duration,
    /// What it wrote to its log.
    pub(super) log: String,
    /// Why there is no reply.
    error: io::Error,
}

/// How a helper ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum HelperExit {
    /// By itself, or by a signal.
    Exited(ExitStatus),
    /// It took longer than this, and was killed.
    TimedOut(Duration),
}

impl HelperProcess {
    fn start(helpers: &Helpers, chosen: &Chosen<'_>) -> Result<Self, Error> {
        let (ours, theirs) = medley_sys::message::pair().map_err(Error::Spawn)?;
        let log = File::from(
            rustix::fs::memfd_create("medley-helper-log", MemfdFlags::CLOEXEC)
                .map_err(|errno| Error::Spawn(errno.into()))?,
        );
        let null = spawn::null().map_err(Error::Spawn)?;
        let path = chosen.binary.path();
        let beside = chosen.beside.iter().flat_map(|beside| beside.env.iter());
        let beside = beside.map(|(name, value)| (*name, value.as_os_str()));
        let trace = medley_sys::trace::environment();
        let trace = trace.iter().map(|(name, value)| (*name, value.as_os_str()));
        let program = Program {
            path: &path,
            args: once(NAME.to_owned())
                .chain(helpers.shim.helper_args())
                .map(OsString::from)
                .collect(),
            env: beside.chain(trace).map(variable).collect(),
            fds: vec![theirs.as_fd(), null.as_fd(), log.as_fd()],
            // Ours may be a bundle that is gone by now.
            cwd: Some(Path::new("/")),
            // Of a group of its own, with the hooks that it runs.
            leads_group: true,
            // It sees to that itself.
            keeps_ignored: true,
        };
        let pid = children::execute(&program).map_err(|source| match chosen.beside {
            None => Error::Spawn(source),
            Some(beside) => Error::EngineBinary {
                path: beside.path.clone(),
                engine: beside.engine,
                source,
            },
        })?;
        Ok(Self {
            pid,
            socket: Some(ours),
            log,
            debug: helpers.debug,
            cancel: None,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Has it end when what it is to make is given up.
    pub(super) fn cancelled_by(mut self, cancel: &Cancel) -> Result<Self, Error> {
        let pid = Pid::from_raw(self.pid);
        // The pid is the helper's own until the helper is reaped, which `Cancel::end` comes before.
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

    /// Sends it a request, and lets it work. A request that does not reach it is told of by the
    /// call's end.
    pub(super) fn send<'f, C: HelperCall<BorrowedFd<'f>>>(self, call: C) -> PendingCall<C::Reply> {
        self.send_request(call.into())
    }

    fn send_request<R>(self, request: Request<BorrowedFd<'_>>) -> PendingCall<R> {
        let unsent = match &self.socket {
            Some(socket) => request.send(socket).err(),
            None => Some(io::ErrorKind::NotConnected.into()),
        };
        PendingCall {
            helper: self,
            unsent,
            reply: PhantomData,
        }
    }

    /// Waits for a reply. A process that the helper has made comes to us with the helper's end, which
    /// waits for us to close the socket: the process is known by then, and is no orphan.
    fn receive<R: Reply>(&self, timeout: Option<Duration>) -> io::Result<Result<R, Failure>> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let helper = PidFd::open(self.pid)?;
        // The socket alone does not tell the helper's end: init, its clone, holds it too.
        let ready = watch::wait_any(&[socket.as_fd(), helper.as_fd()], timeout)?;
        match ready {
            // A reply that it gave before it ended counts.
            Some(0) => {}
            Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => return Err(io::ErrorKind::TimedOut.into()),
        }
        let reply = receive_reply::<R>(socket)?;
        if let Some(pid) = reply.as_ref().ok().and_then(R::child) {
            children::keep(pid);
        }
        Ok(reply)
    }

    /// Waits for its end. Gives the processor time that it took and its log too.
    fn end(mut self) -> Result<(ExitStatus, Duration, String), Error> {
        let reaped = self.reap();
        let log = read_log(&mut self.log).map_err(Error::Talk)?;
        if self.debug {
            log.lines().for_each(relay);
        }
        let (status, time) = reaped.map_err(Error::Talk)?;
        Ok((status, time, log))
    }

    /// Reaps it, before anything else is done: init becomes our child with its end.
    fn reap(&mut self) -> io::Result<(ExitStatus, Duration)> {
        drop(self.socket.take());
        if let Some(cancel) = self.cancel.take() {
            cancel.end();
        }
        children::wait_with_time(self.pid)
    }
}

impl Drop for HelperProcess {
    fn drop(&mut self) {
        if self.socket.is_some() {
            spawn::kill(self.pid).ok();
            if let Err(error) = self.reap() {
                log::warn!("a helper that is not needed could not be reaped: {error}");
            }
        }
    }
}

impl<R: Reply> PendingCall<R> {
    /// Waits for the reply, and for the helper's end.
    pub(super) fn wait(self) -> Result<R, CallError> {
        self.finish(None, || ())
    }

    /// Waits as long as `timeout`. A helper that is late is killed; `thaw` has it receive the signal
    /// should it be frozen.
    pub(super) fn wait_for(self, timeout: Duration, thaw: impl FnOnce()) -> Result<R, CallError> {
        self.finish(Some(timeout), thaw)
    }

    /// Waits for the reply of a helper that takes another request after it.
    pub(super) fn wait_first(mut self) -> Result<(R, HelperProcess), Error> {
        match self.receive(None) {
            Ok(Ok(reply)) => Ok((reply, self.helper)),
            Ok(Err(failure)) => Err(refused(failure, "")),
            Err(error) => {
                spawn::kill(self.helper.pid).ok();
                let (status, time, log) = self.helper.end()?;
                let exit = HelperExit::Exited(status);
                let output = HelperOutput {
                    exit,
                    time,
                    log,
                    error,
                };
                Err(CallError::from(output).into())
            }
        }
    }

    fn finish(mut self, timeout: Option<Duration>, thaw: impl FnOnce()) -> Result<R, CallError> {
        let cancel = self.helper.cancel.clone();
        let reply = self.receive(timeout);
        let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let late = timeout.filter(|_| reply.as_ref().is_err_and(is_late));
        if reply.is_err() {
            spawn::kill(self.helper.pid).ok();
        }
        if late.is_some() {
            thaw();
        }
        let (status, time, log) = self.helper.end().map_err(CallError::Failed)?;
        let exit = late.map_or(HelperExit::Exited(status), HelperExit::TimedOut);
        let failed = match reply {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(failure)) => CallError::Failed(refused(failure, &log)),
            Err(error) => CallError::from(HelperOutput {
                exit,
                time,
                log,
                error,
            }),
        };
        if cancel.is_some_and(|cancel| cancel.is_cancelled()) {
            return Err(CallError::Failed(Error::Cancelled));
        }
        Err(failed)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Result<R, Failure>> {
        match self.unsent.take() {
            Some(error) => Err(error),
            None => self.helper.receive(timeout),
        }
    }
}

impl From<HelperOutput> for CallError {
    /// A reply that makes no sense says so itself: the helper was killed for it, and by no limit.
    fn from(output: HelperOutput) -> Self {
        if output.error.kind() == io::ErrorKind::InvalidData {
            return Self::Failed(Error::Reply(output.error));
        }
        Self::NoReply(output)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoReply(output) => output.into(),
            CallError::Failed(error) => error,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<HelperOutput> for Error {
    fn from(output: HelperOutput) -> Self {
        let status = match output.exit {
            HelperExit::Exited(status) => status,
            HelperExit::TimedOut(timeout) => return Self::HelperTimeout { timeout },
        };
        if status.signal() == Some(Signal::BUS.as_raw()) {
            return Self::Page;
        }
        let reason = match log_file::cause(&output.log) {
            Some(cause) => cause.to_owned(),
            None if output.error.kind() == io::ErrorKind::UnexpectedEof => status.to_string(),
            None => return Self::Talk(output.error),
        };
        Self::NoAnswer { reason }
    }
}

/// What a helper said that could not do what it was asked for.
fn refused(failure: Failure, log: &str) -> Error {
    match failure {
        Failure::Failed { reason } => libcontainer_text::told(&reason, log),
        Failure::UnfitModule { reason } => Error::UnfitModule { reason },
    }
}

/// An entry of an environment.
fn variable((name, value): (&str, &OsStr)) -> OsString {
    let mut entry = OsString::from(name);
    entry.push("=");
    entry.push(value);
    entry
}

/// Passes a line of a helper's log on: what tells of its steps, as it is.
fn relay(line: &str) {
    match line.strip_prefix("DEBUG ") {
        Some(step) => log::debug!("{step}"),
        None => log::debug!("helper: {line}"),
    }
}

fn read_log(log: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    log.rewind()?;
    log.take(LOG_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{CallError, Error, HelperExit, HelperOutput};
    use crate::protocol::{Compiled, Failure, receive_reply};
    use rustix::process::Signal;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    /// Of a helper that was killed as soon as its reply could not be received.
    fn failed(error: io::Error) -> CallError {
        CallError::from(HelperOutput {
            exit: HelperExit::Exited(ExitStatus::from_raw(Signal::KILL.as_raw())),
            time: Duration::ZERO,
            log: String::new(),
            error,
        })
    }

    #[test]
    fn a_reply_without_its_descriptor_is_no_killed_helper() {
        let without_fd = r#"{"Ok": {"form": "module", "code": 0}}"#;
        for reply in [without_fd, r#"{"Ok": {"form": "#, "{}"] {
            let (ours, theirs) = medley_sys::message::pair().unwrap();
            medley_sys::message::send_document(&ours, reply.as_bytes(), &[]).unwrap();
            let received: io::Result<Result<Compiled<OwnedFd>, Failure>> = receive_reply(&theirs);
            let failed = failed(received.unwrap_err());
            assert!(
                matches!(failed, CallError::Failed(Error::Reply(_))),
                "{reply}: {failed:?}"
            );
        }
        let failed = failed(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(failed, CallError::NoReply(_)), "{failed:?}");
    }
}
