//! Copies what a process writes. Each copy is one task, and holds one chunk of memory while there are bytes.

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

/// A finishing copy that moves no byte for this long is not waited for: its reader is stopped, or gone.
const STALL: Duration = Duration::from_secs(1);

/// A finishing copy is waited for at most this long, even if its reader makes progress. containerd gives
/// a Delete 5 s.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// A finishing copy that moves no byte for this long is given up, waited for or not.
const LINGER: Duration = Duration::from_secs(30);

/// Most bytes that a terminal holds, in its queue and in the kernel's buffers before it.
const TERMINAL_MAX: usize = 128 << 10;

/// Pause after a failure that may pass, such as a lack of descriptors.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The number of finishing copies, those that are not waited for included.
static FINISHING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Waits until every finishing copy has ended or given up. The shim calls it before it exits, as an exit
/// would end the copies.
pub async fn all_copied() {
    let mut finishing = FINISHING.subscribe();
    // The sender is static, so this never fails.
    finishing.wait_for(|count| *count == 0).await.ok();
}

/// Counts one finishing copy for as long as it exists.
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

/// The handle of a copy. Dropping it ends the copy, unless [`Self::finish`] was called: then the copy ends
/// by itself.
#[derive(Debug)]
pub(crate) struct Copying {
    /// Set once the copy is told to finish.
    finish: watch::Sender<bool>,
    /// Bytes that were copied so far.
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

    /// Tells the copy to end after the bytes that can be read now. Waits for that while bytes move, and
    /// for [`FINISH_MAX`] at most.
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
    /// Copies until the source ends; once told to finish, until its last bytes are written or their
    /// reader takes nothing for [`LINGER`].
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

    /// Copies to the end of the source. A failed read or write is logged and the copy goes on: if it
    /// stopped, SIGPIPE would kill the process that writes, or a full pipe would block it.
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
                    // The terminal closes at once: its hang-up does not wait for the reader.
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
            // Other tasks of this thread get a turn, even if this container never stops writing.
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

/// Waits until the copy is told to finish. If its handle is dropped, the task is aborted, so this waits
/// for ever then.
async fn asked(finish: &mut watch::Receiver<bool>) {
    if finish.wait_for(|finish| *finish).await.is_err() {
        std::future::pending().await
    }
}

/// The bytes that could be read when the copy was told to finish. No later ones are copied: a process that
/// outlives the session may write for ever.
enum Last {
    /// Read from a terminal, which is closed already.
    Bytes(Vec<u8>),
    /// This many bytes, which are still in a pipe.
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

/// Logs a failure once, and not again until it is over. Holds whether it was logged.
#[derive(Debug, Default)]
pub(crate) struct Trouble(bool);

impl Trouble {
    /// Logs the failure, unless it was logged since the last success.
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
    /// The terminal, if the bytes come from one.
    master: Option<Arc<Master>>,
    /// Keeps the terminal's other end open while no process has it open: see [`Self::renew`].
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

    /// Waits for bytes. Cancel safe: dropping the future loses none.
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

    /// The bytes that can be read now, without waiting for more.
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

    /// Reads without waiting. Empty if there are no bytes now; everything written to the other end
    /// before this call has arrived by then.
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

    /// Goes on after a hang-up. That need not be the end: init systems close their terminal and open it
    /// again. With the other end open here the master reports no further hang-up; without it, it would
    /// be ready all the time.
    fn renew(&mut self) -> io::Result<()> {
        let master = self.master.as_ref().ok_or(Errno::IO)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        self.peer = Some(rustix::pty::ioctl_tiocgptpeer(self.fd.get_ref(), flags)?);
        self.fd = master.renew(&self.fd)?;
        Ok(())
    }
}

/// Reads at most one chunk. An empty one is the end of the source.
pub(crate) fn read_chunk(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut chunk = [0; CHUNK];
    let count = rustix::io::read(fd, &mut chunk)?;
    Ok(chunk.get(..count).unwrap_or_default().to_vec())
}

/// Where bytes go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A FIFO or pipe. Writing waits for its reader.
    Pipe(AsyncFd<OwnedFd>),
    /// A file. Bytes that can't be written are dropped, and the file notes how many.
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
                // A write to a slow disk or a network file system may block the thread.
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
