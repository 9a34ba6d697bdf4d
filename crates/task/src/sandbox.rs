//! A pod without a pause container, as the Sandbox API makes it.

use async_trait::async_trait;
use medley_types::metrics::Metrics;

use crate::error::Cause;
use crate::exit::Exit;

/// A pod that [`Runtime::create_sandbox`](crate::Runtime::create_sandbox) made.
#[async_trait]
pub trait Sandbox: Send + Sync + 'static {
    /// The process whose namespaces containerd is to name in the specs of the pod's containers.
    fn pid(&self) -> u32;

    /// Waits until the pod can have no containers any more, for another reason than
    /// [`Sandbox::end`]; for ever, if there is none.
    async fn ended(&self) -> Exit;

    /// What its containers use together.
    ///
    /// # Errors
    /// If the cgroup can't be read.
    async fn metrics(&self) -> Result<Metrics, Cause>;

    /// Removes everything of it. May be called again.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn end(&self) -> Result<(), Cause>;
}
