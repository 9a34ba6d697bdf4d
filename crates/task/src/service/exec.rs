//! Further processes of a task.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Service, Snapshot, begin_delete, failed, not_killed, refused, report, signal_process,
    to_the_end,
};
use crate::error::Error;
use crate::events::Event;
use crate::name::Name;
use crate::runtime::{ExecRequest, Exit, KillError};
use crate::state::{Status, Task};

/// Exit status of an exec that could not be started, as runc's shim has it.
const NOT_STARTED: u32 = 255;

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
        to_the_end(&name.clone(), async move {
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
        exec.life.step("start", Status::Created, Status::Starting)?;
        let events = self.shared.events.clone();
        to_the_end(&Name::new(id, exec_id), async move {
            let started = exec.process.start().await;
            if let Err(source) = started {
                // It never was a process: there is no exit to tell.
                let exit = Exit {
                    status: NOT_STARTED,
                    at: SystemTime::now(),
                };
                exec.life
                    .step("start", Status::Starting, Status::Stopped(exit))?;
                return Err(refused(&exec.life.name, "start")(source));
            }
            let pid = exec.process.pid();
            events.send(Event::ExecStarted {
                id: exec.request.id.clone(),
                exec_id: exec.request.exec_id.clone(),
                pid,
            });
            exec.life.step("start", Status::Starting, Status::Running)?;
            tokio::spawn(report::exec(exec, events));
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
        request.stdin.clone_from(&exec.request.stdin);
        request.stdout.clone_from(&exec.request.stdout);
        request.stderr.clone_from(&exec.request.stderr);
        request.terminal = exec.request.terminal;
        Ok(Snapshot {
            request,
            pid: exec.process.pid(),
            status: exec.life.status(),
        })
    }

    /// Sends a signal to an exec.
    ///
    /// # Errors
    /// [`Error::Finished`] if it has ended, [`Error::IllegalState`] if it was never started.
    pub async fn kill_exec(&self, id: &str, exec_id: &str, signal: u32) -> Result<(), Error> {
        let exec = self.task(id)?.exec(exec_id)?;
        loop {
            match exec.life.status() {
                Status::Created => return Err(exec.life.illegal("signal", Status::Created)),
                // What is in the container may hold its start up: the signal does not wait for it.
                Status::Starting => match exec.process.kill(signal).await {
                    Err(KillError::Finished) => {
                        let through = exec.life.when(Status::not_starting);
                        // It is not there yet, or has failed. Either is over soon.
                        tokio::time::timeout(LOOK_AGAIN, through).await.ok();
                    }
                    killed => return killed.map_err(not_killed(&exec.life.name)),
                },
                _ => return signal_process(&*exec.process, &exec.life, signal).await,
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
        let name = exec.life.name.clone();
        let events = self.shared.events.clone();
        to_the_end(&name, async move {
            exec.life.when(Status::not_starting).await;
            if exec.life.status() == Status::Created {
                let exit = Exit {
                    status: 0,
                    at: SystemTime::now(),
                };
                exec.life
                    .step("delete", Status::Created, Status::Stopped(exit))?;
            }
            let exit = begin_delete(&exec.life)?;
            if let Err(source) = exec.process.delete().await {
                exec.life
                    .step("delete", Status::Deleting(exit), Status::Stopped(exit))?;
                return Err(failed(&exec.life.name, "delete")(source));
            }
            task.forget(&exec.request.exec_id);
            events.forget(&exec.life.name);
            Ok((exec.process.pid(), exit))
        })
        .await
    }
}

/// Refuses what needs a task that runs.
fn running(task: &Arc<Task>, verb: &'static str) -> Result<(), Error> {
    match task.life.status() {
        Status::Running => Ok(()),
        status => Err(task.life.illegal(verb, status)),
    }
}
