//! In init: become the container's program.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use medley_sys::capabilities::Capabilities;
use medley_types::exit_status::{NOT_EXECUTABLE, NOT_FOUND};
use oci_spec::runtime::Spec;
use rustix::io::Errno;

use crate::confinement::{self, Confinement};
use crate::filter;
use crate::helper::log_file;
use crate::init::late_filter::LateFilter;
use crate::init::start_hooks::StartHooks;
use crate::init::{null, terminal, working_dir};
use crate::protocol::STARTED;
use crate::spec::{self, environment};

/// Where the numbers of descriptors begin that are not given to the program yet: below the limit that a
/// process has by default, and above as many as are ever passed on.
const ABOVE_PASSED: i32 = 512;

/// Its executor's clones share what it has: libcontainer clones it, all in one process.
#[derive(Clone)]
pub(crate) struct LinuxInit {
    path: Option<PathBuf>,
    shared: Rc<Shared>,
}

struct Shared {
    /// The user's, for an environment that names none.
    home: RefCell<Option<String>>,
    status: RefCell<File>,
    capabilities: Cell<Option<Capabilities>>,
    filter: RefCell<Option<LateFilter>>,
    settling: RefCell<Settling>,
    start_hooks: RefCell<StartHooks>,
    /// What the program has as descriptors 3 and up.
    passed: RefCell<Vec<OwnedFd>>,
}

/// What init does, as its container's user, before its program.
#[derive(Default)]
pub(crate) struct Settling {
    /// What its program is confined by.
    pub(crate) confinement: Option<Confinement>,
    /// The working directory that was left to it.
    pub(crate) late_cwd: Option<PathBuf>,
    pub(crate) has_terminal: bool,
    pub(crate) start_hooks: StartHooks,
}

