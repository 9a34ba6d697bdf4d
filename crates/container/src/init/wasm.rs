//! In init: run the guest.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use medley_engine::memory::MemoryBudget;
use medley_engine::{Entry, Guest, GuestExit, Preopen, Program};
use medley_sys::title::Layout;
use medley_types::exit_status::{NOT_EXECUTABLE, TRAPPED};
use oci_spec::runtime::{Process, Spec};
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::confinement::{self, Confinement};
use crate::init::lifeline::Lifeline;
use crate::init::start_hooks::StartHooks;
use crate::init::{null, terminal, working_dir};
use crate::protocol::{FIRST_NAMESPACE, STARTED};
use crate::spec::environment;
use medley_cgroup::guest_memory_limit::LimitChannel;

/// The kernel's period for processor time, in microseconds, where a spec has a quota alone.
const CPU_PERIOD: u64 = 100_000;

/// Longest name that the kernel keeps for a process, without its NUL.
const NAME_MAX: usize = 15;

/// Why its process could not be made a guest's.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot make the process undumpable")]
    Dumpable(#[source] std::io::Error),
    #[error("cannot make it a bare process")]
    Bare(#[source] std::io::Error),
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    #[error(transparent)]
    Cwd(#[from] working_dir::Error),
}

/// Shared by the executor's clones, all in one process.
#[derive(Clone)]
pub(crate) struct WasmInit {
    shared: Rc<Shared>,
}

struct Shared {
    program: Box<dyn Program>,
    /// The files of its native code, whose locks keep the cache from removing them.
    _code: Vec<File>,
    entry: Entry,
    preopens: Vec<Preopen>,
    argv_start: usize,
    /// The user's, for an environment that names none.
    home: RefCell<Option<String>>,
    /// Closed when the guest runs, which is how the shim learns of it.
    status: RefCell<Option<File>>,
    /// What the helper tells after it has made this process.
    channel: Rc<LimitChannel>,
    confined: RefCell<Confined>,
    /// What ends it with the shim until it is started. An exec's has none.
    life: RefCell<Option<Lifeline>>,
    /// The working directory that is left to its process to enter.
    late_cwd: RefCell<Option<PathBuf>>,
    start_hooks: RefCell<StartHooks>,
    has_terminal: Cell<bool>,
    /// Where the kernel has what it shows of its process.
    layout: Option<Layout>,
}

/// How far its process is with what it is confined by.
#[derive(Default)]
enum Confined {
    #[default]
    No,
    Wanted(Confinement),
    Ready(confinement::Ready),
}

impl WasmInit {
    pub(crate) fn new(
        program: Box<dyn Program>,
        code: Vec<File>,
        entry: Entry,
        preopens: Vec<Preopen>,
        argv_start: usize,
        status: File,
        channel: LimitChannel,
    ) -> Self {
        let shared = Shared {
            program,
            _code: code,
            entry,
            preopens,
            argv_start,
            home: RefCell::default(),
            status: RefCell::new(Some(status)),
            channel: Rc::new(channel),
            confined: RefCell::default(),
            life: RefCell::default(),
            late_cwd: RefCell::default(),
            start_hooks: RefCell::default(),
            has_terminal: Cell::default(),
            layout: layout(),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// Has its process change to what it is confined by before the guest begins.
    pub(crate) fn confine(&self, confinement: Option<Confinement>) {
        *self.shared.confined.borrow_mut() = confinement.map_or(Confined::No, Confined::Wanted);
    }

    /// Has its process enter the working directory, as the container's user.
    pub(crate) fn enter_late(&self, cwd: PathBuf) {
        *self.shared.late_cwd.borrow_mut() = Some(cwd);
    }

    /// Has its process take the terminal that its stdio is for its own.
    pub(crate) fn take_terminal(&self) {
        self.shared.has_terminal.set(true);
    }

    /// Has its process run hooks before the guest.
    pub(crate) fn run_hooks(&self, start_hooks: StartHooks) {
        *self.shared.start_hooks.borrow_mut() = start_hooks;
    }

    /// Has its process end with the shim until it is started.
    pub(crate) fn live_with(&self, life: Lifeline) {
        *self.shared.life.borrow_mut() = Some(life);
    }

    /// By which its process hears of its limits.
    pub(crate) fn channel(&self) -> Rc<LimitChannel> {
        Rc::clone(&self.shared.channel)
    }

    /// What it may have of its container's memory.
    fn memory(&self) -> MemoryBudget {
        match self.shared.channel.receive() {
            Ok(allowance) => MemoryBudget::limited_by(Box::new(allowance)),
            // The kernel's limit holds all the same.
            Err(error) => {
                log::warn!("the guest hears nothing of its memory limit: {error}");
                MemoryBudget::default()
            }
        }
    }

    fn guest(&self, spec: &Spec) -> Guest {
        let process = spec.process().as_ref();
        let args = process
            .and_then(|process| process.args().as_deref())
            .unwrap_or_default();
        let split = |entry: String| {
            let (name, value) = entry.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let env = environment::of(process, self.shared.home.borrow().as_deref());
        let env = env.into_iter().filter_map(split).collect();
        let late_cwd = self.shared.late_cwd.borrow();
        let cwd = late_cwd
            .as_ref()
            .or(process.map(Process::cwd))
            .map(|cwd| cwd.display().to_string())
            .unwrap_or_default();
        let args: Vec<String> = args.iter().skip(self.shared.argv_start).cloned().collect();
        if let Some(layout) = self.shared.layout {
            layout.show_arguments(&args);
        }
        Guest {
            args,
            env,
            preopens: with_working_directory(self.shared.preopens.clone(), &cwd),
            cwd,
            memory: self.memory(),
            millicpus: millicpus(spec),
        }
    }

    /// While Create can still fail, and with the capabilities that the container's other processes
    /// have too: from here on they could look into this one.
    fn stay_private(&self) -> Result<(), Error> {
        // Its memory holds the engine, its descriptors are the pod's, and its executable is the
        // shim's.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| Error::Dumpable(errno.into()))?;
        if let Some(cwd) = &*self.shared.late_cwd.borrow() {
            working_dir::enter(cwd)?;
        }
        null::make_writable();
        if self.shared.has_terminal.get() {
            terminal::control();
        }
        let mut confined = self.shared.confined.borrow_mut();
        if let Confined::Wanted(requested) = std::mem::take(&mut *confined) {
            *confined = Confined::Ready(requested.prepare()?);
        }
        Ok(())
    }

    /// Tells why its guest does not run.
    fn give_up(&self, text: &str) {
        if let Some(mut status) = self.shared.status.borrow_mut().take() {
            drop(status.write_all(text.as_bytes()));
        }
    }

    /// All that comes before the guest. In the end the process is confined as its container is, and
    /// what was opened before stays open.
    fn ready(&self, spec: &Spec) -> Result<Guest, Error> {
        self.prepare(spec).map_err(Error::Bare)?;
        let guest = self.guest(spec);
        match std::mem::take(&mut *self.shared.confined.borrow_mut()) {
            Confined::Ready(ready) => ready.enter()?,
            Confined::Wanted(requested) => requested.prepare()?.enter()?,
            Confined::No => {}
        }
        Ok(guest)
    }

    /// Makes a bare process of the helper's clone.
    fn prepare(&self, spec: &Spec) -> std::io::Result<()> {
        medley_sys::trace::mark("run the guest");
        medley_sys::trace::end();
        drop_capabilities(spec)?;
        medley_sys::signals::exit_on_signals()?;
        // The namespaces of a pod: they have been entered.
        medley_sys::child::close_from(FIRST_NAMESPACE);
        // What libcontainer needed, a spec and mounts by the thousand, is not the guest's to keep.
        medley_sys::memory::trim_heap();
        medley_sys::memory::trim_stack();
        let name = self
            .shared
            .entry
            .path
            .file_name()
            .unwrap_or_default()
            .as_encoded_bytes();
        let name: Vec<u8> = name
            .iter()
            .copied()
            .filter(|byte| *byte != 0)
            .take(NAME_MAX)
            .collect();
        rustix::thread::set_name(&std::ffi::CString::new(name)?)?;
        Ok(())
    }
}

/// Where this process, and its clones, are shown from. What `ps` says is no reason to fail.
fn layout() -> Option<Layout> {
    Layout::of_self()
        .inspect_err(|error| log::warn!("ps will not show a guest's arguments: {error}"))
        .ok()
}

/// Leaves a process that is not root's the capabilities that an exec would leave it: the ambient
/// ones. A guest is never executed, so the kernel does not do this, and a user's guest would keep what
/// the spec grants to programs that root owns, such as reading every file.
fn drop_capabilities(spec: &Spec) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let process = spec.process().as_ref();
    let granted = process.and_then(|process| process.capabilities().as_ref());
    let ambient = granted.and_then(|granted| granted.ambient().as_ref());
    let kept = match ambient {
        Some(ambient) if !ambient.is_empty() => {
            // Those that are really in force: an ambient one is permitted and inheritable.
            CapabilitySet::all()
                .iter()
                .filter(|one| rustix::thread::capability_is_in_ambient_set(*one).unwrap_or(false))
                .collect()
        }
        _ => CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    Ok(())
}

/// How much processor time the spec lets the container use, in thousandths. A guest cannot look it
/// up: it has no cgroup file system.
fn millicpus(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let cpu = resources.and_then(|resources| resources.cpu().as_ref())?;
    let quota = u64::try_from(cpu.quota()?)
        .ok()
        .filter(|quota| *quota > 0)?;
    let period = cpu.period().filter(|period| *period > 0);
    let millis = quota.saturating_mul(1000) / period.unwrap_or(CPU_PERIOD);
    Some(u32::try_from(millis).unwrap_or(u32::MAX).max(1))
}

/// Makes relative paths start in `cwd`.
///
/// WASI preview 1 has no working directory: its C library takes `a/b` and `/a/b` for the same and
/// looks for the preopen with the longest matching name, `.` and `/` both counting as empty. So
/// `.` comes last, and every directory of the root gets a preopen of its own, without which `/etc`
/// would be looked for in the working directory too.
fn with_working_directory(mut preopens: Vec<Preopen>, cwd: &str) -> Vec<Preopen> {
    if cwd.is_empty() || cwd == "/" {
        return preopens;
    }
    let mut dirs: Vec<String> = std::fs::read_dir("/")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path().display().to_string())
        .filter(|path| !preopens.iter().any(|preopen| preopen.path == *path))
        .collect();
    dirs.sort();
    preopens.extend(dirs.into_iter().map(|path| Preopen::at(path, false)));
    preopens.push(Preopen {
        path: cwd.to_owned(),
        name: ".".to_owned(),
        read_only: false,
    });
    preopens
}

impl Executor for WasmInit {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The guest's environment is not this process's: RUST_BACKTRACE of a pod must change
        // nothing in the engine.
        medley_sys::trace::cloned("init");
        medley_sys::trace::mark("init is made");
        *self.shared.home.borrow_mut() = Some(environment::home(envs));
        self.stay_private()
            .map_err(|error| ExecutorSetEnvsError::Other(medley_types::sentence(&error)))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let env = environment::of(
            spec.process().as_ref(),
            self.shared.home.borrow().as_deref(),
        );
        if let Err(failed) = self.shared.start_hooks.borrow().run(&env) {
            self.give_up(&medley_types::sentence(&failed));
            medley_sys::child::exit_now(NOT_EXECUTABLE);
        }
        if let Some(life) = self.shared.life.borrow_mut().take() {
            life.let_go();
        }
        let ended = match self.ready(spec) {
            Ok(guest) => {
                let mut started = || {
                    if let Some(mut status) = self.shared.status.borrow_mut().take() {
                        drop(status.write_all(STARTED));
                    }
                };
                self.shared.program.run(&guest, &mut started)
            }
            Err(error) => GuestExit::NotStarted(medley_types::sentence(&error)),
        };
        let status = match ended {
            GuestExit::Exited(code) => code,
            GuestExit::Trapped(text) => {
                drop(writeln!(std::io::stderr(), "{text}"));
                TRAPPED
            }
            GuestExit::NotStarted(text) => {
                let path = self.shared.entry.path.display();
                let text = format!("cannot start {path}: {text}");
                self.give_up(&text);
                drop(writeln!(std::io::stderr(), "{text}"));
                NOT_EXECUTABLE
            }
        };
        medley_sys::child::exit_now(status)
    }
}
