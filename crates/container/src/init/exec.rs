//! In a process that was added to a container: become what was asked for, in the container's
//! namespaces already.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::workload::Executor;
use medley_types::exit_status::{NOT_EXECUTABLE, NOT_FOUND};
use oci_spec::runtime::{Process, Spec};
use rustix::process::{Gid, Uid};

use crate::filter::Filter;
use crate::helper::schedule::{self, Schedule};
use crate::init::Init;
use crate::spec;

/// What the process needs to become what it is to be.
pub(crate) struct ExecSetup {
    pub(crate) process: Process,
    pub(crate) filter: Option<Filter>,
    pub(crate) stdio: [OwnedFd; 3],
    /// Whether its stdio is the terminal that is to be its own.
    pub(crate) terminal: bool,
    /// Where an error goes.
    pub(crate) status: Option<File>,
    /// Where what its filter asks an agent by goes, and what says that the agent has it.
    pub(crate) asking: Option<OwnedFd>,
    pub(crate) schedule: Schedule,
    pub(crate) work: Init,
}

/// What says that the agent has it.
pub(crate) const HEARD: &[u8] = b"+";

/// Why it could not.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {what}")]
    Step {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot enter the working directory {} inside the container", cwd.display())]
    Cwd { cwd: PathBuf, source: io::Error },
    #[error("the working directory {} lies outside of the container", cwd.display())]
    Outside { cwd: PathBuf },
    #[error("cannot set the limit {kind}: {reason}")]
    Limit { kind: String, reason: String },
    #[error("cannot set the capabilities")]
    Capabilities(#[source] io::Error),
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
    #[error("cannot load the container's seccomp filter")]
    Filter(#[source] io::Error),
    #[error("exec: {name:?}: executable file not found in $PATH ({path})")]
    NotFound { name: String, path: String },
    #[error("the process has no arguments, so there is nothing to run")]
    NoArguments,
    #[error("cannot run it: {reason}")]
    Executor { reason: String },
}

/// Becomes the program; comes back only if it can't, with the exit status. `socket` is the helper's,
/// which this process must not have.
pub(crate) fn run(mut setup: ExecSetup, socket: &OwnedFd) -> u8 {
    let mut status = setup.status.take();
    close_unmeant(&setup, status.as_ref(), socket);
    let Err(error) = apply_and_exec(setup, &mut status) else {
        return NOT_EXECUTABLE;
    };
    let text = medley_types::sentence(&error);
    if let Some(status) = &mut status
        && let Err(lost) = status.write_all(text.as_bytes())
    {
        log::error!("{text}; and this could not be told to the shim: {lost}");
    }
    match error {
        Error::NotFound { .. } => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Closes what is the helper's: its socket and its log, and all else, but that an engine
/// may hold descriptors of its own. This process is visible in the container, and not dumpable, so
/// that what it has can't be taken; what it does not have is safe if that should fail.
fn close_unmeant(setup: &ExecSetup, status: Option<&File>, socket: &OwnedFd) {
    match &setup.work {
        Init::Linux(init) => {
            let stdio = setup.stdio.iter().map(AsFd::as_fd);
            init.with_descriptors(|theirs| {
                let asking = setup.asking.as_ref().map(AsFd::as_fd);
                let ours = status.map(AsFd::as_fd).into_iter().chain(asking);
                let ours = ours.chain(theirs);
                medley_sys::child::close_all_but(&stdio.chain(ours).collect::<Vec<_>>());
            });
        }
        Init::Wasm(_) => medley_sys::child::close_fds(&[
            socket.as_fd(),
            rustix::stdio::stdin(),
            rustix::stdio::stderr(),
        ]),
    }
}

fn step<T>(what: &'static str, result: rustix::io::Result<T>) -> Result<T, Error> {
    result.map_err(|errno| Error::Step {
        what,
        source: errno.into(),
    })
}

fn apply_and_exec(setup: ExecSetup, status: &mut Option<File>) -> Result<(), Error> {
    let ExecSetup {
        process,
        filter,
        stdio,
        terminal,
        asking,
        schedule,
        mut work,
        ..
    } = setup;
    let load_filter = || load_filter(filter.as_ref(), asking.as_ref());
    let syscall = libcontainer::syscall::syscall::create_syscall();
    schedule.take_policy()?;
    step("begin a session", rustix::process::setsid())?;
    let [stdin, stdout, stderr] = stdio;
    step("set stdin", rustix::stdio::dup2_stdin(&stdin))?;
    step("set stdout", rustix::stdio::dup2_stdout(&stdout))?;
    step("set stderr", rustix::stdio::dup2_stderr(&stderr))?;
    drop((stdin, stdout, stderr));
    if terminal {
        let stdin = rustix::stdio::stdin();
        step("take the terminal", rustix::process::ioctl_tiocsctty(stdin))?;
    }

    for limit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(limit).map_err(|error| Error::Limit {
            kind: limit.typ().to_string(),
            reason: error.to_string(),
        })?;
    }
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if no_new_privileges {
        step(
            "give up new privileges",
            rustix::thread::set_no_new_privs(true),
        )?;
    }
    let user = process.user();
    if let Some(umask) = user.umask() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    // As root first, who may enter where the user may not: as at create.
    let cwd = process.cwd();
    let entered = cwd.as_os_str().is_empty() || std::env::set_current_dir(cwd).is_ok();
    let groups = user.additional_gids().iter().flatten().copied();
    medley_sys::child::set_groups(groups).map_err(|source| Error::Step {
        what: "set the supplementary groups",
        source,
    })?;
    step(
        "keep the capabilities",
        rustix::thread::set_keep_capabilities(true),
    )?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    step(
        "become the group",
        rustix::thread::set_thread_res_gid(gid, gid, gid),
    )?;
    // Either change may have made it dumpable.
    step("hide its memory", undumpable())?;
    step(
        "become the user",
        rustix::thread::set_thread_res_uid(uid, uid, uid),
    )?;
    step("hide its memory", undumpable())?;
    step(
        "keep no more capabilities",
        rustix::thread::set_keep_capabilities(false),
    )?;
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which goes with the other capabilities.
    if !no_new_privileges {
        medley_sys::capabilities::be_effective().map_err(Error::Capabilities)?;
        load_filter()?;
    }
    if let Some(requested) = spec::capabilities(&process) {
        requested.apply().map_err(Error::Capabilities)?;
    }
    if !entered {
        std::env::set_current_dir(cwd).map_err(|source| Error::Cwd {
            cwd: cwd.clone(),
            source,
        })?;
    }
    // The kernel has no absolute path of a directory that can't be reached from the root, which a
    // descriptor that is not meant for this process may have led to: CVE-2024-21626.
    let here = rustix::process::getcwd(Vec::new());
    if !here.is_ok_and(|path| path.to_bytes().starts_with(b"/")) {
        return Err(Error::Outside { cwd: cwd.clone() });
    }
    // A change of user or of capabilities may have made it dumpable.
    step("hide its memory", undumpable())?;

    let home = libcontainer::utils::get_user_home(user.uid());
    let home = home.unwrap_or_else(|| PathBuf::from("/"));
    let home = HashMap::from([("HOME".to_owned(), home.display().to_string())]);
    if let Init::Linux(init) = &mut work
        && !init.knows_its_program()
    {
        init.set_program(find(&process)?);
    }
    if no_new_privileges {
        load_filter()?;
    }
    let mut spec = Spec::default();
    spec.set_process(Some(process));
    let executor: &dyn Executor = match &work {
        Init::Linux(init) => init,
        Init::Wasm(init) => init,
    };
    let failed = |reason: String| Error::Executor { reason };
    executor
        .setup_envs(home)
        .map_err(|error| failed(error.to_string()))?;
    // Its program tells the rest, and a guest's process must not keep the pipe open.
    *status = None;
    executor
        .exec(&spec)
        .map_err(|error| failed(error.to_string()))
}

fn undumpable() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

fn load_filter(filter: Option<&Filter>, asking: Option<&OwnedFd>) -> Result<(), Error> {
    let asked_by = filter.map_or(Ok(None), Filter::load);
    let (Some(asked_by), Some(asking)) = (asked_by.map_err(Error::Filter)?, asking) else {
        return Ok(());
    };
    let told = medley_sys::message::send(asking, HEARD, &[asked_by.as_fd()]);
    let heard = told.and_then(|()| medley_sys::message::receive(asking));
    match heard {
        Ok((heard, _)) if heard == HEARD => Ok(()),
        Ok(_) => Err(Error::Filter(io::ErrorKind::ConnectionAborted.into())),
        Err(error) => Err(Error::Filter(error)),
    }
}

/// The program that the process names, as it is found in the container.
fn find(process: &Process) -> Result<PathBuf, Error> {
    let name = process.args().as_ref().and_then(|args| args.first());
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or(Error::NoArguments)?;
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = process
        .env()
        .iter()
        .flatten()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .filter(|path| !path.is_empty())
        .unwrap_or(medley_types::DEFAULT_PATH);
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|path| is_executable(path))
        .ok_or_else(|| Error::NotFound {
            name: name.clone(),
            path: path.to_owned(),
        })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::{Error, find};
    use oci_spec::runtime::Process;

    fn process(json: &str) -> Process {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_bare_name_is_looked_for_in_the_processs_own_path() {
        let found = find(&process(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh"],"env":["PATH=/nowhere","PATH=/nowhere:/bin"]}"#,
        ));
        assert_eq!(found.unwrap(), std::path::Path::new("/bin/sh"));
        let error = find(&process(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh"],"env":["PATH=/nowhere"]}"#,
        ));
        assert_eq!(
            error.unwrap_err().to_string(),
            "exec: \"sh\": executable file not found in $PATH (/nowhere)"
        );
    }

    #[test]
    fn a_path_is_taken_as_it_is_and_nothing_is_no_program() {
        let found = find(&process(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["./tool"]}"#,
        ));
        assert_eq!(found.unwrap(), std::path::Path::new("./tool"));
        let error = find(&process(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":[]}"#,
        ))
        .unwrap_err();
        assert!(matches!(error, Error::NoArguments));
    }
}
