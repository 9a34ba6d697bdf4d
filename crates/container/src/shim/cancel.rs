//! Giving up what a helper is making, from another thread than the one that waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::Error;

/// A way to end what is being made: a container or a process.
#[derive(Debug, Default)]
pub(super) struct Cancel(Mutex<Making>);

/// Guards the helper's pid: it is its own as long as it stands here.
#[derive(Debug, Default)]
struct Making {
    is_cancelled: bool,
    /// The helper at work, which leads a process group.
    helper: Option<Pid>,
}

impl Cancel {
    /// Ends the helper, now and at every later try. Tells whether there was one.
    pub(super) fn cancel(&self) -> bool {
        let mut making = self.lock();
        making.is_cancelled = true;
        let Some(helper) = making.helper else {
            return false;
        };
        // Its hooks too, which nobody would wait for.
        match rustix::process::kill_process_group(helper, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => log::warn!("the helper {helper:?} is not killed: {errno}"),
        }
        true
    }

    /// Has a helper end with [`Self::cancel`], from here to [`Self::end`].
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(super) fn begin(&self, helper: u32) -> Result<(), Error> {
        let mut making = self.lock();
        if making.is_cancelled {
            return Err(Error::Cancelled);
        }
        making.helper = i32::try_from(helper).ok().and_then(Pid::from_raw);
        Ok(())
    }

    /// Before the helper is reaped: its pid may be another's afterwards.
    pub(super) fn end(&self) {
        self.lock().helper = None;
    }

    /// What of an error is due to the cancelling.
    pub(super) fn explain(&self, error: Error) -> Error {
        if self.lock().is_cancelled {
            Error::Cancelled
        } else {
            error
        }
    }

    fn lock(&self) -> MutexGuard<'_, Making> {
        // Both fields are whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Cancel;
    use crate::shim::Error;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    #[test]
    fn what_was_cancelled_ends_and_does_not_begin_again() {
        let cancel = Cancel::default();
        assert!(!Cancel::default().cancel());
        let mut helper = Command::new("sleep")
            .arg("3600")
            .process_group(0)
            .spawn()
            .unwrap();
        cancel.begin(helper.id()).unwrap();
        assert!(matches!(cancel.explain(Error::Ends), Error::Ends));
        assert!(cancel.cancel());
        assert_eq!(helper.wait().unwrap().signal(), Some(9));
        cancel.end();
        assert!(matches!(cancel.begin(1), Err(Error::Cancelled)));
        assert!(matches!(cancel.explain(Error::Ends), Error::Cancelled));
        assert!(!cancel.cancel());
    }
}
