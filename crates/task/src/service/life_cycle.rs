//! The calls of a task's life: Create, Start, State, Wait, Kill, Delete, and what it uses meanwhile.

use std::sync::Arc;

use medley_types::metrics::Metrics;

use super::exit_events;
use super::outcome::{
    SIGKILL, begin_delete, failed, kill, not_killed, refused, run_detached, signal_process,
};
use super::registry::{Service, Slot};
use super::reservation::Reservation;
use crate::error::Error;
use crate::events::Event;
use crate::exit::Exit;
use crate::name::Name;
use crate::runtime::CreateRequest;
use crate::status::Status;
use crate::task_record::Task;

/// What State tells of a task or an exec.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The task as it was created; of an exec, with its stdio.
    pub request: CreateRequest,
    /// The process's; 0 of an exec that was not started.
    pub pid: u32,
    /// Where its life stands.
    pub status: Status,
}

/// One process of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its pid.
    pub pid: u32,
    /// Its exec id, if an exec began it.
    pub exec_id: Option<String>,
}

impl Service {
    /// Makes a task and answers init's pid.
    ///
    /// # Errors
    /// [`Error::Exists`] if the id is in use, [`Error::Runtime`] if it can't be made.
    pub async fn create(&self, request: CreateRequest) -> Result<u32, Error> {
        let name = Name::task(&request.id);
        let reservation = self.reserve(&name, &request.cancel)?;
        let service = self.clone();
        run_detached(&name, async move {
            service.create_reserved(request, reservation).await
        })
        .await
    }

    async fn create_reserved(
        &self,
        request: CreateRequest,
        mut reservation: Reservation,
    ) -> Result<u32, Error> {
        let container = self
            .shared
            .runtime
            .create(request.clone())
            .await
            .map_err(failed(&Name::task(&request.id), "create"))?;
        let pid = container.pid();
        let task = Arc::new(Task::new(request.clone(), container));
        self.tasks()
            .insert(request.id.clone(), Slot::Task(Arc::clone(&task)));
        reservation.keep();
        self.shared.events.send(Event::Create {
            request: Box::new(request),
            pid,
        });
        tokio::spawn(exit_events::init(task, self.shared.events.clone()));
        Ok(pid)
    }

    /// Lets a created task run and answers init's pid.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it is not in the state created, [`Error::Runtime`] if its
    /// program can't be run.
    pub async fn start(&self, id: &str) -> Result<u32, Error> {
        let task = self.task(id)?;
        task.state
            .transition("start", Status::Created, Status::Starting)?;
        let events = self.shared.events.clone();
        run_detached(&Name::task(id), async move {
            let started = task.container.start().await;
            let pid = task.container.pid();
            if started.is_ok() {
                events.send(Event::Start {
                    id: task.id().to_owned(),
                    pid,
                });
            }
            // Whether or not it succeeded: an exit may be reported from here on.
            task.state
                .transition("start", Status::Starting, Status::Running)?;
            let Err(source) = started else { return Ok(pid) };
            // The caller deletes the task as soon as the call has failed. A hook that failed leaves
            // a program that runs.
            kill(&task).await?;
            task.state.wait_for(Status::exit).await;
            Err(refused(&task.state.name, "start")(source))
        })
        .await
    }

