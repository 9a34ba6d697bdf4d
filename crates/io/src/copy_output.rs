//! Copying what a process writes: a task, and one chunk of memory while there is something to copy.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::log_file::LogFile;
use crate::master::Master;

/// Bytes that are read at once: what a terminal holds.
const CHUNK: usize = 4096;

/// How long nothing may move before a copy that is to finish is not waited for: its reader is
/// stopped, or gone.
const STALL: Duration = Duration::from_secs(1);

/// How long a copy that is to finish is waited for at most, however its reader takes it: below the 5 s
/// that containerd gives a Delete.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// How long a copy that is to finish goes on when it is not waited for any more: its reader may have
/// stopped for a while only.
const LINGER: Duration = Duration::from_secs(30);

/// Most bytes that a terminal holds: its queue, and what the kernel has still to bring there.
const TERMINAL_MAX: usize = 128 << 10;

/// Pause after a failure that may pass, such as a lack of descriptors.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How many copies are to finish, and have not. Some are waited for no more.
static FINISHING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Waits until every copy that was to finish has, or has given up on its reader: before the process ends
/// that copies.
pub async fn all_copied() {
    let mut finishing = FINISHING.subscribe();
    // It never closes.
    finishing.wait_for(|count| *count == 0).await.ok();
}

/// Counts a copy as one that is to finish.
struct Finishing;

impl Finishing {
    fn begin() -> Self {
        FINISHING.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        FINISHING.send_modify(|count| *count -= 1);
    }
}

/// A copy under way, which ends with this handle; one that is to finish ends by itself.
#[derive(Debug)]
pub(crate) struct Copying {
    /// Whether it is to finish.
    finish: watch::Sender<bool>,
    /// Bytes.
    moved: Arc<AtomicU64>,
    /// Closed at the copy's end.
    done: watch::Receiver<()>,
    task: AbortHandle,
}

impl Copying {
    pub(crate) fn start(source: Source, sink: Sink) -> Self {
        let moved = Arc::new(AtomicU64::new(0));
        let (finish, finishing) = watch::channel(false);
        let (ends, done) = watch::channel(());
        let copy = Copy {
            source,
            sink,
            moved: Arc::clone(&moved),
            finish: finishing.clone(),
        };
        let task = tokio::spawn(async move {
            copy.run_until(finishing).await;
            drop(ends);
        });
        Self {
            finish,
            moved,
            done,
            task: task.abort_handle(),
        }
    }

    /// Has the copy end once it has copied what there is to read now, and waits for that as long as
    /// something moves, but not for longer than containerd does.
    pub(crate) fn finish(&self) -> impl Future<Output = ()> + Send + use<> {
        self.finish.send_replace(true);
        let (moved, mut done) = (Arc::clone(&self.moved), self.done.clone());
        let deadline = Instant::now() + FINISH_MAX;
        async move {
            let mut before = moved.load(Ordering::Relaxed);
            loop {
                let look = deadline.min(Instant::now() + STALL);
                if tokio::time::timeout_at(look, done.changed()).await.is_ok() {
                    return;
                }
                let now = moved.load(Ordering::Relaxed);
                if now == before || Instant::now() >= deadline {
                    log::warn!(
                        "the last output of a process is not waited for: its reader is slow"
                    );
                    return;
                }
                before = now;
            }
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if !*self.finish.borrow() {
            self.task.abort();
        }
    }
}

struct Copy {
    source: Source,
    sink: Sink,
    moved: Arc<AtomicU64>,
    finish: watch::Receiver<bool>,
}

impl Copy {
    /// Copies until it is to finish, and for a while after.
    async fn run_until(self, mut finish: watch::Receiver<bool>) {
        let moved = Arc::clone(&self.moved);
        let copy = self.run();
        tokio::pin!(copy);
        tokio::select! {
            () = &mut copy => return,
            () = asked(&mut finish) => {}
        }
        let _finishing = Finishing::begin();
        let mut before = moved.load(Ordering::Relaxed);
        while tokio::time::timeout(LINGER, &mut copy).await.is_err() {
            let now = moved.load(Ordering::Relaxed);
            if now == before {
                log::warn!(
                    "the last output of a process is lost: its reader took nothing for {LINGER:?}"
                );
                return;
            }
            before = now;
        }
    }

