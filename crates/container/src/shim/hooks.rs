//! The hooks that run beside the container: poststart and poststop, programs of the node. What
//! comes before its start is run by the helper that makes it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use libcontainer::container::{Container, ContainerStatus};
use libcontainer::oci_spec::runtime::{Hook, State};
use medley_sys::pidfd::PidFd;
use medley_sys::{children, watch};

use super::error::Error;
use crate::hooks::{self, HookError, HookFailed};

/// When hooks run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    Poststart,
    Poststop,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// How long a hook without a timeout may go on after the end of its container's init: who
    /// kills a container waits for no hook, and what has to be done after its end takes its time.
    fn grace(self) -> Duration {
        match self {
            Self::Poststart => Duration::from_secs(10),
            Self::Poststop => Duration::from_secs(120),
        }
    }
}

/// Runs the hooks of a moment, one after the other, until one fails.
/// `state` is the directory of libcontainer's state of the container, whose init has ended if there is none.
pub(super) fn run(state: &Path, init: Option<&PidFd>, moment: Moment) -> Result<(), Error> {
    let failed = |error| Error::State(Box::new(error));
    let mut container = Container::load(state.to_owned()).map_err(failed)?;
    container.set_status(match moment {
        Moment::Poststart => ContainerStatus::Running,
        Moment::Poststop => ContainerStatus::Stopped,
    });
    let config = container.spec().map_err(failed)?;
    let hooks = config.hooks.unwrap_or_default();
    let hooks = match moment {
        Moment::Poststart => hooks.poststart(),
        Moment::Poststop => hooks.poststop(),
    };
    let told = State::try_from(&container.state)
        .map_err(io::Error::other)
        .and_then(|state| Ok(serde_json::to_vec(&state)?));
    let told = told.map_err(Error::Spawn)?;
    for (number, hook) in hooks.iter().flatten().enumerate() {
        let end = (init, moment.grace());
        run_one(hook, &told, &container.root, end).map_err(|source| {
            Error::Hook(HookFailed {
                moment: moment.name(),
                number,
                source,
            })
        })?;
    }
    Ok(())
}

/// `end` is what a hook without a limit may go on after, and for how long.
fn run_one(
    hook: &Hook,
    state: &[u8],
    cwd: &Path,
    end: (Option<&PidFd>, Duration),
) -> Result<(), HookError> {
    let path = hook.path();
    let failed = |source| HookError::Run {
        path: path.clone(),
        source,
    };
    let mut command = hooks::command(hook, state, &[]).map_err(failed)?;
    command.current_dir(cwd);
    let mut child = children::spawn(&mut command).map_err(failed)?;
    let limit = hooks::limit(hook);
    let late = wait(&child, limit, end).unwrap_or_else(|error| {
        log::warn!("the hook {} can't be watched: {error}", path.display());
        None
    });
    if late.is_some() {
        child.kill().ok();
    }
    let status = children::wait(&mut child).map_err(failed)?;
    hooks::outcome(hook, status, late, None)
}

/// Waits for the end of a hook, and tells which limit came before.
fn wait(
    child: &Child,
    limit: Option<Duration>,
    (init, grace): (Option<&PidFd>, Duration),
) -> io::Result<Option<Duration>> {
    // Not reaped before it is waited for.
    let hook = PidFd::open(i32::try_from(child.id()).map_err(io::Error::other)?)?;
    if let Some(limit) = limit {
        return Ok((!hook.wait_for_end(Some(limit))?).then_some(limit));
    }
    let ended = match init {
        Some(init) => watch::wait_any(&[hook.as_fd(), init.as_fd()], None)? != Some(0),
        None => true,
    };
    match ended {
        false => Ok(None),
        // The container has ended.
        true => Ok((!hook.wait_for_end(Some(grace))?).then_some(grace)),
    }
}

#[cfg(test)]
mod tests {
    use super::run_one;
    use crate::hooks::HookError;
    use libcontainer::oci_spec::runtime::Hook;
    use medley_sys::pidfd::PidFd;
    use std::path::Path;
    use std::time::Duration;

    fn shell(script: &str, rest: &str) -> Hook {
        let json = format!(r#"{{"path":"/bin/sh","args":["sh","-c",{script:?}]{rest}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn run(hook: &Hook) -> Result<(), HookError> {
        let own = PidFd::open(std::process::id().try_into().unwrap()).unwrap();
        run_one(
            hook,
            b"{\"a\":1}",
            Path::new("/"),
            (Some(&own), Duration::ZERO),
        )
    }

    #[test]
    fn a_hook_is_told_the_state_and_has_its_own_environment() {
        let script = r#"[ "$(cat)" = '{"a":1}' ] && [ "$X" = y=z ] && [ -z "$HOME" ]"#;
        run(&shell(script, r#","env":["X=y=z"]"#)).unwrap();
        let error = run(&shell("exit 3", "")).unwrap_err().to_string();
        assert_eq!(error, "\"/bin/sh\" ended with exit code 3");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed() {
        let hook = shell("exec sleep 3600", r#","timeout":1"#);
        let error = run(&hook).unwrap_err();
        assert!(matches!(error, HookError::Timeout { .. }), "{error}");
    }

    /// Not for long, that is.
    #[test]
    fn a_hook_without_a_timeout_does_not_outlive_its_container() {
        #[allow(clippy::zombie_processes, reason = "its end is all that is looked at")]
        let dead = std::process::Command::new("true").spawn().unwrap();
        let dead = PidFd::open(dead.id().try_into().unwrap()).unwrap();
        dead.wait_for_end(None).unwrap();
        let hook = shell("exec sleep 3600", "");
        let error = run_one(
            &hook,
            b"",
            Path::new("/"),
            (Some(&dead), Duration::from_secs(1)),
        )
        .unwrap_err();
        assert!(matches!(error, HookError::Timeout { .. }), "{error}");
    }
}
