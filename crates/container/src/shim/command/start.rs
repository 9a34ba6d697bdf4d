//! Start, by a command that has not made the container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use medley_sys::watch;

use super::record::open_status;
use crate::shim::error::Error;
use crate::shim::hooks::Moment;
use crate::shim::live_container::LiveContainer;
use crate::shim::status::started;

impl LiveContainer {
    /// Lets an init go on that waits by itself, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with init's own reason; [`Error::Notify`] if it is dead; [`Error::Hook`].
    pub fn start_recorded(&self) -> Result<(), Error> {
        let failed = |source| Error::Notify {
            pid: self.init.pid(),
            source,
        };
        // Before init is told: what has no reader is lost.
        let status = open_status(&self.dir).map_err(failed)?;
        self.notify().map_err(failed)?;
        let told = self.told(status).map_err(failed)?;
        started(&told)?;
        if self.features.poststart_hooks {
            self.run_hooks(Moment::Poststart)?;
        }
        Ok(())
    }

    /// What init says until its program runs, or it ends.
    fn told(&self, mut status: File) -> io::Result<Vec<u8>> {
        let mut told = Vec::new();
        loop {
            let ready = watch::wait_any(&[status.as_fd(), self.init.as_fd()], None)?;
            let mut piece = [0; 512];
            match status.read(&mut piece) {
                Ok(0) => return Ok(told),
                Ok(size) => told.extend_from_slice(&piece[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It is dead, and what it left behind holds its end of the pipe.
                    if ready == Some(1) {
                        return Ok(told);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
