//! A process that is to be added to a container, checked and decided on: what the shim and the command
//! line do alike.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use medley_cgroup::Cgroup;
use medley_dispatch::{Decision, Plan, Planned, Request as Wanted, Rootfs};
use medley_io::ContainerStdio;
use medley_types::Cancel;
use oci_spec::runtime::{Process, Spec};

use super::code_source;
use super::compiler_limit::CompileContext;
use super::error::Error;
use super::live_container::LiveContainer;
use super::{module, terminal};
use crate::protocol::{
    self, ExecFds, Guest, MadeProcess, MakeReply, PreparedProcess, Program, TerminalRequest,
};
use crate::spec;
use crate::spec::asked;
use crate::spec::environment;
use crate::spec::words;

/// A process to add to a container.
#[derive(Debug)]
pub(super) struct PreparedExec {
    process: Process,
    /// What it does, in a container of guests; elsewhere its first argument says.
    decision: Option<Planned>,
    /// The container's spec, as it is in force.
    spec: Spec,
    /// The terminal that it gets.
    terminal: Option<TerminalRequest>,
    /// Its user, on the node.
    pub(super) uid: u32,
}

/// What a process gets from who makes it.
pub(super) struct ExecEnds<'a> {
    pub(super) stdio: &'a ContainerStdio,
    /// The writing end of what tells how its start went.
    pub(super) status: BorrowedFd<'a>,
    /// What its program has as descriptors 3 and up.
    pub(super) passed: Vec<BorrowedFd<'a>>,
    /// Where it goes, if not into the container's own cgroup.
    pub(super) cgroup: Option<Cgroup>,
    /// How long the helper that makes it may take.
    pub(super) timeout: Duration,
}

impl PreparedExec {
    /// Checks the OCI runtime spec's `process`, given as JSON, with a terminal if `has_terminal`.
    pub(super) fn new(
        container: &LiveContainer,
        process: &[u8],
        has_terminal: bool,
    ) -> Result<Self, Error> {
        container.must_live()?;
        if medley_cgroup::is_v2() {
            medley_cgroup::prepare_for_move();
        }
        let read = words::process(process).map_err(|source| Error::Process { source })?;
        spec::warn_of_unknown(&container.id, &read.unknown_capabilities);
        let mut process = read.value;
        environment::check(&process)?;
        asked::check_process(&process).map_err(spec::Error::from)?;
        let decision = if container.is_wasm {
            // Like its init: nothing that runs here gains privileges.
            process.set_no_new_privileges(Some(true));
            Some(decide(container, &process)?)
        } else {
            None
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
        process.set_terminal(Some(has_terminal));
        let terminal = terminal::of(&spec, &process);
        Ok(Self {
            process,
            decision,
            spec,
            terminal,
            uid,
        })
    }

    /// Has a helper make the process.
    pub(super) fn make(
        &self,
        container: &LiveContainer,
        ends: &ExecEnds<'_>,
        cancel: &Cancel,
    ) -> Result<MadeProcess<OwnedFd>, Error> {
        let process = PreparedProcess {
            init: container.init.pid(),
            id: container.id.clone(),
            keyring: !container.settings.no_new_keyring,
            cgroup: ends.cgroup.as_ref().unwrap_or(&container.cgroup).clone(),
            bundle: container.bundle().to_owned(),
            process: self.process.clone(),
            terminal: self.terminal,
            debug: container.context.helpers.debug(),
        };
        let fds = ExecFds {
            stdio: [
                ends.stdio.stdin.as_fd(),
                ends.stdio.stdout.as_fd(),
                ends.stdio.stderr.as_fd(),
            ],
            status: ends.status,
            init: container.init.as_fd(),
            passed: ends.passed.clone(),
        };
        let ask = |program: Program<BorrowedFd<'_>>| -> Result<MakeReply<OwnedFd>, Error> {
            let call = protocol::Exec {
                process: Box::new(process.clone()),
                program,
                fds: fds.clone(),
            };
            let helper = container.context.helpers.start(call.program.engine())?;
            let pending = helper.cancelled_by(cancel)?.send(call);
            Ok(pending.wait_for(ends.timeout, || container.thaw_for_kill())?)
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
                    is_wanted: &|| !cancel.is_cancelled() && container.must_live().is_ok(),
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
}

/// What runs beside a guest: by content, on the files that it sees. The annotations speak of
/// the container's own program.
fn decide(container: &LiveContainer, process: &Process) -> Result<Planned, Error> {
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
    let planned = planned.map_err(|error| Error::BesideGuest {
        source: error.into(),
    })?;
    if let (Plan::Wasm(plan), Some(_)) = (&planned.plan, &planned.application) {
        return Err(Error::ApplicationBesideGuest {
            manifest: plan.module.clone(),
        });
    }
    Ok(planned)
}
