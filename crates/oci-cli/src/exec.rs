//! `exec`: adds a process to a container.

use medley_cgroup::{Cgroup, SubCgroup};
use medley_container::shim::command::{ExecProcess, NewProcess, Record, Status};
use medley_sys::child;
use medley_sys::signal_fd::SignalFd;

use crate::args::{Args, Flag};
use crate::console::{self, ConsoleSocket};
use crate::exec_process::{self, PROCESS, TTY};
use crate::failure::Failure;
use crate::foreground;
use crate::global::Global;
use crate::help::About;
use crate::passed::{self, Passed};
use crate::pid_file::PidFile;
use crate::run::DETACH;

const CGROUP: Flag = Flag::with(
    "cgroup",
    "",
    "[CONTROLLER,...:]PATH",
    "run it in a cgroup below the container's own",
);
const IGNORE_PAUSED: Flag = Flag::switch(
    "ignore-paused",
    "",
    "add it to a paused container, where it waits as the others do",
);

pub(crate) const ABOUT: About = About {
    name: "exec",
    args: "<container-id> <command> [arguments]",
    about: "run a further process in a container",
    flags: &[
        console::SOCKET,
        console::PIDFD_SOCKET,
        exec_process::CWD,
        exec_process::ENV,
        TTY,
        exec_process::USER,
        exec_process::GROUPS,
        PROCESS,
        DETACH,
        PidFile::FLAG,
        exec_process::LABEL,
        exec_process::APPARMOR,
        exec_process::NO_NEW_PRIVILEGES,
        exec_process::CAPABILITY,
        passed::PRESERVE,
        CGROUP,
        IGNORE_PAUSED,
    ],
};

/// What callers expect of a process that could not be made.
const NOT_MADE: u8 = 255;

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    exec(global, args).map_err(|failure| failure.within("exec failed").with_code(NOT_MADE))
}

fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let detach = args.has(DETACH.name);
    let pid_file = PidFile::of(args)?;
    let record = global.record(&args.rest[0])?;
    match record.status() {
        Status::Stopped | Status::Creating => {
            return Err(Failure::new("cannot exec in a stopped container"));
        }
        Status::Paused if !args.has(IGNORE_PAUSED.name) => {
            return Err(Failure::new(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let cgroup = sub_cgroup(&record, args)?;
    let passed = Passed::take(global, args)?;
    let asked = exec_process::of(args, &record, &passed.env)?;
    let socket = args.value(console::SOCKET.name);
    console::check(detach, asked.terminal, socket)?;
    let socket = socket.map(ConsoleSocket::connect).transpose()?;
    let pidfd = args
        .value(console::PIDFD_SOCKET.name)
        .map(ConsoleSocket::connect);
    let pidfd = pidfd.transpose()?;
    let signals = (!detach).then(SignalFd::of_all).transpose();
    let signals = signals.map_err(Failure::when("take the signals"))?;
    child::become_subreaper().map_err(Failure::when("become a subreaper"))?;
    let container = record.open(&global.commands()?)?;
    let ExecProcess { process, terminal } = container.exec(NewProcess {
        process: asked.json,
        terminal: asked.terminal,
        cgroup,
        passed: passed.fds,
    })?;
    if let Some(socket) = &pidfd {
        socket.send(&process)?;
    }
    if let Some(file) = &pid_file {
        file.write(process.pid())?;
    }
    let Some(signals) = signals else {
        if let (Some(socket), Some(master)) = (&socket, &terminal) {
            socket.send(master)?;
        }
        return Ok(0);
    };
    foreground::begin(terminal, signals)?.wait(&process)
}

/// The cgroup below the container's own that `args` name, if they do.
fn sub_cgroup(record: &Record, args: &Args) -> Result<Option<Cgroup>, Failure> {
    let named: Vec<SubCgroup> = args.values(CGROUP.name).map(SubCgroup::parse).collect();
    if named.is_empty() {
        return Ok(None);
    }
    if named.len() > 1 && named.iter().any(|each| each.controllers.is_empty()) {
        return Err(Failure::new(
            "invalid --cgroup argument: of several each needs a <controller>: prefix",
        ));
    }
    let own = record
        .cgroup()
        .ok_or_else(|| Failure::new("the container has no cgroup"))?;
    let below = own.below(&named);
    below.map(Some).map_err(|error| Failure::of(&error))
}
