//! The calls of the Task API, in domain types.

mod exec;
mod limits;
mod report;
mod reservation;
mod sandbox;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::{Cause, Error};
use crate::events::{Event, Events};
use crate::name::Name;
use crate::runtime::{CallError, CreateRequest, Exit, KillError, Process, Runtime};
use crate::state::{Life, Status, Task};
use medley_types::metrics::Metrics;

use reservation::{Reservation, UnderWay};

pub use sandbox::SandboxSnapshot;

/// SIGKILL's number.
const SIGKILL: u32 = 9;

/// Every task of one shim.
///
/// Calls that change something run to their end even if the caller gives up: a container that is
/// half made or half deleted would leak.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<dyn Runtime>,
    events: Events,
    /// Guards which ids are in use; held for look-ups only, never while a container is made.
    tasks: Mutex<HashMap<String, Slot>>,
    /// Guards which pod the shim stands for; held for look-ups only. Never taken with `tasks` held.
    sandbox: Mutex<sandbox::Slot>,
    /// Set once there is or was a pod.
    for_pod: AtomicBool,
    /// Set under the lock of `tasks`, once there will be no more.
    ending: AtomicBool,
    shutdown: Notify,
    /// Told when the last task is gone, or the only Create has failed.
    emptied: Notify,
}

