//! The calls of the Sandbox API: the pod that the shim serves.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Service, failed, kill, to_the_end};
use crate::error::{Cause, Error};
use crate::name::Name;
use crate::pod::Pod;
use crate::runtime::Exit;
use crate::state::{Status, Task};
use medley_types::metrics::Metrics;
use medley_types::sandbox::PodRequest;

/// How long containers that were sent SIGKILL may take to end when their pod is stopped.
const KILLED_END: Duration = Duration::from_secs(10);

/// The shim's pod, if it has one.
#[derive(Default)]
pub(super) enum Slot {
    /// It serves the containers of one that has a container to stand for it, or of none.
    #[default]
    None,
    /// CreateSandbox is under way.
    Reserved,
    Sandbox(Arc<Sandbox>),
}

/// A pod and how far its life has come.
pub(super) struct Sandbox {
    request: PodRequest,
    pod: Arc<dyn Pod>,
    made: SystemTime,
    life: watch::Sender<Life>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Ready,
    Stopped(Exit),
}

/// What SandboxStatus tells.
#[derive(Debug, Clone, Copy)]
pub struct SandboxSnapshot {
    /// The process whose namespaces are the pod's.
    pub pid: u32,
    /// Whether containers may be made in it.
    pub ready: bool,
    /// When it was made.
    pub made: SystemTime,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl Service {
    /// Makes the pod.
    ///
    /// # Errors
    /// [`Error::Exists`] if the shim has one, [`Error::Runtime`] if it can't be made.
    pub async fn create_sandbox(&self, request: PodRequest) -> Result<(), Error> {
        let name = Name::sandbox(&request.id);
        {
            let mut slot = self.sandbox_slot();
            if !matches!(*slot, Slot::None) {
                return Err(Error::Exists { name });
            }
            *slot = Slot::Reserved;
        }
        let service = self.clone();
        to_the_end(&name.clone(), async move {
            let made = service.shared.runtime.create_pod(request.clone()).await;
            let pod = match made {
                Ok(pod) => pod,
                Err(source) => {
                    *service.sandbox_slot() = Slot::None;
                    return Err(failed(&name, "create")(source));
                }
            };
            let sandbox = Arc::new(Sandbox {
                request,
                pod,
                made: SystemTime::now(),
                life: watch::Sender::new(Life::Created),
            });
            tokio::spawn(watch_over(Arc::clone(&sandbox)));
            *service.sandbox_slot() = Slot::Sandbox(sandbox);
            service.shared.for_pod.store(true, Ordering::Release);
            Ok(())
        })
        .await
    }

    /// Lets containers be made in the pod.
    ///
    /// # Errors
    /// [`Error::Precondition`] if that was done before, or it has ended.
    pub fn start_sandbox(&self, id: &str) -> Result<SandboxSnapshot, Error> {
        let sandbox = self.sandbox(id)?;
        let mut before = Life::Created;
        sandbox.life.send_if_modified(|life| {
            before = *life;
            let starts = before == Life::Created;
            if starts {
                *life = Life::Ready;
            }
            starts
        });
        let refused = |source: Cause| {
            Err(Error::Precondition {
                name: Name::sandbox(id),
                verb: "start",
                source,
            })
        };
        match before {
            Life::Created => Ok(sandbox.snapshot()),
            Life::Ready => refused("it was started before".into()),
            Life::Stopped(_) => refused("it has been stopped".into()),
        }
    }

    /// What the pod is and where its life stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn sandbox_status(&self, id: &str) -> Result<SandboxSnapshot, Error> {
        Ok(self.sandbox(id)?.snapshot())
    }

