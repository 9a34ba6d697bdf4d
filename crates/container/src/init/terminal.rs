//! In init: the terminal that its stdio is.

/// Makes it the controlling one of this process, which leads a session. One that is so already stays.
pub(super) fn control() {
    if let Err(errno) = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()) {
        log::warn!("the terminal does not control the container's processes: {errno}");
    }
}
