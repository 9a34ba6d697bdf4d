//! Running hooks: programs that are told a container's state, one after the other until one fails.
//!
//! Those before a container's start are run by the helper that makes it, or by its init; those after it by
//! the shim, which waits for them in a way of its own ([`crate::shim`]).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use medley_sys::pidfd::PidFd;
use medley_types::quoted::Quoted;
use oci_spec::runtime::{ContainerState, Hook, State};
use rustix::fs::MemfdFlags;
use rustix::process::Signal;

/// Most that is read of what a hook writes, in bytes.
const WORDS_MAX: u64 = 64 << 10;

/// A hook that failed, by its number, which begins with 0 as runc's does.
#[derive(Debug, thiserror::Error)]
#[error("{FAILED}{moment} hook #{number}")]
pub struct HookFailed {
    pub(crate) moment: &'static str,
    pub(crate) number: usize,
    pub(crate) source: HookError,
}

/// How the text of a [`HookFailed`] begins.
pub(crate) const FAILED: &str = "error running ";

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// What it is told can't be written.
    #[error("cannot tell a hook of the container")]
    State(#[source] io::Error),
    /// It is no program.
    #[error("{} cannot be run", Quoted::path(path))]
    Run { path: PathBuf, source: io::Error },
    /// It says so.
    #[error("{} {}{}", Quoted::path(path), End(*status), Saying(words.as_deref()))]
    Status {
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last line that it wrote to stderr.
        words: Option<String>,
    },
    /// It took longer than it may.
    #[error(
        "{} took longer than the {limit:?} that it has, and was killed",
        Quoted::path(path)
    )]
    Timeout {
        path: PathBuf,
        /// How long it may take: as the spec says, or what is left after the container's end.
        limit: Duration,
    },
}

/// The end of a program, in a sentence.
struct End(ExitStatus);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            (None, Some(signal)) if signal == Signal::SYS.as_raw() => f.write_str(
                "was killed by a bad system call: the container's seccomp profile kills it for that",
            ),
            _ => write!(f, "was killed by a signal: {}", self.0),
        }
    }
}

/// What a program wrote last.
struct Saying<'w>(Option<&'w str>);

impl fmt::Display for Saying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |words| {
            write!(f, ", saying {}", Quoted::text(words))
        })
    }
}

/// What the hooks of a moment are run with.
pub(crate) struct Moment<'a> {
    pub(crate) name: &'static str,
    /// The container's state, as they are told it.
    pub(crate) state: &'a State,
    /// Where they begin, if not where this process is.
    pub(crate) cwd: Option<&'a Path>,
    /// The environment of those that bring none.
    pub(crate) env: &'a [String],
    /// Whether what they write to stderr is for the container's own.
    pub(crate) in_container: bool,
}

impl Moment<'_> {
    /// Runs its hooks.
    pub(crate) fn run(&self, hooks: Option<&Vec<Hook>>) -> Result<(), HookFailed> {
        let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else {
            return Ok(());
        };
        let failed = |number| {
            move |source| HookFailed {
                moment: self.name,
                number,
                source,
            }
        };
        let state = serde_json::to_vec(self.state)
            .map_err(|error| failed(0)(HookError::State(error.into())))?;
        for (number, hook) in hooks.iter().enumerate() {
            self.run_one(hook, &state).map_err(failed(number))?;
        }
        Ok(())
    }

    fn run_one(&self, hook: &Hook, state: &[u8]) -> Result<(), HookError> {
        let path = hook.path();
        let failed = |source| HookError::Run {
            path: path.clone(),
            source,
        };
        let mut command = command(hook, state, self.env).map_err(failed)?;
        if let Some(cwd) = self.cwd {
            command.current_dir(cwd);
        }
        let mut words = None;
        if !self.in_container {
            let file = memory_file("medley-hook-words").map_err(failed)?;
            command.stderr(file.try_clone().map_err(failed)?);
            words = Some(file);
        }
        let mut child = command.spawn().map_err(failed)?;
        let limit = limit(hook);
        let is_late = match limit {
            Some(limit) => !wait_for_end(&child, limit).map_err(failed)?,
            None => false,
        };
        if is_late {
            child.kill().map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        let words = words.and_then(|file| last_line(hook, file));
        outcome(hook, status, limit.filter(|_| is_late), words)
    }
}

/// The time that a hook has.
pub(crate) fn limit(hook: &Hook) -> Option<Duration> {
    let seconds = |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    hook.timeout().map(seconds)
}

fn wait_for_end(child: &Child, limit: Duration) -> io::Result<bool> {
    // Not reaped before it is waited for.
    let hook = PidFd::open(i32::try_from(child.id()).map_err(io::Error::other)?)?;
    hook.wait_for_end(Some(limit))
}

