//! Logging drivers: programs that read what a process writes.
//!
//! Follows containerd's `NewBinaryIO` (`cmd/containerd-shim-runc-v2/process/io.go`) and what its
//! drivers rely on (`core/runtime/v2/logging`): descriptors 3 and 4 are stdout and stderr, 5 tells
//! that the driver is ready, and the environment says whose output it is.
//!
//! Two things are better here. The shim keeps a reading end of both pipes: a driver that dies
//! neither kills the process by SIGPIPE nor blocks it, as the shim throws the rest away. And a
//! driver sees the end of the output before it is asked to go.

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

/// How long a driver may take until it is ready. containerd sets no limit; a client that gave up
/// by then would leave a shim that waits for ever.
const READY: Duration = Duration::from_secs(10);

/// How long a driver that has read everything may take to end by itself, before SIGTERM says that
/// it is time.
const GRACE: Duration = Duration::from_secs(1);

/// How long a driver may take altogether to end, before SIGKILL: what it has to write may be much.
/// As long as in containerd's own shim.
const END: Duration = Duration::from_secs(12);

/// A driver that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    path: PathBuf,
    process: Arc<PidFd>,
    /// Of stdout and stderr.
    readers: Arc<[OwnedFd; 2]>,
    /// Closed once the process has ended.
    ended: watch::Receiver<()>,
    task: AbortHandle,
}

impl Driver {
    /// Runs the driver and waits until it is ready. Gives the ends to write to: stdout, stderr.
    /// Needs a tokio runtime around it.
    ///
    /// It is reaped as a container's orphans are.
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
        // What is dropped from here on, should it not be ready, is killed.
        driver.await_ready(ready.into(), program.must_speak)?;
        Ok((driver, [stdout_writer.into(), stderr_writer.into()]))
    }

    /// Waits until the driver is ready: it writes a byte, or closes the pipe.
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

    /// Waits until the driver has read everything and has ended, once the last writer is gone. One
    /// that does not end is told to, and then made to.
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
        // One that was waited for has ended already.
        self.signal(Signal::KILL);
    }
}

async fn end_of(process: &PidFd) -> io::Result<()> {
    process.watch()?.readable().await.map(drop)
}

/// Throws away what is written to a driver that is gone, so that no writer waits for it.
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
    // The driver, which had the same, is gone.
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
