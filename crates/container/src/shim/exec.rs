//! Adding a process to a container that runs.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use medley_dispatch::{Decision, Plan, Planned, Request as Wanted, Rootfs};
use medley_io::{ContainerEnds, Keeper, Stdio};
use medley_sys::children;
use medley_sys::pidfd::{Ended, PidFd};
use medley_types::Cancel;
use oci_spec::runtime::{Process, Spec};

use super::code_source::{self, Source};
use super::image_layers;
use super::turn::Customer;
use super::{Created, Error, Host, hear_within, helper_client, terminal};
use crate::protocol::{ExecOrder, Program, Request, TerminalOrder};
use crate::spec;
use crate::spec::environment;
use crate::spec::words;

/// How long the helper that makes a process may take, and then the process until its program runs:
/// as long as the kubelet waits for a call of the CRI. What is in the container can stop both.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A process to add.
#[derive(Debug)]
pub struct Addition {
    /// The OCI runtime spec's `process`, as JSON.
    pub process: Vec<u8>,
    /// Its stdio.
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
    terminal: Option<TerminalOrder>,
    /// Guards the process's ends of its stdio, until it has them.
    ends: Mutex<Option<ContainerEnds>>,
    /// The shim's handles on its stdio.
    stdio: Keeper,
    /// Ends the helper that makes it.
    cancel: Cancel,
    /// Set once it is there.
    made: OnceLock<PidFd>,
    /// Whether it runs its program.
    runs: AtomicBool,
}

impl Created {
    /// Checks and opens what a further process needs.
    ///
    /// # Errors
    /// [`Error`] with what is wrong with it; nothing stays open then.
    pub fn exec(&self, host: &Host, addition: Addition) -> Result<Exec, Error> {
        self.must_live()?;
        medley_cgroup::prepare_for_move();
        let read = words::process(&addition.process).map_err(|source| Error::Process { source })?;
        spec::warn_of_unknown(&self.id, &read.unknown_capabilities);
        let mut process = read.value;
        environment::check(&process)?;
        let decision = match self.plan {
            Plan::Linux(_) => None,
            Plan::Wasm(_) => {
                // As of its init: nothing that runs here gains privileges.
                process.set_no_new_privileges(Some(true));
                Some(self.decide(host, &process)?)
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
            &self.folder
        } else {
            self.bundle()
        })?;
        if runs_guest {
            spec::inherit(&mut process, &self.original_spec()?);
        } else {
            spec::inherit(&mut process, &spec);
        }
        let uid = spec::uid_of(&spec, &process);
        // As runc's shim has it: the request says whether an exec has a terminal, and its process need
        // not.
        process.set_terminal(Some(addition.stdio.terminal));
        let terminal = terminal::order(&spec, Some(&process), &addition.stdio)?;
        let (ends, keeper) = addition.stdio.open_session(uid)?;
        Ok(Exec {
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

    /// Refuses what needs a container that lives.
    fn must_live(&self) -> Result<(), Error> {
        self.init.must_live().map_err(|source| Error::Ended {
            pid: self.init.pid(),
            source,
        })
    }

    /// Kills and reaps a process that is not to be.
    fn end(&self, process: &PidFd) {
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
                self.thaw_for_kill();
                children::reap_within(process, END_TIMEOUT)
            }
        });
        if let Err(error) = reaped {
            log::warn!("process {} is not reaped: {error}", process.pid());
        }
        children::let_go(process.pid());
    }

    /// The spec as containerd wrote it: that of a guest lacks what its process has done by itself.
    fn original_spec(&self) -> Result<Spec, Error> {
        Ok(spec::load(self.bundle())?)
    }

