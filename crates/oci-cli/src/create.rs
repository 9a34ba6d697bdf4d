//! `create`: makes a container whose init waits to be started. `run` begins as it does.

use std::path::{Path, PathBuf};

use medley_container::shim::command::{Created, NewContainer, StateDir};
use medley_sys::child;

use crate::args::{Args, Flag};
use crate::console::{self, ConsoleSocket};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::passed::{self, Passed};
use crate::pid_file::PidFile;

pub(crate) const BUNDLE: Flag = Flag::with(
    "bundle",
    "b",
    "DIR",
    "the bundle, instead of the directory that this is run in",
);
pub(crate) const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "",
    "move the root instead of pivoting: for a root on a ramdisk",
);
pub(crate) const NO_NEW_KEYRING: Flag = Flag::switch(
    "no-new-keyring",
    "",
    "keep the session keyring of the caller",
);

pub(crate) const ABOUT: About = About {
    name: "create",
    args: "<container-id>",
    about: "create a container",
    flags: &[
        BUNDLE,
        console::SOCKET,
        console::PIDFD_SOCKET,
        PidFile::FLAG,
        NO_PIVOT,
        NO_NEW_KEYRING,
        passed::PRESERVE,
    ],
};

/// Makes the container, and leaves it to who called.
pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    create(global, args).map_err(|failure| failure.within_command("create"))
}

fn create(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut request = CreateArgs::new(global, args, true)?;
    let made = request.create(global)?;
    let handed = hand_over(&made, &request);
    if let Err(failure) = handed {
        made.remove();
        return Err(failure);
    }
    Ok(0)
}

fn hand_over(made: &Made, request: &CreateArgs) -> Result<(), Failure> {
    if let (Some(socket), Some(master)) = (&request.console, &made.created.terminal) {
        socket.send(master)?;
    }
    request.announce(made)
}

/// What a container is made of, as far as the command line says.
pub(crate) struct CreateArgs {
    id: String,
    new: Option<NewContainer>,
    pub(crate) console: Option<ConsoleSocket>,
    pidfd: Option<ConsoleSocket>,
    pid_file: Option<PidFile>,
}

/// A container that was made, and its directory, which no other command works on.
pub(crate) struct Made {
    pub(crate) created: Created,
    pub(crate) dir: StateDir,
}

impl CreateArgs {
    /// Reads and checks what does not need a container.
    pub(crate) fn new(global: &Global, args: &Args, detach: bool) -> Result<Self, Failure> {
        let pid_file = PidFile::of(args)?;
        let bundle = bundle(args.value(BUNDLE.name).unwrap_or("."))?;
        let id = args.rest.first().cloned().unwrap_or_default();
        global.dir(&id)?;
        let terminal =
            medley_container::spec::wants_terminal(&bundle).map_err(|error| Failure::of(&error))?;
        let socket = args.value(console::SOCKET.name);
        console::check(detach, terminal, socket)?;
        let passed = Passed::take(global, args)?;
        let new = NewContainer {
            id: id.clone(),
            bundle,
            settings: global.settings(args),
            env: passed.env,
            passed: passed.fds,
        };
        Ok(Self {
            id,
            new: Some(new),
            console: socket.map(ConsoleSocket::connect).transpose()?,
            pidfd: args
                .value(console::PIDFD_SOCKET.name)
                .map(ConsoleSocket::connect)
                .transpose()?,
            pid_file,
        })
    }

    /// Makes the container.
    pub(crate) fn create(&mut self, global: &Global) -> Result<Made, Failure> {
        let Some(new) = self.new.take() else {
            return Err(Failure::new("the container was made before"));
        };
        child::become_subreaper().map_err(Failure::when("become a subreaper"))?;
        let commands = global.commands()?;
        let dir = StateDir::make(&global.root, &self.id).map_err(|error| Failure::of(&error))?;
        let created = commands.create(&dir, new)?;
        Ok(Made { created, dir })
    }

    /// Tells the pid where it is asked for.
    pub(crate) fn announce(&self, made: &Made) -> Result<(), Failure> {
        let init = made.created.init();
        if let Some(socket) = &self.pidfd {
            socket.send(init)?;
        }
        match &self.pid_file {
            Some(file) => file.write(init.pid()),
            None => Ok(()),
        }
    }
}

impl Made {
    /// Ends and removes what can't be handed over.
    pub(crate) fn remove(self) {
        let record = medley_container::shim::command::Record::read(self.dir.path());
        if let Some(Err(left)) = record.map(|record| record.remove(self.dir)) {
            log::warn!("{}", medley_types::sentence(&left));
        }
    }
}

fn bundle(named: &str) -> Result<PathBuf, Failure> {
    Path::new(named)
        .canonicalize()
        .map_err(Failure::when(format!("find the bundle {named}")))
}
