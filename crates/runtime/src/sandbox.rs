//! The sandbox of this shim, as the Sandbox API sees it.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use medley_task::error::Cause;
use medley_task::{Exit, Sandbox};
use medley_types::exit_status::KILLED;
use medley_types::metrics::Metrics;

use crate::blocking::blocking;

/// A sandbox that has no container of its own.
pub(crate) struct LocalSandbox {
    sandbox: Arc<medley_container::shim::sandbox::Sandbox>,
}

impl LocalSandbox {
    pub(crate) fn new(sandbox: Arc<medley_container::shim::sandbox::Sandbox>) -> Self {
        Self { sandbox }
    }
}

#[async_trait]
impl Sandbox for LocalSandbox {
    fn pid(&self) -> u32 {
        std::process::id()
    }

    async fn ended(&self) -> Exit {
        let Some(holder) = self.sandbox.holder() else {
            return std::future::pending().await;
        };
        let ended = match holder.watch() {
            Ok(watched) => watched.readable().await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            log::warn!("the end of the pod's first process can't be watched: {error}");
            return std::future::pending().await;
        }
        Exit {
            status: KILLED.into(),
            at: SystemTime::now(),
        }
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Ok(self.sandbox.metrics()?)
    }

    async fn end(&self) -> Result<(), Cause> {
        let sandbox = Arc::clone(&self.sandbox);
        blocking(move || sandbox.end()).await
    }
}
