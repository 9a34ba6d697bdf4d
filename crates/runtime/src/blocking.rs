//! Work that may wait.

use medley_task::error::Cause;

/// Runs `work` on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static, E: Into<Cause> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}