    fn bundle(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// What runs beside a guest: by content, on the files that it sees. The annotations speak of
    /// the container's own program.
    fn decide(&self, host: &Host, process: &Process) -> Result<Planned, Error> {
        let root = PathBuf::from(format!("/proc/{}/root", self.init.pid()));
        let view = Rootfs::open(&root)?;
        // The root was its own, and not that of a process that has its pid by now.
        self.must_live()?;
        let wanted = Wanted {
            args: process.args().as_deref().unwrap_or_default(),
            env: process.env().as_deref().unwrap_or_default(),
            cwd: process.cwd(),
            annotations: &HashMap::new(),
            uid: process.user().uid(),
            gid: process.user().gid(),
            // They are in place by now.
            mounts: &[],
        };
        let options = host.options_for(&self.settings);
        let planned = match medley_dispatch::plan(&wanted, &view, &options) {
            Ok(Decision::Planned(planned)) => Ok(planned),
            Ok(Decision::NeedsLayers(needed)) => {
                let listed = image_layers::of_container(host, &self.id);
                let cache = self.settings.cache.as_deref();
                // `sh` does not mean the image's only module.
                image_layers::plan(host, cache, needed.require_explicit_name(), listed)
            }
            Err(error) => Err(error),
        };
        planned.map_err(|error| Error::BesideGuest {
            source: error.into(),
        })
    }
}

impl Exec {
    /// Makes the process, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its own reason; nothing of it is left then.
    pub fn start(&self, created: &Created, host: &Host) -> Result<(), Error> {
        let ends = lock(&self.ends).take().ok_or(Error::Ends)?;
        created.must_live()?;
        let (status, writer) = io::pipe().map_err(Error::Spawn)?;
        let made = self.make(created, host, &ends, writer.as_fd());
        let (pid, master) = made.or_else(|error| {
            // Init's end, if it came meanwhile, is the reason that says most.
            created.must_live()?;
            Err(error)
        })?;
        let running = PidFd::open(pid).map_err(|source| {
            children::let_go(pid);
            Error::InitGone { pid, source }
        })?;
        // The process holds the only writing end from here on.
        drop((writer, ends));
        // It may be killed from here on. Started once: the Task API has made sure.
        self.made.set(running).map_err(|_| Error::Ends)?;
        let running = self.made.get().ok_or(Error::Ends)?;
        let connected = master.map_or(Ok(()), |master| self.stdio.connect(master));
        let heard = connected.map_err(Error::from).and_then(|()| {
            let status = File::from(OwnedFd::from(status));
            hear_within(status, running.pid(), START_TIMEOUT)
        });
        if heard.is_err() {
            created.end(running);
            return heard;
        }
        self.runs.store(true, Ordering::Release);
        Ok(())
    }

    /// Has a helper make the process, and gives its pid and the master of its terminal.
    fn make(
        &self,
        created: &Created,
        host: &Host,
        ends: &ContainerEnds,
        status: std::os::fd::BorrowedFd<'_>,
    ) -> Result<(i32, Option<OwnedFd>), Error> {
        let ask = |program, code: Option<&Source>| {
            let request = Request::Exec(Box::new(ExecOrder {
                init: created.init.pid(),
                keyring: (!created.settings.no_new_keyring).then(|| created.id.clone()),
                cgroup: created.cgroup.clone(),
                bundle: created.bundle().to_owned(),
                process: self.process.clone(),
                terminal: self.terminal,
                debug: host.debug,
                program,
            }));
            let mut fds = vec![
                ends.stdin.as_fd(),
                ends.stdout.as_fd(),
                ends.stderr.as_fd(),
                status,
                created.init.as_fd(),
            ];
            fds.extend(code.and_then(Source::fd));
            let thaw = || created.thaw_for_kill();
            helper_client::ask_for(host, &request, &fds, START_TIMEOUT, &self.cancel, thaw)
        };
        let answer = match &self.decision {
            None => ask(Program::Linux { path: None }, None)?,
            Some(Planned {
                plan: Plan::Wasm(plan),
                module: Some(module),
                ..
            }) => code_source::with_code(
                &Customer {
                    host,
                    cache: created.settings.cache.as_deref(),
                    compilers: created.settings.compilers(),
                    is_wanted: &|| !self.cancel.is_cancelled() && created.must_live().is_ok(),
                    id: &created.id,
                    in_pod: created.in_pod.then_some(&created.cgroup),
                },
                plan,
                module,
                |source| {
                    let program = Program::Wasm {
                        engine: plan.engine,
                        entry: code_source::entry(plan),
                        code: source.code(created.settings.cache.as_deref()),
                        preopens: spec::preopens(&self.spec),
                        argv_start: plan.argv_start,
                        stack: code_source::stack(Some(&self.process), &created.settings),
                    };
                    ask(program, Some(source))
                },
            )?,
            Some(Planned { plan, .. }) => {
                let path = match plan {
                    Plan::Linux(plan) => plan.program.clone(),
                    Plan::Wasm(plan) => Some(plan.module.clone()),
                };
                ask(Program::Linux { path }, None)?
            }
        };
        helper_client::made(answer)
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
    pub fn cancel(&self, created: &Created) -> bool {
        let was_at_it = self.made.get().is_none() && self.cancel.cancel();
        if was_at_it {
            // Who makes it is in the container's cgroup by then.
            created.thaw_for_kill();
        }
        was_at_it
    }

    /// Reaps the process if it has ended.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<Ended>> {
        let Some(process) = self.process() else {
            return Ok(None);
        };
        let Some(ended) = children::reap(process)? else {
            return Ok(None);
        };
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives the process up, whose end can't be watched: whoever finds it dead may reap it.
    pub fn abandon(&self) {
        if let Some(process) = self.process() {
            children::let_go(process.pid());
        }
        super::reap_orphans();
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &Keeper {
        &self.stdio
    }

    /// Lets go of what it was to have, should it never have been started.
    pub fn delete(&self) {
        drop(lock(&self.ends).take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // An `Option` is whole whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
