//! One container, as the Task API sees it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use medley_cgroup::OomWatch;
use medley_container::shim::{self, Exec};
use medley_io::{Owner, Stdio};
use medley_sys::pidfd::ExitStatus;
use medley_task::error::Cause;
use medley_task::runtime::{CallError, KillError};
use medley_task::{Container, ExecRequest, Exit, Process, Size};
use medley_types::metrics::Metrics;

use crate::blocking::blocking;
use crate::process::{self, LocalProcess};
use crate::{exit, oom};

const SIGKILL: i32 = 9;

pub(crate) struct LocalContainer {
    container: Arc<shim::Container>,
    namespace: Arc<str>,
}

impl LocalContainer {
    pub(crate) fn new(container: shim::Container, namespace: Arc<str>) -> Self {
        Self {
            container: Arc::new(container),
            namespace,
        }
    }

    /// Takes init's status, if it has ended. On a thread of its own where that may wait.
    async fn reap(&self) -> io::Result<Option<ExitStatus>> {
        if self.container.reaping_is_quick() {
            return self.container.try_reap();
        }
        let container = Arc::clone(&self.container);
        let reaped = tokio::task::spawn_blocking(move || container.try_reap());
        reaped.await.map_err(io::Error::other)?
    }
}

#[async_trait]
impl Process for LocalContainer {
    fn pid(&self) -> u32 {
        u32::try_from(self.container.init().pid()).unwrap_or_default()
    }

    async fn start(&self) -> Result<(), CallError> {
        let container = Arc::clone(&self.container);
        let started = blocking(move || container.start());
        started.await.map_err(CallError::Failed)
    }

    async fn kill(&self, signal: u32) -> Result<(), KillError> {
        let failed = |source: Cause| KillError::Other { signal, source };
        let number = i32::try_from(signal).map_err(|error| failed(error.into()))?;
        process::signal(self.container.init(), signal)?;
        if number == SIGKILL {
            self.container.thaw_for_kill();
        }
        Ok(())
    }

    async fn exited(&self) -> Exit {
        let (init, stdio) = (self.container.init(), self.container.stdio());
        exit::exited(init, stdio, || self.reap(), || self.container.abandon()).await
    }

    async fn resize(&self, size: Size) -> Result<(), CallError> {
        process::resize(self.container.stdio(), size)
    }

    fn close_stdin(&self) {
        self.container.stdio().close_stdin();
    }

    async fn delete(&self) -> Result<(), Cause> {
        self.container.stdio().close().await;
        let container = Arc::clone(&self.container);
        let rootfs = blocking(move || container.delete()).await?;
        if let Some(rootfs) = rootfs {
            // The kernel may have much to write, for which no caller has to wait.
            tokio::task::spawn_blocking(move || drop(rootfs));
        }
        Ok(())
    }
}

#[async_trait]
impl Container for LocalContainer {
    async fn kill_all(&self, signal: u32) -> Result<(), KillError> {
        let failed = |source: Cause| KillError::Other { signal, source };
        let number = i32::try_from(signal).map_err(|error| failed(error.into()))?;
        self.container
            .signal_all(number)
            .map_err(|error| failed(error.into()))
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn Process>, CallError> {
        let owner = Owner {
            id: request.exec_id,
            namespace: self.namespace.to_string(),
        };
        let request = shim::ExecRequest {
            process: request.process,
            stdio: Stdio::new(request.stdio, owner),
        };
        let container = Arc::clone(&self.container);
        let exec = tokio::task::spawn_blocking(move || Exec::new(&container, &request))
            .await
            .map_err(|error| CallError::Failed(error.into()))?
            .map_err(|error| match error {
                error @ (shim::Error::Process { .. }
                | shim::Error::Environment(_)
                | shim::Error::Terminal { .. }) => CallError::Invalid(error.into()),
                error @ shim::Error::ProcessEnded { .. } => CallError::Precondition(error.into()),
                error => CallError::Failed(error.into()),
            })?;
        Ok(Arc::new(LocalProcess::new(
            exec,
            Arc::clone(&self.container),
        )))
    }

    async fn pause(&self) -> Result<(), Cause> {
        let container = Arc::clone(&self.container);
        blocking(move || container.pause()).await
    }

    async fn resume(&self) -> Result<(), Cause> {
        let container = Arc::clone(&self.container);
        blocking(move || container.resume()).await
    }

    async fn update(&self, resources: Vec<u8>) -> Result<(), CallError> {
        let container = Arc::clone(&self.container);
        tokio::task::spawn_blocking(move || container.update(&resources))
            .await
            .map_err(|error| CallError::Failed(error.into()))?
            .map_err(|error| {
                if error.is_invalid_argument() {
                    CallError::Invalid(error.into())
                } else if error.is_failed_precondition() {
                    CallError::Precondition(error.into())
                } else {
                    CallError::Failed(error.into())
                }
            })
    }

    async fn pids(&self) -> Result<Vec<u32>, Cause> {
        Ok(self.container.pids()?)
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Ok(self.container.metrics()?)
    }

    async fn memory_event(&self) {
        let Some(watch) = self.container.oom_watch() else {
            return std::future::pending().await;
        };
        if let Err(error) = oom::kill(watch).await {
            log::warn!("kills for want of memory can't be watched: {error}");
            std::future::pending().await
        }
    }

    async fn oom_killed(&self) -> bool {
        self.container.oom_watch().is_some_and(OomWatch::has_killed)
    }
}
