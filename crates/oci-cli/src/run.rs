//! `run`: makes a container and starts it; in the foreground, until it ends.

use medley_container::shim::command::{Record, StateDir};
use medley_sys::signal_fd::SignalFd;

use crate::args::{Args, Flag};
use crate::create::{BUNDLE, CreateArgs, Made, NO_NEW_KEYRING, NO_PIVOT};
use crate::failure::Failure;
use crate::foreground;
use crate::global::Global;
use crate::help::About;
use crate::pid_file::PidFile;
use crate::{console, passed, start};

pub(crate) const DETACH: Flag = Flag::switch("detach", "d", "do not wait for its end");
const KEEP: Flag = Flag::switch("keep", "", "do not delete the container after its end");
const NO_SUBREAPER: Flag = Flag::switch(
    "no-subreaper",
    "",
    "taken for runc's sake; orphans are never kept",
);

pub(crate) const ABOUT: About = About {
    name: "run",
    args: "<container-id>",
    about: "create and run a container",
    flags: &[
        BUNDLE,
        console::SOCKET,
        console::PIDFD_SOCKET,
        PidFile::FLAG,
        NO_PIVOT,
        NO_NEW_KEYRING,
        passed::PRESERVE,
        DETACH,
        KEEP,
        NO_SUBREAPER,
    ],
};

/// Runs the container, and gives its exit status unless it is left behind.
pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let detach = args.has(DETACH.name);
    let ran = if detach {
        detached(global, args)
    } else {
        attached(global, args)
    };
    ran.map_err(|failure| failure.within_command("run"))
}

fn detached(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut request = CreateArgs::new(global, args, true)?;
    let made = request.create(global)?;
    let hand_over = || {
        if let (Some(socket), Some(master)) = (&request.console, &made.created.terminal) {
            socket.send(master)?;
        }
        start::start(&made.created.container)?;
        request.announce(&made)
    };
    if let Err(failure) = hand_over() {
        made.remove();
        return Err(failure);
    }
    Ok(0)
}

fn attached(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut request = CreateArgs::new(global, args, false)?;
    // From here on they are the container's.
    let signals = SignalFd::of_all().map_err(Failure::when("take the signals"))?;
    let mut made = request.create(global)?;
    let terminal = made.created.terminal.take();
    let session = foreground::begin(terminal, signals);
    let begun = session.and_then(|session| {
        start::start(&made.created.container)?;
        request.announce(&made)?;
        Ok(session)
    });
    let session = match begun {
        Ok(session) => session,
        Err(failure) => {
            made.remove();
            return Err(failure);
        }
    };
    // Other commands may work on it while it runs.
    let Made { created, dir } = made;
    let path = dir.path().to_owned();
    drop(dir);
    let ended = session.wait(created.init());
    if !args.has(KEEP.name)
        && let Ok(Some(dir)) = StateDir::lock(&path)
        && let Some(record) = Record::read(&path)
        && let Err(left) = record.remove(dir)
    {
        log::warn!("{}", medley_types::sentence(&left));
    }
    ended
}
