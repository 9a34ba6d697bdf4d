//! What several calls do alike: run to their end, kill, begin a deletion, and tell why they failed.

use std::future::Future;

use crate::error::{Cause, Error};
use crate::exit::Exit;
use crate::name::Name;
use crate::runtime::{CallError, KillError, Process};
use crate::state_machine::StateMachine;
use crate::status::Status;
use crate::task_record::Task;

/// SIGKILL's number.
pub(super) const SIGKILL: u32 = 9;

/// What becomes of an error from below.
pub(super) fn failed(name: &Name, verb: &'static str) -> impl FnOnce(Cause) -> Error {
    let name = name.clone();
    move |source| Error::Runtime { name, verb, source }
}

/// What becomes of an error from below that may be the caller's fault.
pub(super) fn refused(name: &Name, verb: &'static str) -> impl FnOnce(CallError) -> Error {
    let name = name.clone();
    move |error| match error {
        CallError::Invalid(source) => Error::Invalid(source),
        CallError::Precondition(source) => Error::Precondition { name, verb, source },
        CallError::Failed(source) => Error::Runtime { name, verb, source },
    }
}

pub(super) fn not_killed(name: &Name) -> impl FnOnce(KillError) -> Error {
    let name = name.clone();
    move |error| match error {
        KillError::Finished => Error::Finished { name },
        error @ KillError::Other { .. } => failed(&name, "kill")(error.into()),
    }
}

/// Signals a process that has not ended.
pub(super) async fn signal_process(
    process: &dyn Process,
    state: &StateMachine,
    signal: u32,
) -> Result<(), Error> {
    if state.status().exit().is_some() {
        let name = state.name.clone();
        return Err(Error::Finished { name });
    }
    let killed = process.kill(signal).await;
    killed.map_err(not_killed(&state.name))
}

/// Moves a process that has ended to its deletion.
pub(super) fn begin_delete(state: &StateMachine) -> Result<Exit, Error> {
    let mut ended = None;
    state.transition_if("delete", |status| match status {
        Status::Stopped(exit) => {
            ended = Some(exit);
            Some(Status::Deleting(exit))
        }
        _ => None,
    })?;
    ended.ok_or_else(|| Error::Internal {
        name: state.name.clone(),
    })
}

/// Kills every process of a task.
pub(super) async fn kill(task: &Task) -> Result<(), Error> {
    match task.container.kill_all(SIGKILL).await {
        Ok(()) | Err(KillError::Finished) => Ok(()),
        Err(error) => Err(failed(&task.state.name, "kill")(error.into())),
    }
}

/// Runs `work` to its end, even if the caller is dropped before.
pub(super) async fn run_detached<T: Send + 'static>(
    name: &Name,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(panic) => {
            log::error!("a call for {name} did not come to its end: {panic}");
            Err(Error::Internal { name: name.clone() })
        }
    }
}
