//! Copying what a process says: a task, and one chunk of memory while there is something to copy.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::log_file::LogFile;
use crate::master::Master;

/// Bytes that are read at once: what a terminal holds.
const CHUNK: usize = 4096;

/// How long nothing may move before a copy that is to finish is not waited for: its reader is
/// stopped, or gone. Below the 5 s that containerd gives a Delete.
const STALL: Duration = Duration::from_secs(1);

/// Pause after a failure that may pass, such as a lack of descriptors.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A copy under way, which ends with this handle.
#[derive(Debug)]
pub(crate) struct Copying {
    shared: Arc<Shared>,
    /// Closed at the copy's end.
    done: watch::Receiver<()>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    finish: Notify,
    /// Bytes.
    moved: AtomicU64,
}

impl Copying {
    pub(crate) fn start(source: Source, sink: Sink) -> Self {
        let shared = Arc::new(Shared {
            finish: Notify::new(),
            moved: AtomicU64::new(0),
        });
        let (ends, done) = watch::channel(());
        let theirs = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            copy(source, sink, &theirs).await;
            drop(ends);
        });
        Self {
            shared,
            done,
            task: task.abort_handle(),
        }
    }

    /// Has the copy end once there is nothing more to read, and waits for that as long as something
    /// moves.
    pub(crate) fn finish(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.finish.notify_one();
        let (shared, mut done) = (Arc::clone(&self.shared), self.done.clone());
        async move {
            let mut before = shared.moved.load(Ordering::Relaxed);
            while tokio::time::timeout(STALL, done.changed()).await.is_err() {
                let now = shared.moved.load(Ordering::Relaxed);
                if now == before {
                    log::warn!("nobody reads the last output of a process");
                    return;
                }
                before = now;
            }
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies to the end, whatever happens on the way: the process that writes is not to suffer from it. A
/// reader that goes away would have it killed, and one that does not read would hold it up for ever.
async fn copy(mut source: Source, mut sink: Sink, shared: &Shared) {
    let mut finishing = false;
    let mut trouble = Trouble::default();
    loop {
        let chunk = if finishing {
            source.read_now()
        } else {
            tokio::select! {
                chunk = source.read() => chunk,
                () = shared.finish.notified() => {
                    finishing = true;
                    continue;
                }
            }
        };
        let chunk = match chunk {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => chunk,
            Err(error) if finishing => {
                log::warn!("the last output of a process is lost: {error}");
                return;
            }
            Err(error) => {
                trouble.say("what a process says can't be read for now", &error);
                tokio::time::sleep(TRY_AGAIN).await;
                continue;
            }
        };
        match sink.write(&chunk).await {
            Ok(()) => trouble.is_over(),
            Err(error) => trouble.say("what a process says is lost for now", &error),
        }
        let count = u64::try_from(chunk.len()).unwrap_or_default();
        shared.moved.fetch_add(count, Ordering::Relaxed);
        // A container that floods is not alone in this thread.
        tokio::task::yield_now().await;
    }
}

/// Whether something is wrong that has been said.
#[derive(Debug, Default)]
pub(crate) struct Trouble(bool);

impl Trouble {
    /// Says it, unless it was said since all was well.
    pub(crate) fn say(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            log::warn!("{what}: {error}");
        }
    }

    fn is_over(&mut self) {
        self.0 = false;
    }
}

/// Where bytes come from.
pub(crate) struct Source {
    fd: Arc<AsyncFd<OwnedFd>>,
    /// Where it is from, if it is a terminal's.
    master: Option<Arc<Master>>,
    /// An end of the terminal for the time in which no other process has one: see [`Self::renew`].
    peer: Option<OwnedFd>,
}

impl Source {
    /// A terminal's master.
    pub(crate) fn terminal(master: Arc<Master>) -> Self {
        Self {
            fd: master.now(),
            master: Some(master),
            peer: None,
        }
    }

    /// The reading end of a pipe, which never blocks (`O_NONBLOCK`).
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            fd: Arc::new(medley_sys::watch::reader(fd)?),
            master: None,
            peer: None,
        })
    }

    /// Waits for bytes. Dropping this loses none.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.fd.readable().await?;
            match read_chunk(ready.get_inner().as_fd()) {
                Ok(chunk) => return Ok(chunk),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(Errno::IO) => {
                    drop(ready);
                    self.renew()?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Bytes that are there; none, if there are none now. The kernel has by then brought over
    /// whatever was written to the other end before.
    fn read_now(&self) -> io::Result<Vec<u8>> {
        loop {
            match read_chunk(self.fd.get_ref().as_fd()) {
                Ok(chunk) => return Ok(chunk),
                Err(Errno::AGAIN | Errno::IO) => return Ok(Vec::new()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// After a hang-up, which need not be the end: a process closes its terminal and opens it
    /// again, as init systems do. An end of our own keeps the master from saying so again, and
    /// from being ready all the time.
    fn renew(&mut self) -> io::Result<()> {
        let master = self.master.as_ref().ok_or(Errno::IO)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        self.peer = Some(rustix::pty::ioctl_tiocgptpeer(self.fd.get_ref(), flags)?);
        self.fd = master.renew(&self.fd)?;
        Ok(())
    }
}

/// Reads what is there, a chunk at most. Nothing is the end.
pub(crate) fn read_chunk(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut chunk = [0; CHUNK];
    let count = rustix::io::read(fd, &mut chunk)?;
    Ok(chunk.get(..count).unwrap_or_default().to_vec())
}

/// Where bytes go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A FIFO or pipe, whose reader sets the pace.
    Pipe(AsyncFd<OwnedFd>),
    /// A file. What it does not take is lost, and it says so.
    File(Arc<LogFile>),
    Nowhere,
}

impl Sink {
    /// The writing end of a pipe, which never blocks (`O_NONBLOCK`).
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Pipe(medley_sys::watch::writer(fd)?))
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let pipe = match self {
            Self::Pipe(pipe) => pipe,
            Self::File(file) => {
                let (file, bytes) = (Arc::clone(file), bytes.to_vec());
                // A disk may be slow, or gone for a while with its network.
                let written = tokio::task::spawn_blocking(move || file.append(&bytes));
                return written.await.map_err(io::Error::other);
            }
            Self::Nowhere => return Ok(()),
        };
        while !bytes.is_empty() {
            let mut ready = pipe.writable().await?;
            match rustix::io::write(ready.get_inner(), bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
