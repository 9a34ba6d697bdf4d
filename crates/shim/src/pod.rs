//! Between the Sandbox API and the pod of this shim.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use medley_task::error::Cause;
use medley_task::{Exit, Sandbox};
use medley_types::metrics::Metrics;

use crate::runtime::blocking;

/// Exit status of a pod whose first process was killed: SIGKILL.
const KILLED: u32 = 137;

/// A pod that has no container of its own.
pub(crate) struct LocalPod {
    pod: Arc<medley_container::shim::sandbox::Sandbox>,
}

impl LocalPod {
    pub(crate) fn new(pod: Arc<medley_container::shim::sandbox::Sandbox>) -> Self {
        Self { pod }
    }
}

#[async_trait]
impl Sandbox for LocalPod {
    fn pid(&self) -> u32 {
        std::process::id()
    }

    async fn ended(&self) -> Exit {
        let Some(holder) = self.pod.holder() else {
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
            status: KILLED,
            at: SystemTime::now(),
        }
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Ok(self.pod.metrics()?)
    }

    async fn end(&self) -> Result<(), Cause> {
        let pod = Arc::clone(&self.pod);
        blocking(move || pod.end()).await
    }
}
