//! Adding a process to a container that runs.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use medley_dispatch::{Decision, Plan, Planned, Request as Wanted, Rootfs};
use medley_io::{ContainerStdio, Stdio, StdioHandles};
use medley_sys::children;
use medley_sys::pidfd::{ExitStatus, PidFd};
use medley_types::Cancel;
use oci_spec::runtime::{Process, Spec};

use super::code_source;
use super::compiler_limit::CompileContext;
use super::container::Container;
use super::error::Error;
use super::reaper::reap_orphans;
use super::status::await_started_within;
use super::{module, terminal};
use crate::protocol::{
    self, ExecFds, Guest, MadeProcess, MakeReply, PreparedProcess, Program, TerminalRequest,
};
use crate::spec;
use crate::spec::asked;
use crate::spec::environment;
use crate::spec::words;

/// How long the helper that makes a process may take, and then the process until its program runs:
/// as long as the kubelet waits for a call of the CRI. What is in the container can stop both.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A process to add.
#[derive(Debug)]
pub struct ExecRequest {
    /// The OCI runtime spec's `process`, as JSON.
    pub process: Vec<u8>,
    pub stdio: Stdio,
}

/// A process that was asked for, and is made when it is started.
#[derive(Debug)]
pub struct Exec {
    process: Process,
    /// What it does, in a container of guests; elsewhere its first argument says.
    decision: Option<Planned>,
    /// The container's spec, as it is in force.
    spec: Spec,
    /// The terminal that it gets.
    terminal: Option<TerminalRequest>,
    /// Guards the process's ends of its stdio, until it has them.
    ends: Mutex<Option<ContainerStdio>>,
    /// The shim's handles on its stdio.
    stdio: StdioHandles,
    /// Ends the helper that makes it.
    cancel: Cancel,
    /// Set once it is there.
    made: OnceLock<PidFd>,
    /// Whether it runs its program.
    runs: AtomicBool,
}

impl Exec {
    /// Checks and opens what a further process needs.
    ///
    /// # Errors
    /// [`Error`] with what is wrong with it; nothing stays open then.
    pub fn new(container: &Container, request: ExecRequest) -> Result<Self, Error> {
        container.must_live()?;
        if medley_cgroup::is_v2() {
            medley_cgroup::prepare_for_move();
        }
        let read = words::process(&request.process).map_err(|source| Error::Process { source })?;
        spec::warn_of_unknown(&container.id, &read.unknown_capabilities);
        let mut process = read.value;
        environment::check(&process)?;
        asked::check_process(&process).map_err(spec::Error::from)?;
        let decision = match container.plan {
            Plan::Linux(_) => None,
            Plan::Wasm(_) => {
                // Like its init: nothing that runs here gains privileges.
                process.set_no_new_privileges(Some(true));
                Some(decide(container, &process)?)
            }
        };
        let runs_guest = matches!(
            &decision,
            Some(Planned {
                plan: Plan::Wasm(_),
                ..
            })
        );
        // A guest sees what its container's does.
        let spec = spec::load(if runs_guest {
            &container.dir
        } else {
            container.bundle()
        })?;
        if runs_guest {
            // The one of a guest lacks what its process does by itself.
            spec::inherit(&mut process, &spec::load(container.bundle())?);
        } else {
            spec::inherit(&mut process, &spec);
        }
        let uid = spec::uid_of(&spec, &process);
        // As with runc's shim the request says whether an exec has a terminal, and its process need
        // not.
        process.set_terminal(Some(request.stdio.terminal));
        let terminal = terminal::request(&spec, Some(&process), &request.stdio)?;
        let (ends, keeper) = request.stdio.open_session(uid)?;
        Ok(Self {
            process,
            decision,
            spec,
            terminal,
            ends: Mutex::new(Some(ends)),
            stdio: keeper,
            cancel: Cancel::default(),
            made: OnceLock::new(),
            runs: AtomicBool::new(false),
        })
    }

    /// Makes the process, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its own reason; nothing of it is left then.
    pub fn start(&self, container: &Container) -> Result<(), Error> {
        let _whole = medley_sys::trace::span("Start of an exec");
        let ends = lock(&self.ends).take().ok_or(Error::Ends)?;
        container.must_live()?;
        let (status, writer) = io::pipe().map_err(Error::Spawn)?;
        let made = self.make(container, &ends, writer.as_fd());
        let MadeProcess { pid, terminal } = made.or_else(|error| {
            // Init's end, if it came meanwhile, is the reason that says most.
            container.must_live()?;
            Err(error)
        })?;
        let running = PidFd::open(pid).map_err(|source| {
            children::let_go(pid);
            Error::InitGone { pid, source }
        })?;
        // The process holds the only writing end from here on.
        drop((writer, ends));
        // It may be killed from here on. Started once: the Task API makes sure.
        self.made.set(running).map_err(|_| Error::Ends)?;
        let running = self.made.get().ok_or(Error::Ends)?;
        let connected = terminal.map_or(Ok(()), |master| self.stdio.connect(master));
        let heard = connected.map_err(Error::from).and_then(|()| {
            let status = File::from(OwnedFd::from(status));
            await_started_within(status, running.pid(), START_TIMEOUT)
        });
        if heard.is_err() {
            end(container, running);
            return heard;
        }
        self.runs.store(true, Ordering::Release);
        Ok(())
    }

