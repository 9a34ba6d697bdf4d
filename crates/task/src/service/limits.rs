//! What a running task may use: pause, resume, limits, the size of a terminal.

use super::outcome::{failed, refused, run_detached};
use super::registry::Service;
use crate::error::Error;
use crate::events::Event;
use crate::runtime::Size;
use crate::status::Status;

impl Service {
    /// Stops every process of the task where it stands.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it does not run, [`Error::Runtime`] if it can't be done.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        let task = self.task(id)?;
        task.state
            .transition("pause", Status::Running, Status::Pausing)?;
        let events = self.shared.events.clone();
        run_detached(&task.state.name.clone(), async move {
            if let Err(source) = task.container.pause().await {
                task.state
                    .transition("pause", Status::Pausing, Status::Running)?;
                return Err(failed(&task.state.name, "pause")(source));
            }
            task.state
                .transition("pause", Status::Pausing, Status::Paused)?;
            events.send(Event::Paused {
                id: task.id().to_owned(),
            });
            Ok(())
        })
        .await
    }

    /// Lets every process of a paused task go on.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it is not paused, [`Error::Runtime`] if it can't be done.
    pub async fn resume(&self, id: &str) -> Result<(), Error> {
        let task = self.task(id)?;
        task.state
            .transition("resume", Status::Paused, Status::Resuming)?;
        let events = self.shared.events.clone();
        run_detached(&task.state.name.clone(), async move {
            if let Err(source) = task.container.resume().await {
                task.state
                    .transition("resume", Status::Resuming, Status::Paused)?;
                return Err(failed(&task.state.name, "resume")(source));
            }
            // A kill while it was paused may have ended it by now.
            let resumed = task
                .state
                .transition("resume", Status::Resuming, Status::Running);
            events.send(Event::Resumed {
                id: task.id().to_owned(),
            });
            resumed.map(drop)
        })
        .await
    }

    /// Sets the task's limits: the OCI runtime spec's `linux.resources`, as JSON.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if it has ended, and what the runtime has against it.
    pub async fn update(&self, id: &str, resources: Vec<u8>) -> Result<(), Error> {
        let task = self.task(id)?;
        let status = task.state.status();
        if status.exit().is_some() {
            return Err(task.state.illegal("update", status));
        }
        run_detached(&task.state.name.clone(), async move {
            let updated = task.container.update(resources).await;
            updated.map_err(refused(&task.state.name, "update"))
        })
        .await
    }

    /// Tells the terminal of init, or of the exec that is named, its size.
    ///
    /// # Errors
    /// [`Error::IllegalState`] if the process has ended, [`Error::Precondition`] if it has no
    /// terminal.
    pub async fn resize(&self, id: &str, exec_id: &str, size: Size) -> Result<(), Error> {
        let task = self.task(id)?;
        let exec = match exec_id {
            "" => None,
            exec_id => Some(task.exec(exec_id)?),
        };
        let state = exec.as_ref().map_or(&task.state, |exec| &exec.state);
        let status = state.status();
        if status.exit().is_some() {
            return Err(state.illegal("resize the terminal of", status));
        }
        let resized = match &exec {
            Some(exec) => exec.process.resize(size).await,
            None => task.container.resize(size).await,
        };
        resized.map_err(refused(&state.name, "resize the terminal of"))
    }
}
