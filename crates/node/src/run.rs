//! The node's own programs, run where they belong.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;
use rustix::thread::LinkNameSpaceType;

use crate::error::Error;
use crate::names::SEARCHED;
use crate::root::Root;

/// The hidden first argument that has us enter the node and become another program there.
pub(crate) const ENTER: &str = "enter-node";

/// The hidden argument that has us enter the node and remove the mount namespace that it keeps.
pub(crate) const FORGET: &str = "forget-mounts";

/// Longest text of a program that is told, in bytes.
const MAX_OUTPUT: usize = 2000;

/// Where the node's programs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Here: the root is our own.
    Here,
    /// In the namespaces of the node's first process.
    Node,
    /// Nowhere: what lies in a root that is not ours is data.
    Nowhere,
}

impl Runner {
    pub(crate) fn of(root: &Root, nsenter: bool) -> Result<Self, Error> {
        if root.is("/") {
            return Ok(Self::Here);
        }
        if !nsenter {
            return Ok(Self::Nowhere);
        }
        if root.is("/proc/1/root") {
            Ok(Self::Node)
        } else {
            Err(Error::OtherInit {
                root: root.path().to_owned(),
            })
        }
    }

    /// A program with arguments; `None` if it can't be run.
    fn command(self, program: &OsStr, args: &[&OsStr]) -> Option<Command> {
        let mut command = match self {
            Self::Here => Command::new(program),
            Self::Node => {
                let mut command = Command::new("/proc/self/exe");
                command.args([OsStr::new(ENTER), program]);
                command
            }
            Self::Nowhere => return None,
        };
        command.args(args);
        Some(command)
    }

    /// Removes the mount namespace that containers of the node began in, if this is the node that they
    /// ran on. The rest is uninstalled without it: a restart of the node does it too.
    pub(crate) fn forget_mounts(self) {
        let done = match self {
            Self::Here => forget_own_mounts(),
            // It tells of a failure itself.
            Self::Node => Command::new("/proc/self/exe")
                .arg(FORGET)
                .status()
                .map(drop),
            Self::Nowhere => Ok(()),
        };
        done.unwrap_or_else(|error| eprintln!("{}", left(&error)));
    }

    /// Runs a program to its end, with `input` as a file that it may open by `/dev/stdin`. Says what it
    /// printed, or nothing if nothing can be run.
    pub(crate) fn run(
        self,
        program: impl AsRef<OsStr>,
        args: &[&str],
        input: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let program = program.as_ref();
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let Some(mut command) = self.command(program, &args) else {
            return Ok(None);
        };
        let shown = || {
            let words = std::iter::once(program).chain(args.iter().copied());
            let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        };
        let failed = |source| Error::Run {
            program: shown(),
            source,
        };
        // Not /dev/null: a container of nothing but this program has none.
        let stdin = file_of(input.unwrap_or_default()).map_err(failed)?;
        let done = command.stdin(Stdio::from(stdin)).output().map_err(failed)?;
        if done.status.success() {
            return Ok(Some(done.stdout));
        }
        let said = if done.stderr.is_empty() {
            &done.stdout
        } else {
            &done.stderr
        };
        Err(Error::Failed {
            program: shown(),
            status: done.status.to_string(),
            said: last_of(said),
        })
    }
}

/// A file in memory, which unlike a pipe can be read twice.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The end of what a program said, in one line.
fn last_of(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[said.len().saturating_sub(MAX_OUTPUT)..]);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join("; ").trim_matches(['"', ' ']).to_owned()
}

/// Enters the namespaces of the node's first process and becomes a program there. Returns only if
/// that can't be done. We have one thread, as the kernel demands.
pub(crate) fn enter(args: &[OsString]) -> io::Error {
    let Some((program, args)) = args.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    match join() {
        // Our own PATH is that of the container that we come from.
        Ok(()) => Command::new(program)
            .args(args)
            .env("PATH", SEARCHED.join(":"))
            .exec(),
        Err(error) => error,
    }
}

/// Enters the same namespaces, and removes what [`Runner::forget_mounts`] is for.
pub(crate) fn forget() -> io::Result<()> {
    join()?;
    forget_own_mounts()
}

/// What is said if it could not be done.
pub(crate) fn left(error: &io::Error) -> String {
    format!(
        "{} is left, as it cannot be removed: {error}; a restart of the node removes it",
        medley_sys::empty_mounts::DIR
    )
}

fn forget_own_mounts() -> io::Result<()> {
    medley_sys::empty_mounts::remove(Path::new(medley_sys::empty_mounts::DIR))
}

fn join() -> io::Result<()> {
    for name in ["uts", "ipc", "net", "cgroup", "mnt"] {
        let namespace = File::open(Path::new("/proc/1/ns").join(name))?;
        let any: Option<LinkNameSpaceType> = None;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), any)?;
    }
    Ok(())
}
