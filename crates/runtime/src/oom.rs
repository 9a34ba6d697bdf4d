//! Waits for a kill for want of memory.

use std::io;
use std::time::Duration;

use medley_cgroup::OomWatch;

/// Pause before looking again for a kill that the kernel has announced.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How many times to look after the kernel has told that it will kill. What it does later is seen at
/// the next event, or when the process ends.
const LOOKS: u32 = 50;

/// Waits until `watch` has a kill to report.
pub(crate) async fn kill(watch: &OomWatch) -> io::Result<()> {
    let fd = medley_sys::watch::readable(watch.fd())?;
    loop {
        let mut ready = fd.readable().await?;
        ready.clear_ready();
        watch.drain();
        let looks = if watch.tells_ahead() { LOOKS } else { 1 };
        for _ in 0..looks {
            if watch.would_report() {
                return Ok(());
            }
            if watch.tells_ahead() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}