    /// Copies to the end, past failures on the way: the process that writes is not to suffer from
    /// it. A reader that goes away would have it killed, and one that does not read would hold it up
    /// for ever.
    async fn run(self) {
        let Self {
            source,
            mut sink,
            moved,
            mut finish,
        } = self;
        let mut trouble = Trouble::default();
        let mut source = Some(source);
        let last = loop {
            let Some(reading) = &mut source else { return };
            let chunk = tokio::select! {
                chunk = reading.read() => chunk,
                () = asked(&mut finish) => break source.take().map(Source::last),
            };
            let chunk = match chunk {
                Ok(chunk) if chunk.is_empty() => return,
                Ok(chunk) => chunk,
                Err(error) => {
                    trouble.say("what a process says can't be read for now", &error);
                    tokio::time::sleep(TRY_AGAIN).await;
                    continue;
                }
            };
            let (written, last) = {
                let writing = sink.write(&chunk);
                tokio::pin!(writing);
                tokio::select! {
                    biased;
                    written = &mut writing => (written, None),
                    // A terminal is hung up on without waiting for the reader.
                    () = asked(&mut finish) => {
                        let last = source.take().map(Source::last);
                        (writing.await, last)
                    }
                }
            };
            match written {
                Ok(()) => trouble.is_over(),
                Err(error) => trouble.say("what a process says is lost for now", &error),
            }
            count(&moved, &chunk);
            if last.is_some() {
                break last;
            }
            // A container that floods is not alone in this thread.
            tokio::task::yield_now().await;
        };
        let copied = match last {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(last)) => last.copy(&mut sink, &moved).await,
        };
        if let Err(error) = copied {
            log::warn!("the last output of a process is lost: {error}");
        }
    }
}

/// Waits until a copy is to finish, for ever if its handle is gone: its task is ended then.
async fn asked(finish: &mut watch::Receiver<bool>) {
    if finish.wait_for(|finish| *finish).await.is_err() {
        std::future::pending().await
    }
}

/// What there was to read when a copy was to finish, and no more: what the process left behind may write
/// for ever.
enum Last {
    /// A terminal's, which is let go of.
    Bytes(Vec<u8>),
    /// As many bytes, still in a pipe.
    Pipe(Source, usize),
}

impl Last {
    async fn copy(self, sink: &mut Sink, moved: &AtomicU64) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => {
                for chunk in bytes.chunks(CHUNK) {
                    sink.write(chunk).await?;
                    count(moved, chunk);
                }
            }
            Self::Pipe(source, mut left) => {
                while left > 0 {
                    let chunk = source.read_now()?;
                    if chunk.is_empty() {
                        break;
                    }
                    sink.write(&chunk).await?;
                    count(moved, &chunk);
                    left = left.saturating_sub(chunk.len());
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }
}

fn count(moved: &AtomicU64, chunk: &[u8]) {
    let count = u64::try_from(chunk.len()).unwrap_or_default();
    moved.fetch_add(count, Ordering::Relaxed);
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

    /// What there is to read now.
    fn last(self) -> io::Result<Last> {
        if self.master.is_none() {
            let left = rustix::io::ioctl_fionread(self.fd.get_ref())?;
            return Ok(Last::Pipe(
                self,
                usize::try_from(left).unwrap_or(usize::MAX),
            ));
        }
        let mut bytes = Vec::new();
        while bytes.len() < TERMINAL_MAX {
            match self.read_now()? {
                chunk if chunk.is_empty() => break,
                chunk => bytes.extend(chunk),
            }
        }
        Ok(Last::Bytes(bytes))
    }

    /// Bytes that are there; none, if there are none now. The kernel has by then brought over
    /// what was written to the other end before.
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
