//! In the helper: enter a container, and leave a clone there that becomes the process.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use libcontainer::config::PersonalityDomain;
use libcontainer::process::memory_policy;
use medley_sys::clone::{PidNamespace, SingleThreaded};
use medley_sys::pidfd::PidFd;
use medley_sys::trace;
use oci_spec::runtime::{
    ContainerState, LinuxPersonalityDomain, Spec, State, StateBuilder, VERSION,
};

use crate::confinement::{self, Confinement, Labels};
use crate::filter::{self, Filter};
use crate::helper::agent::{self, Agent};
use crate::helper::builder::kill;
use crate::helper::console;
use crate::helper::keyring;
use crate::helper::load_program::{self, LoadOutcome};
use crate::helper::schedule::{self, Schedule};
use crate::helper::{Engines, log_file};
use crate::init::Init;
use crate::init::exec::{self, ExecSetup};
use crate::protocol::{Exec, Failure, MadeProcess, MakeReply, PreparedProcess};
use crate::spec::{self, seccomp};
use medley_cgroup::UnifiedEntry;
use medley_cgroup::guest_memory_limit::MemoryFiles;

/// Why the process could not be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Code(#[from] load_program::Error),
    #[error(transparent)]
    Spec(#[from] spec::Error),
    #[error(transparent)]
    Cgroup(#[from] medley_cgroup::Error),
    #[error("cannot set oom_score_adj to {value}")]
    OomScore { value: i32, source: io::Error },
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    #[error("cannot enter the namespaces of the container's init, process {init}")]
    Enter { init: i32, source: io::Error },
    #[error(
        "the container's init, process {init}, has ended: there is nothing to run a process in"
    )]
    ProcessEnded { init: i32, source: io::Error },
    #[error(transparent)]
    Filter(#[from] filter::Error),
    #[error(transparent)]
    Agent(#[from] agent::Error),
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
    #[error("cannot keep the inheritable capabilities")]
    Capabilities(#[source] io::Error),
    #[error("cannot set the memory policy of the container for the process")]
    MemoryPolicy(#[from] memory_policy::MemoryPolicyError),
    #[error("cannot set the personality of the container for the process")]
    Personality(#[from] libcontainer::syscall::SyscallError),
    #[error(transparent)]
    Console(#[from] console::Error),
    #[error("cannot pass descriptors on to the program")]
    Passed(#[source] io::Error),
    #[error("cannot make a process")]
    Clone(#[source] io::Error),
}

/// Makes the process.
pub(crate) fn run(
    call: Exec<OwnedFd>,
    socket: &OwnedFd,
    engines: Engines,
) -> Result<MakeReply<OwnedFd>, Failure> {
    log_file::start(call.process.debug)?;
    exec(call, socket, engines).map_err(|error| Failure::of(&error))
}

fn exec(
    call: Exec<OwnedFd>,
    socket: &OwnedFd,
    engines: Engines,
) -> Result<MakeReply<OwnedFd>, Error> {
    let _whole = trace::span("make a process in the container");
    // Before the root changes: the user's home is looked up, and a guest hosts.
    medley_sys::names::look_up_without_plugins();
    let Exec {
        process: prepared,
        program,
        fds,
    } = call;
    let ended = |source| Error::ProcessEnded {
        init: prepared.init,
        source,
    };
    let init = PidFd::received(fds.init, prepared.init).map_err(ended)?;
    let status = File::from(fds.status);
    let telling = status.try_clone().map_err(Error::Clone)?;
    let work = match load_program::load(program, status, engines)? {
        LoadOutcome::Ready(work) => work,
        LoadOutcome::CacheMiss(miss) => return Ok(MakeReply::CacheMiss(miss)),
    };
    if let Init::Linux(init) = &work {
        init.pass_on(fds.passed).map_err(Error::Passed)?;
    }
    let (stdio, mut master) = match &prepared.terminal {
        Some(terminal) => {
            let (master, slave) = console::open(&init, terminal)?;
            let again = || slave.try_clone().map_err(Error::Clone);
            ([again()?, again()?, slave], Some(master))
        }
        None => (fds.stdio, None),
    };
    let spec = spec::load(&prepared.bundle)?;
    let filter = filter(&spec, &work)?;
    let asking = filter.as_ref().is_some_and(Filter::asks);
    let asking = asking
        .then(|| Asking::prepare(&spec, &prepared))
        .transpose()?;
    let (asking, to_us) = asking.unzip();
    let enter = |source| Error::Enter {
        init: prepared.init,
        source,
    };
    let alone = SingleThreaded::check().map_err(Error::Clone)?;
    log::debug!(
        "nsexec container setup: this process enters the container, and clones itself there"
    );
    let schedule = Schedule::of(&prepared.process, &spec);
    schedule.begin()?;
    // From here on it is the container that pays. Everything that needs the node's files comes
    // before its namespaces.
    prepared.cgroup.join(&init)?;
    let entry = prepared.cgroup.hybrid_entry();
    let process = prepared.process.clone();
    if let Some(value) = process.oom_score_adj() {
        std::fs::write("/proc/self/oom_score_adj", value.to_string())
            .map_err(|source| Error::OomScore { value, source })?;
    }
    schedule.settle()?;
    live_as(&spec)?;
    let inheritable = spec::beyond_permitted(&process);
    medley_sys::child::make_inheritable(inheritable).map_err(Error::Capabilities)?;
    let confinement = Confinement::open(Labels::of(&process))?;
    if prepared.keyring {
        keyring::join(&prepared.id, confinement.as_ref())?;
    }
    match (&work, confinement) {
        (Init::Linux(_), Some(confinement)) => confinement.set_on_exec()?,
        (Init::Wasm(init), confinement) => init.confine(confinement),
        (Init::Linux(_), None) => {}
    }
    let channel = work.channel();
    let limits = match &channel {
        Some(_) => {
            let procfs = File::open("/proc").map_err(Error::Clone)?;
            Some((MemoryFiles::of_process(prepared.init)?, procfs))
        }
        None => None,
    };
    let limits = RefCell::new(limits);
    // All that was read by its pid until here was its own if it lives now.
    init.must_live().map_err(ended)?;
    alone.enter(&init).map_err(enter)?;
    drop(init);
    // The credentials of another user namespace may have made it dumpable.
    medley_sys::child::be_undumpable().map_err(enter)?;
    let setup = ExecSetup {
        process,
        filter,
        stdio,
        terminal: master.is_some(),
        status: Some(telling),
        asking: to_us,
        schedule,
        work,
    };
    let unified = entry.as_ref().map(UnifiedEntry::dir);
    let pid = alone
        .clone_child_into(PidNamespace::Own, unified, |is_placed| {
            trace::cloned("exec");
            if let Some(entry) = &entry {
                entry.enter(is_placed);
            }
            // A guest is never executed, which would close it: its end would be no hang-up.
            drop(master.take());
            // Nothing of the node's stays open in there.
            drop(limits.take());
            exec::run(setup, socket)
        })
        .map_err(Error::Clone)?;
    log::debug!("child process in init(): {pid}");
    if let Some(asking) = asking
        && let Err(error) = asking.hand_over(pid)
    {
        kill(pid);
        return Err(error);
    }
    if let (Some(channel), Some((sources, procfs))) = (channel, limits.take())
        && let Err(error) = sources.send(&channel, &procfs, pid)
    {
        log::warn!("the guest hears nothing of its memory limit: {error}");
    }
    Ok(MakeReply::Made(MadeProcess {
        pid,
        terminal: master,
    }))
}

/// What the agent of a seccomp profile is told of a process once its filter is in force.
struct Asking {
    agent: Agent,
    state: State,
    from_it: OwnedFd,
}

impl Asking {
    /// Gives the end for the process too. Comes before the namespaces, where the agent has no path.
    fn prepare(spec: &Spec, prepared: &PreparedProcess) -> Result<(Self, OwnedFd), Error> {
        let linux = spec.linux().as_ref();
        let profile = linux.and_then(|linux| linux.seccomp().as_ref());
        let agent = Agent::connect(profile.ok_or(agent::Error::NoPath)?)?;
        let state = StateBuilder::default()
            .version(VERSION)
            .id(prepared.id.clone())
            .status(ContainerState::Running)
            .pid(prepared.init)
            .bundle(prepared.bundle.clone())
            .annotations(spec.annotations().clone().unwrap_or_default())
            .build()
            .map_err(agent::Error::from)?;
        let (from_it, to_us) = medley_sys::message::pair().map_err(Error::Clone)?;
        let asking = Self {
            agent,
            state,
            from_it,
        };
        Ok((asking, to_us))
    }

    /// Has the agent hear of the process `pid`, which waits for that. One that ends before tells why itself.
    fn hand_over(self, pid: i32) -> Result<(), Error> {
        let fds = match medley_sys::message::receive(&self.from_it) {
            Ok((_, fds)) => fds,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(Error::Clone(error)),
        };
        let Some(asked_by) = fds.first() else {
            return Ok(());
        };
        self.agent.hand_over(self.state, pid, asked_by)?;
        medley_sys::message::send(&self.from_it, exec::HEARD, &[]).map_err(Error::Clone)
    }
}

/// What the container's processes have besides, and clones inherit.
fn live_as(spec: &Spec) -> Result<(), Error> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let syscall = libcontainer::syscall::syscall::create_syscall();
    memory_policy::setup_memory_policy(linux.memory_policy(), syscall.as_ref())?;
    let Some(personality) = linux.personality() else {
        return Ok(());
    };
    let domain = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => PersonalityDomain::Linux,
        LinuxPersonalityDomain::PerLinux32 => PersonalityDomain::Linux32,
    };
    Ok(syscall.personality(domain)?)
}

/// The filter that the container's processes run under, or else a guest's own. Made here, where no
/// right is given up yet and nothing of the container can look on.
fn filter(spec: &Spec, work: &Init) -> Result<Option<Filter>, filter::Error> {
    let linux = spec.linux().as_ref();
    let profile = linux.and_then(|linux| linux.seccomp().clone());
    let profile = match work {
        Init::Linux(_) => return profile.as_ref().map(Filter::with_agent).transpose(),
        Init::Wasm(_) => profile.or_else(seccomp::wasm_profile).map(|mut profile| {
            // A guest's code is kept from what speculation tells, whatever its filter leaves out.
            profile.set_flags(Some(profile.flags().clone().unwrap_or_default()));
            profile
        }),
    };
    profile.as_ref().map(Filter::of).transpose()
}
