//! In init: become the container's program.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::Spec;

use crate::protocol::STARTED;

/// Exit status of an init whose program can't be found, as shells have it.
const NOT_FOUND: u8 = 127;

/// Exit status of an init whose program can't be executed, as shells have it.
const NOT_EXECUTABLE: u8 = 126;

/// The environment and the status pipe, which the executor's clones share: libcontainer clones
/// it, all in one process.
#[derive(Clone)]
pub(crate) struct LinuxInit {
    path: Option<PathBuf>,
    shared: Rc<Shared>,
}

struct Shared {
    env: RefCell<HashMap<String, String>>,
    status: RefCell<File>,
}

impl LinuxInit {
    /// `status` is where an error goes; it is closed on exec, which is how the shim learns that
    /// the program runs.
    pub(crate) fn new(path: Option<PathBuf>, status: File) -> Self {
        let shared = Shared {
            env: RefCell::default(),
            status: RefCell::new(status),
        };
        Self {
            path,
            shared: Rc::new(shared),
        }
    }
}

impl LinuxInit {
    /// Whether somebody has looked for the program.
    pub(crate) fn knows_its_program(&self) -> bool {
        self.path.is_some()
    }

    /// Lends the pipe that tells how its start goes.
    pub(crate) fn with_status(&self, use_it: impl FnOnce(BorrowedFd<'_>)) {
        use_it(self.shared.status.borrow().as_fd());
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
        *self.shared.env.borrow_mut() = envs;
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().as_ref());
        let (name, args) = args
            .and_then(|args| args.split_first())
            .ok_or(ExecutorError::InvalidArg)?;
        let path = self.path.clone().unwrap_or_else(|| PathBuf::from(name));
        // The sign that init has come this far; what follows it is an error.
        if let Err(lost) = self.shared.status.borrow_mut().write_all(STARTED) {
            log::error!(
                "the shim does not hear that {} runs: {lost}",
                path.display()
            );
        }
        let error = Command::new(&path)
            .arg0(name)
            .args(args)
            .env_clear()
            .envs(self.shared.env.borrow().iter())
            // Does what a runtime owes its container: no signal blocked, SIGPIPE as it was.
            .exec();
        let text = format!("cannot execute {}: {error}", path.display());
        if let Err(lost) = self.shared.status.borrow_mut().write_all(text.as_bytes()) {
            log::error!("{text}; and this could not be told to the shim: {lost}");
        }
        medley_sys::child::exit_now(match error.kind() {
            std::io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        })
    }
}
