//! The calls of the Task API, in domain types.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::error::Error;
use crate::events::{Event, Events};
use crate::metrics::Metrics;
use crate::runtime::{CreateRequest, Exit, KillError, Runtime};
use crate::state::{Status, Task};

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
    /// Set under the lock of `tasks`, once there will be no more.
    ending: AtomicBool,
    shutdown: Notify,
    /// Told when the last task is gone, or the only Create has failed.
    emptied: Notify,
}

/// An id in use.
enum Slot {
    /// Create is under way; the channel closes when it is through, whatever came of it.
    Reserved(watch::Receiver<()>),
    Task(Arc<Task>),
}

/// What State tells.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// As it was created.
    pub request: CreateRequest,
    /// Init's.
    pub pid: u32,
    /// Where its life stands.
    pub status: Status,
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
        let id = request.id.clone();
        let reservation = self.reserve(&id)?;
        let service = self.clone();
        to_the_end(&id, async move {
            service.create_reserved(request, reservation).await
        })
        .await
    }

    fn reserve(&self, id: &str) -> Result<Reservation, Error> {
        let mut tasks = self.tasks();
        if self.shared.ending.load(Ordering::Relaxed) {
            return Err(Error::Ending { id: id.to_owned() });
        }
        if tasks.contains_key(id) {
            return Err(Error::Exists { id: id.to_owned() });
        }
        let (done, waits) = watch::channel(());
        tasks.insert(id.to_owned(), Slot::Reserved(waits));
        Ok(Reservation {
            service: self.clone(),
            id: id.to_owned(),
            kept: false,
            _done: done,
        })
    }

    async fn create_reserved(
        &self,
        request: CreateRequest,
        mut reservation: Reservation,
    ) -> Result<u32, Error> {
        let id = request.id.clone();
        let container = self
            .shared
            .runtime
            .create(request.clone())
            .await
            .map_err(|source| Error::Runtime {
                id: id.clone(),
                verb: "create",
                source,
            })?;
        let pid = container.pid();
        let task = Arc::new(Task::new(request.clone(), container));
        self.tasks()
            .insert(id.clone(), Slot::Task(Arc::clone(&task)));
        reservation.kept = true;
        self.shared.events.send(Event::Create {
            request: Box::new(request),
            pid,
        });
        tokio::spawn(report_exit(task, self.shared.events.clone()));
        Ok(pid)
    }

    /// Lets a created task run and answers init's pid.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it is not in the state created, [`Error::Runtime`] if its
    /// program can't be run.
    pub async fn start(&self, id: &str) -> Result<u32, Error> {
        let task = self.task(id)?;
        task.advance("start", |status| {
            matches!(status, Status::Created).then_some(Status::Starting)
        })?;
        let events = self.shared.events.clone();
        to_the_end(id, async move {
            let started = task.container.start().await;
            let pid = task.container.pid();
            if started.is_ok() {
                events.send(Event::Start {
                    id: task.id().to_owned(),
                    pid,
                });
            }
            // Whether or not it succeeded: an exit may be reported from here on.
            task.advance("start", |status| {
                matches!(status, Status::Starting).then_some(Status::Running)
            })?;
            let Err(source) = started else { return Ok(pid) };
            // Whoever hears of it deletes the task at once. A hook that failed leaves a program
            // running that nobody wants.
            kill(&task).await?;
            task.when(Status::exit).await;
            Err(Error::Runtime {
                id: task.id().to_owned(),
                verb: "start",
                source,
            })
        })
        .await
    }

    /// What the task is and where its life stands.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`].
    pub fn state(&self, id: &str) -> Result<Snapshot, Error> {
        let task = self.task(id)?;
        Ok(Snapshot {
            request: task.request.clone(),
            pid: task.container.pid(),
            status: task.status(),
        })
    }

    /// Waits for the task's end.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`].
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        Ok(self.task(id)?.when(Status::exit).await)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Finished`] if the process has ended, but for `all`: what is left of the
    /// container's processes can be killed then too.
    pub async fn kill(&self, id: &str, signal: u32, all: bool) -> Result<(), Error> {
        let task = self.task(id)?;
        if task.status().exit().is_some() && !all {
            return Err(Error::Finished { id: id.to_owned() });
        }
        let killed = if all {
            task.container.kill_all(signal).await
        } else {
            task.container.kill(signal).await
        };
        killed.map_err(|error| match error {
            KillError::Finished => Error::Finished { id: id.to_owned() },
            error @ KillError::Other { .. } => Error::Runtime {
                id: id.to_owned(),
                verb: "kill",
                source: error.into(),
            },
        })
    }

    /// Removes a task that has ended, or was never started. Waits for a Create or Start that is
    /// under way: containerd calls Delete when it has given up on one of these.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it runs.
    pub async fn delete(&self, id: &str) -> Result<(u32, Exit), Error> {
        let (service, name) = (self.clone(), id.to_owned());
        // Begun, it goes on without its caller: nobody may ask again.
        to_the_end(id, async move {
            let task = service.made(&name).await?;
            task.when(|status| (status != Status::Starting).then_some(()))
                .await;
            service.delete_task(&task).await
        })
        .await
    }

    async fn delete_task(&self, task: &Task) -> Result<(u32, Exit), Error> {
        if task.status() == Status::Created {
            // Never started: nothing of the user's runs, so there is nothing to lose.
            kill(task).await?;
            task.when(Status::exit).await;
        }
        let deleting = task.advance("delete", |status| match status {
            Status::Stopped(exit) => Some(Status::Deleting(exit)),
            _ => None,
        })?;
        let (Status::Stopped(exit) | Status::Deleting(exit)) = deleting else {
            return Err(Error::Internal {
                id: task.id().to_owned(),
            });
        };
        if let Err(source) = task.container.delete().await {
            task.advance("delete", |_| Some(Status::Stopped(exit)))?;
            return Err(Error::Runtime {
                id: task.id().to_owned(),
                verb: "delete",
                source,
            });
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

    /// Every process of the task.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], or [`Error::Runtime`] if the cgroup can't be read.
    pub async fn pids(&self, id: &str) -> Result<Vec<u32>, Error> {
        let task = self.task(id)?;
        task.container
            .pids()
            .await
            .map_err(|source| Error::Runtime {
                id: id.to_owned(),
                verb: "list the processes of",
                source,
            })
    }

    /// The task's use of resources.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`], or [`Error::Runtime`] if the cgroup can't be read.
    pub async fn metrics(&self, id: &str) -> Result<Metrics, Error> {
        let task = self.task(id)?;
        task.container
            .metrics()
            .await
            .map_err(|source| Error::Runtime {
                id: id.to_owned(),
                verb: "measure",
                source,
            })
    }

    /// Lets the task's process see the end of its input.
    ///
    /// # Errors
    /// [`Error::NoSuchTask`].
    pub fn close_stdin(&self, id: &str) -> Result<(), Error> {
        self.task(id)?.container.close_stdin();
        Ok(())
    }

    /// Ends the shim if it has no task left; is ignored otherwise.
    pub fn shutdown(&self) {
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

    /// The task, once it is made.
    async fn made(&self, id: &str) -> Result<Arc<Task>, Error> {
        loop {
            let mut waits = match self.tasks().get(id) {
                Some(Slot::Reserved(waits)) => waits.clone(),
                Some(Slot::Task(task)) => return Ok(Arc::clone(task)),
                None => return Err(Error::NoSuchTask { id: id.to_owned() }),
            };
            // Nothing is ever sent: this is the channel's end.
            while waits.changed().await.is_ok() {}
        }
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        match self.tasks().get(id) {
            Some(Slot::Task(task)) => Ok(Arc::clone(task)),
            Some(Slot::Reserved(_)) | None => Err(Error::NoSuchTask { id: id.to_owned() }),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        // Whoever panicked held the lock for a look-up: the map is whole.
        self.shared
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills everything of a task, whatever it is doing.
async fn kill(task: &Task) -> Result<(), Error> {
    match task.container.kill_all(SIGKILL).await {
        Ok(()) | Err(KillError::Finished) => Ok(()),
        Err(error) => {
            let id = task.id().to_owned();
            Err(Error::Runtime {
                id,
                verb: "kill",
                source: error.into(),
            })
        }
    }
}

/// Gives a reserved id back unless the task was made, also if the runtime panics.
struct Reservation {
    service: Service,
    id: String,
    kept: bool,
    /// Dropped last, which wakes whoever waits for the end of Create.
    _done: watch::Sender<()>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            self.service.remove(&self.id);
        }
    }
}

/// Runs `work` to its end, even if the caller is dropped before.
async fn to_the_end<T: Send + 'static>(
    id: &str,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(panic) => {
            log::error!("a call for task {id:?} did not come to its end: {panic}");
            Err(Error::Internal { id: id.to_owned() })
        }
    }
}

/// Waits for init's end and tells it, never before the start event is out.
async fn report_exit(task: Arc<Task>, events: Events) {
    let exit = task.container.exited().await;
    task.when(|status| (status != Status::Starting).then_some(()))
        .await;
    // Nobody sees the one without the other: the runtime has one thread, and nothing waits here.
    events.send(Event::Exit {
        id: task.id().to_owned(),
        pid: task.container.pid(),
        exit,
    });
    let stopped = task.advance("stop", |status| match status {
        // Starting, if Start came after init had died: it fails, and finds the task stopped.
        Status::Created | Status::Running | Status::Starting => Some(Status::Stopped(exit)),
        Status::Stopped(_) | Status::Deleting(_) => None,
    });
    if let Err(error) = stopped {
        log::error!("{}", error.sentence());
    }
}

#[cfg(test)]
mod tests;
