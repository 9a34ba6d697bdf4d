//! Logging drivers: programs that read what a process writes.
//!
//! Follows containerd's `NewBinaryIO` (`cmd/containerd-shim-runc-v2/process/io.go`) and what its
//! drivers rely on (`core/runtime/v2/logging`): descriptors 3 and 4 are stdout and stderr, 5 tells
//! that the driver is ready, and the environment says whose output it is.
//!
//! Two things differ from containerd's. The shim keeps a reading end of both pipes and discards the output
//! of a process whose driver died: neither does SIGPIPE kill the process, nor does a full pipe block it.
//! And a driver sees the end of the output before it gets SIGTERM.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use medley_sys::children;
use medley_sys::pidfd::PidFd;
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::copy_output::{self, TRY_AGAIN, Trouble};
use crate::target::Program;
use crate::{Error, Owner};

/// A driver must be ready within this time. containerd has no such limit, but without one the shim would
/// wait for ever.
const READY: Duration = Duration::from_secs(10);

/// A driver that has read everything gets this long to end by itself, then SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// A driver gets this long in all to end, then SIGKILL. The same as in containerd's own shim: it may have
/// much to write.
const END: Duration = Duration::from_secs(12);

/// A running driver. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Driver {
    path: PathBuf,
    process: Arc<PidFd>,
    /// The shim's reading ends of stdout and stderr.
    readers: Arc<[OwnedFd; 2]>,
    /// Closed once the driver has ended.
    ended: watch::Receiver<()>,
    task: AbortHandle,
}

impl Driver {
    /// Runs the driver and waits until it is ready. Returns the writing ends for stdout and stderr.
    /// Needs a tokio runtime. The driver is reaped as a container's orphans are.
    pub(crate) fn start(program: &Program, owner: &Owner) -> Result<(Self, [OwnedFd; 2]), Error> {
        let path = &program.path;
        let failed = |source| Error::Driver {
            path: path.clone(),
            source,
        };
        let (stdout, stdout_writer) = io::pipe().map_err(failed)?;
        let (stderr, stderr_writer) = io::pipe().map_err(failed)?;
        let (ready, ready_writer) = io::pipe().map_err(failed)?;
        let env = [
            format!("CONTAINER_ID={}", owner.id),
            format!("CONTAINER_NAMESPACE={}", owner.namespace),
        ];
        let fds = [stdout.as_fd(), stderr.as_fd(), ready_writer.as_fd()];
        let process = children::orphan(|| {
            medley_sys::spawn::with_descriptors(path, &program.args, &env, &fds)
        });
        let process = Arc::new(process.map_err(failed)?);
        drop(ready_writer);
        let readers = Arc::new([OwnedFd::from(stdout), OwnedFd::from(stderr)]);
        let (ends, ended) = watch::channel(());
        let (watched, rest) = (Arc::clone(&process), Arc::clone(&readers));
        let name = path.clone();
        let task = tokio::spawn(async move {
            let mut trouble = Trouble::default();
            while let Err(error) = end_of(&watched).await {
                let name = name.display();
                let what = format!("the logging driver {name} can't be watched for now");
                trouble.say(&what, &error);
                tokio::time::sleep(TRY_AGAIN).await;
            }
            drop(ends);
            discard(&name, &rest).await;
        });
        let driver = Self {
            path: path.clone(),
            process,
            readers,
            ended,
            task: task.abort_handle(),
        };
        // From here on an error drops `driver`, which kills it.
        driver.await_ready(ready.into(), program.must_speak)?;
        Ok((driver, [stdout_writer.into(), stderr_writer.into()]))
    }

    /// Waits until the driver is ready: it writes a byte to the pipe, or closes it.
    fn await_ready(&self, ready: OwnedFd, must_speak: bool) -> Result<(), Error> {
        let path = || self.path.clone();
        let failed = |source| Error::Driver {
            path: path(),
            source,
        };
        let is_ready = medley_sys::watch::wait_readable(ready.as_fd(), Some(READY));
        if !is_ready.map_err(failed)? {
            return Err(Error::DriverNotReady {
                path: path(),
                limit: READY,
            });
        }
        let count = File::from(ready).read(&mut [0]).map_err(failed)?;
        if count == 0 && must_speak {
            return Err(Error::DriverSilent { path: path() });
        }
        Ok(())
    }

    /// Called once the last writer is gone. Waits until the driver has ended: it gets SIGTERM after it has
    /// read everything, and SIGKILL after [`END`].
    pub(crate) async fn finish(&self) {
        let mut ended = self.ended.clone();
        let deadline = Instant::now() + END;
        let mut told = false;
        while tokio::time::timeout(GRACE, ended.changed()).await.is_err() {
            if Instant::now() > deadline {
                let path = self.path.display();
                log::warn!("the logging driver {path} is killed: it has not ended within {END:?}");
                self.signal(Signal::KILL);
            } else if !told && self.has_read_everything() {
                self.signal(Signal::TERM);
                told = true;
            }
        }
    }

    fn has_read_everything(&self) -> bool {
        let mut readers = self.readers.iter();
        readers.all(|reader| rustix::io::ioctl_fionread(reader).is_ok_and(|left| left == 0))
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = self.process.signal(signal.as_raw()) {
            log::debug!("the logging driver {}: {error}", self.path.display());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
        // After `finish` the driver has ended already.
        self.signal(Signal::KILL);
    }
}

async fn end_of(process: &PidFd) -> io::Result<()> {
    process.watch()?.readable().await.map(drop)
}

/// Discards what is written for a driver that has ended, so that no writer blocks.
async fn discard(name: &Path, readers: &[OwnedFd; 2]) {
    let [stdout, stderr] = readers;
    tokio::join!(discard_all(name, stdout), discard_all(name, stderr));
}

async fn discard_all(name: &Path, reader: &OwnedFd) {
    let mut trouble = Trouble::default();
    while let Err(error) = discard_some(name, reader).await {
        let name = name.display();
        let what = format!("what is written to the logging driver {name}, which is gone, stays");
        trouble.say(&what, &error);
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn discard_some(name: &Path, reader: &OwnedFd) -> io::Result<()> {
    // The driver held the same end and is gone.
    rustix::io::ioctl_fionbio(reader, true)?;
    let reader = medley_sys::watch::readable(reader.as_fd())?;
    let mut said = false;
    loop {
        let mut ready = reader.readable().await?;
        match copy_output::read_chunk(ready.get_inner().as_fd()) {
            Ok(chunk) if chunk.is_empty() => return Ok(()),
            Ok(_) if !said => {
                let name = name.display();
                log::warn!("the logging driver {name} ended too early: output is lost from now on");
                said = true;
            }
            Ok(_) => {}
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        tokio::task::yield_now().await;
    }
}