    /// Has a helper make the process.
    fn make(
        &self,
        container: &Container,
        ends: &ContainerStdio,
        status: BorrowedFd<'_>,
    ) -> Result<MadeProcess<OwnedFd>, Error> {
        let process = PreparedProcess {
            init: container.init.pid(),
            keyring: (!container.settings.no_new_keyring).then(|| container.id.clone()),
            cgroup: container.cgroup.clone(),
            bundle: container.bundle().to_owned(),
            process: self.process.clone(),
            terminal: self.terminal,
            debug: container.context.helpers.debug(),
        };
        let fds = ExecFds {
            stdio: [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()],
            status,
            init: container.init.as_fd(),
        };
        let ask = |program: Program<BorrowedFd<'_>>| -> Result<MakeReply<OwnedFd>, Error> {
            let call = protocol::Exec {
                process: Box::new(process.clone()),
                program,
                fds: fds.clone(),
            };
            let helper = container.context.helpers.start(call.program.engine())?;
            let pending = helper.cancelled_by(&self.cancel)?.send(call);
            Ok(pending.wait_for(START_TIMEOUT, || container.thaw_for_kill())?)
        };
        let linux = |path| code_source::made(ask(Program::Linux { path })?);
        match &self.decision {
            None => linux(None),
            Some(Planned {
                plan: Plan::Wasm(plan),
                module: Some(module),
                ..
            }) => code_source::with_code(
                &CompileContext {
                    images: container.context.images(),
                    cache: container.settings.cache.as_deref(),
                    compilers: container.settings.compilers(),
                    is_wanted: &|| !self.cancel.is_cancelled() && container.must_live().is_ok(),
                    id: &container.id,
                    in_pod: container.in_pod.then_some(&container.cgroup),
                },
                plan,
                module,
                |code| {
                    ask(Program::Wasm(Guest {
                        engine: plan.engine,
                        entry: module::entry(plan),
                        code,
                        preopens: spec::preopens(&self.spec),
                        argv_start: plan.argv_start,
                        stack: code_source::stack(Some(&self.process), &container.settings),
                    }))
                },
            ),
            Some(Planned { plan, .. }) => linux(match plan {
                Plan::Linux(plan) => plan.program.clone(),
                Plan::Wasm(plan) => Some(plan.module.clone()),
            }),
        }
    }

    /// The process, once it runs its program.
    #[must_use]
    pub fn process(&self) -> Option<&PidFd> {
        self.made
            .get()
            .filter(|_| self.runs.load(Ordering::Acquire))
    }

    /// The process, which may still be on its way to its program, or have failed there.
    #[must_use]
    pub fn made(&self) -> Option<&PidFd> {
        self.made.get()
    }

    /// Gives up a process that is being made. Tells whether a helper was at it, which ends then.
    pub fn cancel(&self, container: &Container) -> bool {
        let was_at_it = self.made.get().is_none() && self.cancel.cancel();
        if was_at_it {
            // Who makes it is in the container's cgroup by then.
            container.thaw_for_kill();
        }
        was_at_it
    }

    /// Reaps the process if it has ended.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        let Some(process) = self.process() else {
            return Ok(None);
        };
        let Some(ended) = children::reap(process)? else {
            return Ok(None);
        };
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives the process up, whose end can't be watched: the next sweep that finds it dead reaps it.
    pub fn abandon(&self) {
        if let Some(process) = self.process() {
            children::let_go(process.pid());
        }
        reap_orphans();
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &StdioHandles {
        &self.stdio
    }

    /// Lets go of what it was to have, should it never have been started.
    pub fn delete(&self) {
        drop(lock(&self.ends).take());
    }
}

/// Kills and reaps a process that is not to be.
fn end(container: &Container, process: &PidFd) {
    /// One that was killed ends at once, unless the kernel holds it; the next sweep reaps it then.
    const END_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long before one is taken for frozen.
    const THAW_AFTER: Duration = Duration::from_millis(500);
    // It has ended, or is about to: the kill is for one that hangs.
    if let Err(error) = process.signal(rustix::process::Signal::KILL.as_raw()) {
        log::debug!("process {} is not killed: {error}", process.pid());
    }
    let reaped = children::reap_within(process, THAW_AFTER).and_then(|ended| match ended {
        Some(ended) => Ok(Some(ended)),
        None => {
            container.thaw_for_kill();
            children::reap_within(process, END_TIMEOUT)
        }
    });
    if let Err(error) = reaped {
        log::warn!("process {} is not reaped: {error}", process.pid());
    }
    children::let_go(process.pid());
}

/// What runs beside a guest: by content, on the files that it sees. The annotations speak of
/// the container's own program.
fn decide(container: &Container, process: &Process) -> Result<Planned, Error> {
    let root = PathBuf::from(format!("/proc/{}/root", container.init.pid()));
    let view = Rootfs::open(&root)?;
    // The root was its own, and not that of a process that has its pid by now.
    container.must_live()?;
    let requested = Wanted {
        args: process.args().as_deref().unwrap_or_default(),
        env: process.env().as_deref().unwrap_or_default(),
        cwd: process.cwd(),
        annotations: &HashMap::new(),
        uid: process.user().uid(),
        gid: process.user().gid(),
        // They are in place by now.
        mounts: &[],
    };
    let context = &container.context;
    let options = context.options_for(&container.settings);
    let planned = match medley_dispatch::plan(&requested, &view, &options) {
        Ok(Decision::Planned(planned)) => Ok(planned),
        Ok(Decision::NeedsLayers(needed)) => {
            let (images, cache) = (context.images(), container.settings.cache.as_deref());
            let listed = images.of_container(&container.id);
            // `sh` does not mean the image's only module.
            images.plan(cache, needed.require_explicit_name(), listed)
        }
        Err(error) => Err(error),
    };
    planned.map_err(|error| Error::BesideGuest {
        source: error.into(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // An `Option` is whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