    /// Waits for the pod's end.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn wait_sandbox(&self, id: &str) -> Result<Exit, Error> {
        let sandbox = self.sandbox(id)?;
        let mut life = sandbox.life.subscribe();
        loop {
            if let Life::Stopped(exit) = *life.borrow_and_update() {
                return Ok(exit);
            }
            if life.changed().await.is_err() {
                // The sender is the sandbox's, which we hold.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What the pod uses.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Runtime`] if the cgroup can't be read.
    pub async fn sandbox_metrics(&self, id: &str) -> Result<Metrics, Error> {
        let sandbox = self.sandbox(id)?;
        let metrics = sandbox.pod.metrics().await;
        metrics.map_err(failed(&Name::sandbox(id), "measure"))
    }

    /// Ends the pod: kills what still runs in it and lets go of what it is made of. One that has
    /// ended stays so.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Runtime`] with what could not be removed.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Error> {
        let sandbox = self.sandbox(id)?;
        let service = self.clone();
        to_the_end(
            &Name::sandbox(id),
            async move { service.stop(&sandbox).await },
        )
        .await
    }

    async fn stop(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let ends = async {
            for task in self.every_task() {
                kill(&task).await?;
                if task.life.status() == Status::Paused {
                    // A frozen process dies when it thaws.
                    let resumed = task.container.resume().await;
                    resumed.map_err(failed(&task.life.name, "resume"))?;
                }
                task.life.when(Status::exit).await;
            }
            Ok(())
        };
        match tokio::time::timeout(KILLED_END, ends).await {
            Ok(ended) => ended?,
            Err(_) => log::warn!("a container outlives its pod by {KILLED_END:?}"),
        }
        let ended = sandbox.pod.end().await;
        ended.map_err(failed(&Name::sandbox(&sandbox.request.id), "stop"))?;
        sandbox.stopped(0);
        Ok(())
    }

    /// Ends the pod, removes what is left of its containers, and ends the shim. Without a pod, it
    /// ends the shim if it has no task left.
    ///
    /// # Errors
    /// Those of removing a container.
    pub async fn shutdown_sandbox(&self, id: &str) -> Result<(), Error> {
        let service = self.clone();
        to_the_end(&Name::sandbox(id), async move {
            let sandbox = match &*service.sandbox_slot() {
                Slot::Sandbox(sandbox) => Some(Arc::clone(sandbox)),
                Slot::None | Slot::Reserved => None,
            };
            if let Some(sandbox) = sandbox {
                service.stop(&sandbox).await?;
                for task in service.every_task() {
                    service.delete_task(&task).await?;
                }
                *service.sandbox_slot() = Slot::None;
            }
            service.shutdown();
            Ok(())
        })
        .await
    }

    /// Lets go of the pod when the shim ends without having been told what becomes of it.
    pub async fn abandon_sandbox(&self) {
        let slot = std::mem::take(&mut *self.sandbox_slot());
        if let Slot::Sandbox(sandbox) = slot
            && let Err(error) = sandbox.pod.end().await
        {
            log::warn!("{}: {error}", Name::sandbox(&sandbox.request.id));
        }
    }

    /// Whether the shim stands for a pod, or did.
    #[must_use]
    pub fn is_for_pod(&self) -> bool {
        self.shared.for_pod.load(Ordering::Acquire)
    }

    /// Whether the shim stands for a pod, which outlives its containers.
    pub(super) fn has_sandbox(&self) -> bool {
        !matches!(*self.sandbox_slot(), Slot::None)
    }

    fn every_task(&self) -> Vec<Arc<Task>> {
        let tasks = self.tasks();
        let made = tasks.values().filter_map(|slot| match slot {
            super::Slot::Task(task) => Some(Arc::clone(task)),
            super::Slot::Reserved(_) => None,
        });
        made.collect()
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        match &*self.sandbox_slot() {
            Slot::Sandbox(sandbox) if sandbox.request.id == id => Ok(Arc::clone(sandbox)),
            Slot::Sandbox(_) | Slot::None | Slot::Reserved => Err(Error::NotFound {
                name: Name::sandbox(id),
            }),
        }
    }

    fn sandbox_slot(&self) -> MutexGuard<'_, Slot> {
        // Assigned as a whole: a panic leaves it right.
        self.shared
            .sandbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    fn snapshot(&self) -> SandboxSnapshot {
        let life = *self.life.borrow();
        SandboxSnapshot {
            pid: self.pod.pid(),
            ready: life == Life::Ready,
            made: self.made,
            exit: match life {
                Life::Stopped(exit) => Some(exit),
                Life::Created | Life::Ready => None,
            },
        }
    }

    fn stopped(&self, status: u32) {
        self.ended(Exit {
            status,
            at: SystemTime::now(),
        });
    }

    fn ended(&self, exit: Exit) {
        self.life.send_if_modified(|life| {
            let lives = !matches!(life, Life::Stopped(_));
            if lives {
                *life = Life::Stopped(exit);
            }
            lives
        });
    }
}

/// Notes the end of a pod that was not stopped.
async fn watch_over(sandbox: Arc<Sandbox>) {
    let mut life = sandbox.life.subscribe();
    let stopped = life.wait_for(|life| matches!(life, Life::Stopped(_)));
    let exit = tokio::select! {
        _ = stopped => return,
        exit = sandbox.pod.ended() => exit,
    };
    log::warn!("{} has ended", Name::sandbox(&sandbox.request.id));
    sandbox.ended(exit);
}
