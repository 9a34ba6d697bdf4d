//! One process that was added to a container, as the Task API sees it.

use std::sync::Arc;

use async_trait::async_trait;
use medley_container::shim::{self, Container, Exec};
use medley_io::StdioHandles;
use medley_sys::pidfd::PidFd;
use medley_task::error::Cause;
use medley_task::runtime::{CallError, KillError};
use medley_task::{Exit, Process, Size};

use crate::blocking::blocking;
use crate::exit;

const SIGKILL: u32 = 9;

/// A process that was added to a container.
pub(crate) struct LocalProcess {
    exec: Arc<Exec>,
    container: Arc<Container>,
}

impl LocalProcess {
    pub(crate) fn new(exec: Exec, container: Arc<Container>) -> Self {
        Self {
            exec: Arc::new(exec),
            container,
        }
    }
}

#[async_trait]
impl Process for LocalProcess {
    fn pid(&self) -> u32 {
        let process = self.exec.process();
        process
            .and_then(|process| u32::try_from(process.pid()).ok())
            .unwrap_or_default()
    }

    async fn start(&self) -> Result<(), CallError> {
        let (exec, container) = (Arc::clone(&self.exec), Arc::clone(&self.container));
        let started = blocking(move || Ok::<_, Cause>(exec.start(&container)));
        match started.await.map_err(CallError::Failed)? {
            Ok(()) => Ok(()),
            Err(error @ shim::Error::ProcessEnded { .. }) => {
                Err(CallError::Precondition(error.into()))
            }
            Err(error) => Err(CallError::Failed(error.into())),
        }
    }

    async fn kill(&self, number: u32) -> Result<(), KillError> {
        match self.exec.made() {
            Some(process) => signal(process, number),
            // What makes it may be held up by what is in the container.
            None if number == SIGKILL && self.exec.cancel(&self.container) => Ok(()),
            None => Err(KillError::Finished),
        }
    }

    async fn exited(&self) -> Exit {
        let Some(process) = self.exec.process() else {
            return std::future::pending().await;
        };
        let reap = || async { self.exec.try_reap() };
        exit::exited(process, self.exec.stdio(), reap, || self.exec.abandon()).await
    }

    async fn resize(&self, size: Size) -> Result<(), CallError> {
        resize(self.exec.stdio(), size)
    }

    fn close_stdin(&self) {
        self.exec.stdio().close_stdin();
    }

    async fn delete(&self) -> Result<(), Cause> {
        self.exec.delete();
        self.exec.stdio().close().await;
        Ok(())
    }
}

/// Sets the size of the terminal in `stdio`.
pub(crate) fn resize(stdio: &StdioHandles, size: Size) -> Result<(), CallError> {
    let size = medley_io::Size {
        rows: size.rows,
        columns: size.columns,
    };
    stdio.resize(size).map_err(|error| match error {
        error @ medley_io::Error::NoTerminal => CallError::Precondition(error.into()),
        error => CallError::Failed(error.into()),
    })
}

/// Sends a signal by its number.
pub(crate) fn signal(process: &PidFd, signal: u32) -> Result<(), KillError> {
    let failed = |source: Cause| KillError::Other { signal, source };
    let number = i32::try_from(signal).map_err(|error| failed(error.into()))?;
    process.signal(number).map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) {
            KillError::Finished
        } else {
            failed(error.into())
        }
    })
}