/// An id in use.
enum Slot {
    /// Create is under way.
    Reserved(UnderWay),
    Task(Arc<Task>),
}

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

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service without tasks.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, events: Events) -> Self {
        Self {
            shared: Arc::new(Shared {
                runtime,
                events,
                tasks: Mutex::default(),
                sandbox: Mutex::default(),
                for_pod: AtomicBool::new(false),
                ending: AtomicBool::new(false),
                shutdown: Notify::new(),
                emptied: Notify::new(),
            }),
        }
    }

    /// Makes a task and answers init's pid.
    ///
    /// # Errors
    /// [`Error::Exists`] if the id is in use, [`Error::Runtime`] if it can't be made.
    pub async fn create(&self, request: CreateRequest) -> Result<u32, Error> {
        let name = Name::task(&request.id);
        let reservation = self.reserve(&name, &request.cancel)?;
        let service = self.clone();
        to_the_end(&name, async move {
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
        tokio::spawn(report::init(task, self.shared.events.clone()));
        Ok(pid)
    }

    /// Lets a created task run and answers init's pid.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it is not in the state created, [`Error::Runtime`] if its
    /// program can't be run.
    pub async fn start(&self, id: &str) -> Result<u32, Error> {
        let task = self.task(id)?;
        task.life.step("start", Status::Created, Status::Starting)?;
        let events = self.shared.events.clone();
        to_the_end(&Name::task(id), async move {
            let started = task.container.start().await;
            let pid = task.container.pid();
            if started.is_ok() {
                events.send(Event::Start {
                    id: task.id().to_owned(),
                    pid,
                });
            }
            // Whether or not it succeeded: an exit may be reported from here on.
            task.life.step("start", Status::Starting, Status::Running)?;
            let Err(source) = started else { return Ok(pid) };
            // The caller deletes the task as soon as it hears of the failure. A hook that failed leaves a program
            // running that is not wanted.
            kill(&task).await?;
            task.life.when(Status::exit).await;
            Err(refused(&task.life.name, "start")(source))
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
            status: task.life.status(),
        })
    }

    /// Waits for the end of the task, or of its process `exec_id` unless that is empty.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn wait(&self, id: &str, exec_id: &str) -> Result<Exit, Error> {
        let task = self.task(id)?;
        if exec_id.is_empty() {
            return Ok(task.life.when(Status::exit).await);
        }
        let exec = task.exec(exec_id)?;
        Ok(exec.life.when(Status::exit).await)
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
            killed.map_err(not_killed(&task.life.name))?;
        } else {
            signal_process(&*task.container, &task.life, signal).await?;
        }
        if signal == SIGKILL
            && task.life.status() == Status::Paused
            && let Err(error) = task.container.resume().await
        {
            // A frozen process dies when it thaws.
            let name = &task.life.name;
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
        to_the_end(&Name::task(id), async move {
            let task = service.made(&name).await?;
            task.life.when(Status::not_starting).await;
            service.delete_task(&task).await
        })
        .await
    }

    async fn delete_task(&self, task: &Task) -> Result<(u32, Exit), Error> {
        if task.life.status() == Status::Created {
            // Never started: nothing of the user's runs, so there is nothing to lose.
            kill(task).await?;
            task.life.when(Status::exit).await;
        }
        let exit = begin_delete(&task.life)?;
        // Execs that were not deleted hold stdio.
        for exec in task.every_exec() {
            if let Err(error) = exec.process.delete().await {
                log::warn!("{}: {error}", exec.life.name);
            }
        }
        if let Err(source) = task.container.delete().await {
            task.life
                .step("delete", Status::Deleting(exit), Status::Stopped(exit))?;
            return Err(failed(&task.life.name, "delete")(source));
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
        let mut pids = pids.map_err(failed(&task.life.name, "list the processes of"))?;
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
        metrics.map_err(failed(&task.life.name, "measure"))
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

    /// Ends the shim if it has no task left and stands for no pod; is ignored otherwise.
    pub fn shutdown(&self) {
        if self.has_sandbox() {
            return;
        }
        let tasks = self.tasks();
        if tasks.is_empty() {
            self.shared.ending.store(true, Ordering::Relaxed);
            self.shared.shutdown.notify_one();
        }
    }

    /// Waits until [`Self::shutdown`] was heard.
    pub async fn ended(&self) {
        self.shared.shutdown.notified().await;
    }

    /// Waits until the last task went.
    pub async fn emptied(&self) {
        self.shared.emptied.notified().await;
    }

    fn remove(&self, id: &str) {
        let mut tasks = self.tasks();
        tasks.remove(id);
        if tasks.is_empty() {
            self.shared.emptied.notify_one();
        }
    }

    /// Whether there is no task, and none is being made.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tasks().is_empty()
    }

    /// The task that is to be deleted, once it is made.
    async fn made(&self, id: &str) -> Result<Arc<Task>, Error> {
        loop {
            let mut waits = match self.tasks().get(id) {
                Some(Slot::Reserved(under_way)) => {
                    // A task that is to be deleted is not wanted: nothing may hold its Create up.
                    if under_way.cancel.cancel() {
                        log::info!("{id}: given up while it was made");
                    }
                    under_way.done.clone()
                }
                Some(Slot::Task(task)) => return Ok(Arc::clone(task)),
                None => return Err(not_found(id)),
            };
            // Nothing is ever sent: this is the channel's end.
            while waits.changed().await.is_ok() {}
        }
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        match self.tasks().get(id) {
            Some(Slot::Task(task)) => Ok(Arc::clone(task)),
            Some(Slot::Reserved(_)) | None => Err(not_found(id)),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        // A thread that panicked held the lock for a look-up only: the map is whole.
        self.shared
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        name: Name::task(id),
    }
}

/// What becomes of an error from below.
fn failed(name: &Name, verb: &'static str) -> impl FnOnce(Cause) -> Error {
    let name = name.clone();
    move |source| Error::Runtime { name, verb, source }
}

/// What becomes of an error from below that may be the caller's fault.
fn refused(name: &Name, verb: &'static str) -> impl FnOnce(CallError) -> Error {
    let name = name.clone();
    move |error| match error {
        CallError::Invalid(source) => Error::Invalid(source),
        CallError::Precondition(source) => Error::Precondition { name, verb, source },
        CallError::Failed(source) => Error::Runtime { name, verb, source },
    }
}

fn not_killed(name: &Name) -> impl FnOnce(KillError) -> Error {
    let name = name.clone();
    move |error| match error {
        KillError::Finished => Error::Finished { name },
        error @ KillError::Other { .. } => failed(&name, "kill")(error.into()),
    }
}

/// Signals a process that has not ended.
async fn signal_process(process: &dyn Process, life: &Life, signal: u32) -> Result<(), Error> {
    if life.status().exit().is_some() {
        let name = life.name.clone();
        return Err(Error::Finished { name });
    }
    let killed = process.kill(signal).await;
    killed.map_err(not_killed(&life.name))
}

/// Moves a process that has ended to its deletion.
fn begin_delete(life: &Life) -> Result<Exit, Error> {
    let mut ended = None;
    life.advance("delete", |status| match status {
        Status::Stopped(exit) => {
            ended = Some(exit);
            Some(Status::Deleting(exit))
        }
        _ => None,
    })?;
    ended.ok_or_else(|| Error::Internal {
        name: life.name.clone(),
    })
}

/// Kills everything of a task, whatever it is doing.
async fn kill(task: &Task) -> Result<(), Error> {
    match task.container.kill_all(SIGKILL).await {
        Ok(()) | Err(KillError::Finished) => Ok(()),
        Err(error) => Err(failed(&task.life.name, "kill")(error.into())),
    }
}

/// Runs `work` to its end, even if the caller is dropped before.
async fn to_the_end<T: Send + 'static>(
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

#[cfg(test)]
mod tests;