/// What init could not do as its container's user, before its program.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "cannot set the capabilities: containerd has to have those of process.capabilities itself"
    )]
    Capabilities(#[source] std::io::Error),
    #[error("cannot make the process undumpable")]
    Dumpable(#[source] std::io::Error),
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    #[error(transparent)]
    Cwd(#[from] working_dir::Error),
    #[error("cannot load the container's seccomp filter")]
    Filter(#[source] std::io::Error),
}

impl LinuxInit {
    /// `status` is where an error goes; it is closed on exec, which is how the shim learns that
    /// the program runs.
    pub(crate) fn new(path: Option<PathBuf>, status: File) -> Self {
        let shared = Shared {
            home: RefCell::default(),
            status: RefCell::new(status),
            capabilities: Cell::default(),
            filter: RefCell::default(),
            settling: RefCell::default(),
            start_hooks: RefCell::default(),
            passed: RefCell::default(),
        };
        Self {
            path,
            shared: Rc::new(shared),
        }
    }
}

impl LinuxInit {
    /// Has init do this before its program.
    pub(crate) fn prepare(&self, settling: Settling) {
        *self.shared.settling.borrow_mut() = settling;
    }

    /// Takes the capabilities out of the spec, which init sets itself then: libcontainer looks at each of them
    /// before it gives one up. Not where a filter is in force by then that may not let it.
    pub(crate) fn take_capabilities(&self, spec: &mut Spec) {
        let has_filter = spec
            .linux()
            .as_ref()
            .is_some_and(|it| it.seccomp().is_some());
        let Some(process) = spec.process_mut() else {
            return;
        };
        if has_filter && process.no_new_privileges().is_some() {
            return;
        }
        self.shared.capabilities.set(spec::capabilities(process));
        process.set_capabilities(None);
    }

    /// Has the program get these descriptors, as 3 and up. Until it is executed they have numbers above
    /// those, and so has the status pipe, which would be lost to one of them.
    pub(crate) fn pass_on(&self, fds: Vec<OwnedFd>) -> std::io::Result<()> {
        if fds.is_empty() {
            return Ok(());
        }
        let above = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, ABOVE_PASSED);
        let status = above(self.shared.status.borrow().as_fd())?;
        let fds: Vec<_> = fds
            .iter()
            .map(|fd| above(fd.as_fd()))
            .collect::<Result<_, _>>()?;
        *self.shared.status.borrow_mut() = status.into();
        *self.shared.passed.borrow_mut() = fds;
        Ok(())
    }

    /// Takes the seccomp filter out of the spec, which init puts in force itself then.
    pub(crate) fn take_filter(&self, spec: &mut Spec) -> Result<(), filter::Error> {
        *self.shared.filter.borrow_mut() = LateFilter::take(spec)?;
        Ok(())
    }

    /// As the container's user, while Create can still fail. Lets go of what is the node's.
    fn settle(&self) -> Result<(), Error> {
        let settling = std::mem::take(&mut *self.shared.settling.borrow_mut());
        if settling.has_terminal {
            terminal::control();
        }
        null::make_writable();
        let filter = self.shared.filter.take();
        let (early, late) = match filter {
            Some(filter) if filter.needs_rights() => (Some(filter), None),
            filter => (None, filter),
        };
        let load = |filter: Option<LateFilter>| filter.map_or(Ok(()), |filter| filter.load());
        load(early).map_err(Error::Filter)?;
        if let Some(capabilities) = self.shared.capabilities.take() {
            capabilities.apply().map_err(Error::Capabilities)?;
        }
        // No process may attach to it while it waits: a change of user may have undone this.
        medley_sys::child::be_undumpable().map_err(Error::Dumpable)?;
        if let Some(confinement) = settling.confinement {
            confinement.set_on_exec()?;
        }
        if let Some(cwd) = settling.late_cwd {
            working_dir::enter(&cwd)?;
        }
        *self.shared.start_hooks.borrow_mut() = settling.start_hooks;
        log::debug!("init: closing the pipe to signal completion, and the log");
        log_file::stop();
        load(late).map_err(Error::Filter)
    }

    /// Becomes the program; comes back only if it can't.
    fn execute(&self, path: &Path, args: &[String], env: Vec<String>) -> std::io::Error {
        let prepare = || {
            let path = CString::new(path.as_os_str().as_encoded_bytes())?;
            let args = args.iter().map(|arg| CString::new(arg.as_str()));
            let args: Vec<_> = args.collect::<Result<_, _>>()?;
            let env: Vec<_> = env
                .into_iter()
                .map(CString::new)
                .collect::<Result<_, _>>()?;
            Ok((path, args, env))
        };
        medley_sys::trace::mark("execute the program");
        match prepare() {
            Ok((path, args, env)) => {
                let passed = self.shared.passed.borrow();
                if let Err(error) = medley_sys::child::pass_on(&passed) {
                    return error;
                }
                medley_sys::child::execute(&path, &args, &env)
            }
            Err(error) => error,
        }
    }

    /// Tells why its program does not run.
    fn give_up(&self, text: &str) {
        if let Err(lost) = self.shared.status.borrow_mut().write_all(text.as_bytes()) {
            log::error!("{text}; and this could not be told to the shim: {lost}");
        }
    }

    /// Whether the program has been looked for.
    pub(crate) fn knows_its_program(&self) -> bool {
        self.path.is_some()
    }

    /// Lends the pipe that tells how its start goes, and what its program gets.
    pub(crate) fn with_descriptors(&self, use_them: impl FnOnce(Vec<BorrowedFd<'_>>)) {
        let (status, passed) = (self.shared.status.borrow(), self.shared.passed.borrow());
        let mut all = vec![status.as_fd()];
        all.extend(passed.iter().map(AsFd::as_fd));
        use_them(all);
    }

    /// The program, as it was found.
    pub(crate) fn set_program(&mut self, path: PathBuf) {
        self.path = Some(path);
    }
}

impl Executor for LinuxInit {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        // The plan was made, and everything checked, before there was a container.
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        medley_sys::trace::cloned("init");
        medley_sys::trace::mark("init is made");
        *self.shared.home.borrow_mut() = Some(environment::home(envs));
        self.settle()
            .map_err(|error| ExecutorSetEnvsError::Other(medley_types::sentence(&error)))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().as_ref());
        let (name, args) = args
            .and_then(|args| Some((args.first()?, args)))
            .ok_or(ExecutorError::InvalidArg)?;
        let path = self.path.clone().unwrap_or_else(|| PathBuf::from(name));
        let env = environment::of(
            spec.process().as_ref(),
            self.shared.home.borrow().as_deref(),
        );
        if let Err(failed) = self.shared.start_hooks.borrow().run(&env) {
            self.give_up(&medley_types::sentence(&failed));
            medley_sys::child::exit_now(NOT_EXECUTABLE);
        }
        // The sign that init has come this far; what follows it is an error.
        if let Err(lost) = self.shared.status.borrow_mut().write_all(STARTED) {
            log::error!(
                "the shim does not hear that {} runs: {lost}",
                path.display()
            );
        }
        let error = self.execute(&path, args, env);
        let mut text = format!("cannot execute {}: {error}", path.display());
        if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
            // By these words Docker tells its exit code.
            text.push_str(": it is no program of this machine, permission denied");
        }
        if error.raw_os_error() == Some(Errno::TOOBIG.raw_os_error()) {
            text.push_str(
                ": of its arguments and environment the kernel takes 128 KiB in one entry, and a \
                 quarter of RLIMIT_STACK, 2 MiB as a rule, in all",
            );
        }
        self.give_up(&text);
        medley_sys::child::exit_now(match error.kind() {
            std::io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        })
    }
}