    /// What the task is and where its life stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn state(&self, id: &str) -> Result<Snapshot, Error> {
        let task = self.task(id)?;
        Ok(Snapshot {
            request: task.request.clone(),
            pid: task.container.pid(),
            status: task.state.status(),
        })
    }

    /// Waits for the end of the task, or of its process `exec_id` unless that is empty.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn wait(&self, id: &str, exec_id: &str) -> Result<Exit, Error> {
        let task = self.task(id)?;
        if exec_id.is_empty() {
            return Ok(task.state.wait_for(Status::exit).await);
        }
        let exec = task.exec(exec_id)?;
        Ok(exec.state.wait_for(Status::exit).await)
    }

    /// Sends a signal to init, or to every process if `all`.
    ///
    /// # Errors
    /// [`Error::Finished`] if the process has ended, but for `all`: what is left of the
    /// container's processes can be killed then too.
    pub async fn kill(&self, id: &str, signal: u32, all: bool) -> Result<(), Error> {
        let task = self.task(id)?;
        if all {
            let killed = task.container.kill_all(signal).await;
            killed.map_err(not_killed(&task.state.name))?;
        } else {
            signal_process(&*task.container, &task.state, signal).await?;
        }
        if signal == SIGKILL
            && task.state.status() == Status::Paused
            && let Err(error) = task.container.resume().await
        {
            // A frozen process dies when it thaws.
            let name = &task.state.name;
            log::warn!("{name} was killed while it was paused, and does not go on: {error}");
        }
        Ok(())
    }

    /// Removes a task that has ended, or was never started. Waits for a Start that is under way, and
    /// ends a Create: containerd calls Delete when it has given up on one of these.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it runs.
    pub async fn delete(&self, id: &str) -> Result<(u32, Exit), Error> {
        let (service, name) = (self.clone(), id.to_owned());
        // Begun, it goes on without its caller, who may not ask again.
        run_detached(&Name::task(id), async move {
            let task = service.await_created(&name).await?;
            task.state.wait_for(Status::not_starting).await;
            service.delete_task(&task).await
        })
        .await
    }

    pub(super) async fn delete_task(&self, task: &Task) -> Result<(u32, Exit), Error> {
        if task.state.status() == Status::Created {
            // Never started: nothing of the user's runs, so there is nothing to lose.
            kill(task).await?;
            task.state.wait_for(Status::exit).await;
        }
        let exit = begin_delete(&task.state)?;
        // Execs that were not deleted hold stdio.
        for exec in task.every_exec() {
            if let Err(error) = exec.process.delete().await {
                log::warn!("{}: {error}", exec.state.name);
            }
        }
        if let Err(source) = task.container.delete().await {
            task.state
                .transition("delete", Status::Deleting(exit), Status::Stopped(exit))?;
            return Err(failed(&task.state.name, "delete")(source));
        }
        self.remove(task.id());
        let pid = task.container.pid();
        self.shared.events.send(Event::Delete {
            id: task.id().to_owned(),
            pid,
            exit,
        });
        Ok((pid, exit))
    }

    /// Every process of the task; of one that has none left, init.
    ///
    /// A containerd 2 that starts takes a task without processes for one that was lost, and has it
    /// deleted before anyone has asked how it ended.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Runtime`] if the cgroup can't be read.
    pub async fn pids(&self, id: &str) -> Result<Vec<Listed>, Error> {
        let task = self.task(id)?;
        let pids = task.container.pids().await;
        let mut pids = pids.map_err(failed(&task.state.name, "list the processes of"))?;
        if pids.is_empty() {
            pids.push(task.container.pid());
        }
        let execs = task.every_exec();
        let begun_by = |pid| {
            let exec = execs.iter().find(|exec| exec.process.pid() == pid)?;
            Some(exec.request.exec_id.clone())
        };
        let listed = pids.into_iter().map(|pid| Listed {
            pid,
            exec_id: begun_by(pid),
        });
        Ok(listed.collect())
    }

    /// The task's use of resources.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Runtime`] if the cgroup can't be read.
    pub async fn metrics(&self, id: &str) -> Result<Metrics, Error> {
        let task = self.task(id)?;
        let metrics = task.container.metrics().await;
        metrics.map_err(failed(&task.state.name, "measure"))
    }

    /// Lets a process see the end of its input: init, or the exec that is named.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn close_stdin(&self, id: &str, exec_id: &str) -> Result<(), Error> {
        let task = self.task(id)?;
        if exec_id.is_empty() {
            task.container.close_stdin();
        } else {
            task.exec(exec_id)?.process.close_stdin();
        }
        Ok(())
    }
}
