//! The calls of the Sandbox API: the pod that the shim serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::outcome::{failed, kill, run_detached};
use super::registry::Service;
use super::sandbox_record::{SandboxRecord, SandboxSlot, SandboxSnapshot, SandboxState};
use crate::error::{Cause, Error};
use crate::exit::Exit;
use crate::name::Name;
use crate::status::Status;
use medley_types::metrics::Metrics;
use medley_types::sandbox::SandboxRequest;

/// How long containers that were sent SIGKILL may take to end when their pod is stopped.
const KILLED_END: Duration = Duration::from_secs(10);

impl Service {
    /// Makes the pod.
    ///
    /// # Errors
    /// [`Error::Exists`] if the shim has one, [`Error::Runtime`] if it can't be made.
    pub async fn create_sandbox(&self, request: SandboxRequest) -> Result<(), Error> {
        let name = Name::sandbox(&request.id);
        {
            let mut slot = self.sandbox_slot();
            if !matches!(*slot, SandboxSlot::None) {
                return Err(Error::Exists { name });
            }
            *slot = SandboxSlot::Reserved;
        }
        let service = self.clone();
        run_detached(&name.clone(), async move {
            let made = service.shared.runtime.create_sandbox(request.clone()).await;
            let made = match made {
                Ok(made) => made,
                Err(source) => {
                    *service.sandbox_slot() = SandboxSlot::None;
                    return Err(failed(&name, "create")(source));
                }
            };
            let sandbox = Arc::new(SandboxRecord {
                request,
                sandbox: made,
                created_at: SystemTime::now(),
                state: watch::Sender::new(SandboxState::Created),
            });
            tokio::spawn(watch_over(Arc::clone(&sandbox)));
            *service.sandbox_slot() = SandboxSlot::Sandbox(sandbox);
            service.shared.for_sandbox.store(true, Ordering::Release);
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
        let mut before = SandboxState::Created;
        sandbox.state.send_if_modified(|state| {
            before = *state;
            let starts = before == SandboxState::Created;
            if starts {
                *state = SandboxState::Ready;
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
            SandboxState::Created => Ok(sandbox.snapshot()),
            SandboxState::Ready => refused("it was started before".into()),
            SandboxState::Stopped(_) => refused("it has been stopped".into()),
        }
    }

    /// What the pod is and where its state stands.
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
        let mut state = sandbox.state.subscribe();
        loop {
            if let SandboxState::Stopped(exit) = *state.borrow_and_update() {
                return Ok(exit);
            }
            if state.changed().await.is_err() {
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
        let metrics = sandbox.sandbox.metrics().await;
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
        run_detached(
            &Name::sandbox(id),
            async move { service.stop(&sandbox).await },
        )
        .await
    }

    async fn stop(&self, sandbox: &SandboxRecord) -> Result<(), Error> {
        let ends = async {
            for task in self.every_task() {
                kill(&task).await?;
                if task.state.status() == Status::Paused {
                    // A frozen process dies when it thaws.
                    let resumed = task.container.resume().await;
                    resumed.map_err(failed(&task.state.name, "resume"))?;
                }
                task.state.wait_for(Status::exit).await;
            }
            Ok(())
        };
        match tokio::time::timeout(KILLED_END, ends).await {
            Ok(ended) => ended?,
            Err(_) => log::warn!("a container outlives its pod by {KILLED_END:?}"),
        }
        let ended = sandbox.sandbox.end().await;
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
        run_detached(&Name::sandbox(id), async move {
            let sandbox = match &*service.sandbox_slot() {
                SandboxSlot::Sandbox(sandbox) => Some(Arc::clone(sandbox)),
                SandboxSlot::None | SandboxSlot::Reserved => None,
            };
            if let Some(sandbox) = sandbox {
                service.stop(&sandbox).await?;
                for task in service.every_task() {
                    service.delete_task(&task).await?;
                }
                *service.sandbox_slot() = SandboxSlot::None;
            }
            service.shutdown();
            Ok(())
        })
        .await
    }

    /// Lets go of the pod when the shim ends without having been told what becomes of it.
    pub async fn abandon_sandbox(&self) {
        let slot = std::mem::take(&mut *self.sandbox_slot());
        if let SandboxSlot::Sandbox(sandbox) = slot
            && let Err(error) = sandbox.sandbox.end().await
        {
            log::warn!("{}: {error}", Name::sandbox(&sandbox.request.id));
        }
    }

    /// Whether the shim serves a sandbox, or did.
    #[must_use]
    pub fn is_for_sandbox(&self) -> bool {
        self.shared.for_sandbox.load(Ordering::Acquire)
    }

    fn sandbox(&self, id: &str) -> Result<Arc<SandboxRecord>, Error> {
        match &*self.sandbox_slot() {
            SandboxSlot::Sandbox(sandbox) if sandbox.request.id == id => Ok(Arc::clone(sandbox)),
            SandboxSlot::Sandbox(_) | SandboxSlot::None | SandboxSlot::Reserved => {
                Err(Error::NotFound {
                    name: Name::sandbox(id),
                })
            }
        }
    }
}

/// Notes the end of a pod that was not stopped.
async fn watch_over(sandbox: Arc<SandboxRecord>) {
    let mut state = sandbox.state.subscribe();
    let stopped = state.wait_for(|state| matches!(state, SandboxState::Stopped(_)));
    let exit = tokio::select! {
        _ = stopped => return,
        exit = sandbox.sandbox.ended() => exit,
    };
    log::warn!("{} has ended", Name::sandbox(&sandbox.request.id));
    sandbox.ended(exit);
}
