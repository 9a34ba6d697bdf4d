//! Further processes of a task.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::exit_events;
use super::life_cycle::Snapshot;
use super::outcome::{begin_delete, failed, not_killed, refused, run_detached, signal_process};
use super::registry::Service;
use medley_types::exit_status::UNKNOWN;

use crate::error::Error;
use crate::events::Event;
use crate::exit::Exit;
use crate::name::Name;
use crate::runtime::{ExecRequest, KillError};
use crate::status::Status;
use crate::task_record::Task;

/// Pause before trying again to signal an exec that is being made.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Service {
    /// Adds a process to a running task; it waits to be started.
    ///
    /// # Errors
    /// [`Error::Exists`] if its id is in use, [`Error::IllegalState`] if the task does not run,
    /// and what the runtime has against it.
    pub async fn exec(&self, request: ExecRequest) -> Result<(), Error> {
        let task = self.task(&request.id)?;
        let name = Name::new(&request.id, &request.exec_id);
        let reservation = task.reserve(&request.exec_id)?;
        running(&task, "exec in")?;
        let events = self.shared.events.clone();
        run_detached(&name.clone(), async move {
            let process = task.container.exec(request.clone()).await;
            let process = process.map_err(refused(&name, "prepare"))?;
            reservation.keep(request.clone(), process);
            events.send(Event::ExecAdded {
                id: request.id,
                exec_id: request.exec_id,
            });
            Ok(())
        })
        .await
    }

    /// Lets an exec run and answers its pid.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it was started before, or its task does not run;
    /// [`Error::Precondition`] if its container has ended meanwhile, [`Error::Runtime`] if its program
    /// can't be run.
    pub async fn start_exec(&self, id: &str, exec_id: &str) -> Result<u32, Error> {
        let task = self.task(id)?;
        let exec = task.exec(exec_id)?;
        running(&task, "exec in")?;
        exec.state
            .transition("start", Status::Created, Status::Starting)?;
        let events = self.shared.events.clone();
        run_detached(&Name::new(id, exec_id), async move {
            let started = exec.process.start().await;
            if let Err(source) = started {
                // It never was a process: there is no exit to tell.
                let exit = Exit {
                    // As with runc's shim.
                    status: UNKNOWN.into(),
                    at: SystemTime::now(),
                };
                exec.state
                    .transition("start", Status::Starting, Status::Stopped(exit))?;
                return Err(refused(&exec.state.name, "start")(source));
            }
            let pid = exec.process.pid();
            events.send(Event::ExecStarted {
                id: exec.request.id.clone(),
                exec_id: exec.request.exec_id.clone(),
                pid,
            });
            exec.state
                .transition("start", Status::Starting, Status::Running)?;
            tokio::spawn(exit_events::exec(exec, events));
            Ok(pid)
        })
        .await
    }

    /// What the exec is and where its life stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn exec_state(&self, id: &str, exec_id: &str) -> Result<Snapshot, Error> {
        let task = self.task(id)?;
        let exec = task.exec(exec_id)?;
        let mut request = task.request.clone();
        request.stdio.clone_from(&exec.request.stdio);
        Ok(Snapshot {
            request,
            pid: exec.process.pid(),
            status: exec.state.status(),
        })
    }

    /// Sends a signal to an exec.
    ///
    /// # Errors
    /// [`Error::Finished`] if it has ended, [`Error::IllegalState`] if it was never started.
    pub async fn kill_exec(&self, id: &str, exec_id: &str, signal: u32) -> Result<(), Error> {
        let exec = self.task(id)?.exec(exec_id)?;
        loop {
            match exec.state.status() {
                Status::Created => return Err(exec.state.illegal("signal", Status::Created)),
                // What is in the container may hold its start up: the signal does not wait for it.
                Status::Starting => match exec.process.kill(signal).await {
                    Err(KillError::Finished) => {
                        let through = exec.state.wait_for(Status::not_starting);
                        // It is not there yet, or has failed. Either is over soon.
                        tokio::time::timeout(LOOK_AGAIN, through).await.ok();
                    }
                    killed => return killed.map_err(not_killed(&exec.state.name)),
                },
                _ => return signal_process(&*exec.process, &exec.state, signal).await,
            }
        }
    }

    /// Removes an exec that has ended, or was never started. Waits for a Start that is under way.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it runs.
    pub async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<(u32, Exit), Error> {
        let task = self.task(id)?;
        let exec = task.exec(exec_id)?;
        let name = exec.state.name.clone();
        let events = self.shared.events.clone();
        run_detached(&name, async move {
            exec.state.wait_for(Status::not_starting).await;
            if exec.state.status() == Status::Created {
                let exit = Exit {
                    status: 0,
                    at: SystemTime::now(),
                };
                exec.state
                    .transition("delete", Status::Created, Status::Stopped(exit))?;
            }
            let exit = begin_delete(&exec.state)?;
            if let Err(source) = exec.process.delete().await {
                exec.state
                    .transition("delete", Status::Deleting(exit), Status::Stopped(exit))?;
                return Err(failed(&exec.state.name, "delete")(source));
            }
            task.forget(&exec.request.exec_id);
            events.forget(&exec.state.name);
            Ok((exec.process.pid(), exit))
        })
        .await
    }
}

/// Refuses what needs a task that runs.
fn running(task: &Arc<Task>, verb: &'static str) -> Result<(), Error> {
    match task.state.status() {
        Status::Running => Ok(()),
        status => Err(task.state.illegal(verb, status)),
    }
}