/// What a hook's end means, which was `late` if it had to be killed.
pub(crate) fn outcome(
    hook: &Hook,
    status: ExitStatus,
    late: Option<Duration>,
    words: Option<String>,
) -> Result<(), HookError> {
    let path = hook.path().clone();
    match late {
        Some(limit) if status.signal().is_some() => Err(HookError::Timeout { path, limit }),
        _ if status.success() => Ok(()),
        _ => Err(HookError::Status {
            path,
            status,
            words,
        }),
    }
}

/// The command of a hook, which is told `state`. `env` is the environment of one that brings none.
pub(crate) fn command(hook: &Hook, state: &[u8], env: &[String]) -> io::Result<Command> {
    let mut command = Command::new(hook.path());
    if let Some((arg0, args)) = hook.args().as_deref().and_then(<[_]>::split_first) {
        command.arg0(arg0).args(args);
    }
    let env = hook.env().as_deref().unwrap_or(env).iter();
    // A file, which unlike a pipe waits for no hook to read it.
    let mut told = File::from(memory_file("medley-hook-state")?);
    told.write_all(state)?;
    told.rewind()?;
    command
        .env_clear()
        .envs(env.filter_map(|entry| entry.split_once('=')))
        .stdin(told)
        .stdout(Stdio::null());
    Ok(command)
}

fn memory_file(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?)
}

/// The last line of what a hook has written, all of which is logged for who debugs it.
fn last_line(hook: &Hook, file: OwnedFd) -> Option<String> {
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(WORDS_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines() {
        log::debug!("hook {}: {line}", hook.path().display());
    }
    lines().next_back().map(str::to_owned)
}

/// `state` of the process `pid` in another status.
pub(crate) fn told(state: &State, status: ContainerState, pid: i32) -> State {
    let mut told = state.clone();
    told.set_status(status).set_pid(Some(pid));
    told
}

#[cfg(test)]
mod tests {
    use super::{HookFailed, Moment};
    use oci_spec::runtime::{ContainerState, Hook, State, StateBuilder};
    use std::path::Path;

    fn hooks(json: &str) -> Vec<Hook> {
        serde_json::from_str(json).unwrap()
    }

    fn state() -> State {
        let state = StateBuilder::default()
            .version("1.0.2")
            .id("it")
            .status(ContainerState::Creating)
            .pid(7)
            .bundle("/b");
        state.build().unwrap()
    }

    fn run(json: &str) -> Result<(), HookFailed> {
        let state = state();
        let moment = Moment {
            name: "createRuntime",
            state: &state,
            cwd: Some(Path::new("/usr")),
            env: &["X=of the process".to_owned()],
            in_container: false,
        };
        moment.run(Some(&hooks(json)))
    }

    fn text(json: &str) -> String {
        medley_types::sentence(&run(json).unwrap_err())
    }

    #[test]
    fn the_hook_that_failed_is_named_with_its_number_and_words() {
        let json = r#"[{"path":"/bin/true"},{"path":"/bin/sh","args":["sh","-c","echo a >&2; echo no >&2; exit 3"]}]"#;
        assert_eq!(
            text(json),
            "error running createRuntime hook #1: \"/bin/sh\" ended with exit code 3, saying \"no\""
        );
        let none = text(r#"[{"path":"/no/hook"}]"#);
        assert!(
            none.starts_with("error running createRuntime hook #0: \"/no/hook\" cannot be run: No"),
            "{none}"
        );
        let killed = text(r#"[{"path":"/bin/sh","args":["sh","-c","kill -SYS $$"]}]"#);
        assert!(killed.contains("bad system call"), "{killed}");
    }

    #[test]
    fn a_hook_is_told_the_state_and_has_an_environment_and_a_dir() {
        let check = |more: &str, env: &str| {
            let script = format!("grep -q '\"pid\":7' && [ $(pwd) = /usr ] && {more}");
            run(&format!(
                r#"[{{"path":"/bin/sh","args":["sh","-c",{script:?}]{env}}}]"#
            ))
        };
        check(
            "[ \\\"$X\\\" = 'of the process' ]"
                .replace('\\', "")
                .as_str(),
            "",
        )
        .unwrap();
        check("[ -z $X$HOME ] && [ $Y = z=1 ]", r#","env":["Y=z=1"]"#).unwrap();
    }

    #[test]
    fn a_hook_that_is_late_is_killed_and_the_next_is_not_run() {
        let text = text(
            r#"[{"path":"/bin/sleep","args":["sleep","3600"],"timeout":1},{"path":"/no/hook"}]"#,
        );
        assert!(
            text.contains("#0: \"/bin/sleep\" took longer than the 1s"),
            "{text}"
        );
    }
}
