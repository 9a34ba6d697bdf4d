//! The FIFOs of a task, fed and drained the way `ctr` does it.

use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a task gets on its standard input.
#[derive(Debug, Clone, Default)]
pub enum Stdin {
    /// No FIFO at all.
    #[default]
    None,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// A FIFO that stays open until the test closes it.
    Open,
    /// A terminal: as [`Stdin::Open`], and without stderr.
    Terminal,
}

/// The FIFOs of one task and the threads at their other ends.
#[derive(Debug)]
pub struct Stdio {
    dir: PathBuf,
    stdin: Stdin,
    /// Where output goes that is not read here, and whether there is a terminal.
    logged: Option<(String, String, bool)>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    writer: Option<JoinHandle<std::io::Result<()>>>,
    /// When stdout first brought something.
    first: Arc<OnceLock<Instant>>,
}

impl Stdio {
    /// Makes the FIFOs in `dir`, a dir that does not exist yet, and starts to read.
    ///
    /// # Errors
    /// The dir or a FIFO cannot be made.
    pub fn open(dir: PathBuf, stdin: Stdin) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let fifo = |name: &str| -> Result<PathBuf> {
            let path = dir.join(name);
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))
                .with_context(|| format!("cannot make the FIFO {}", path.display()))?;
            Ok(path)
        };
        if !matches!(stdin, Stdin::None) {
            fifo("stdin")?;
        }
        let first = Arc::default();
        let stdout = Some(Reader::start(fifo("stdout")?, Arc::clone(&first)));
        let stderr = match stdin {
            Stdin::Terminal => None,
            _ => Some(Reader::start(fifo("stderr")?, Arc::default())),
        };
        let mut this = Self {
            dir,
            stdin,
            logged: None,
            stdout,
            stderr,
            writer: None,
            first,
        };
        if let Stdin::Bytes(bytes) = &mut this.stdin {
            let bytes = std::mem::take(bytes);
            let path = this.dir.join("stdin");
            this.writer = Some(std::thread::spawn(move || {
                OpenOptions::new().write(true).open(path)?.write_all(&bytes)
            }));
        }
        Ok(this)
    }

    /// No FIFOs: output goes where these paths or URIs say.
    pub fn logged(stdout: &str, stderr: &str, terminal: bool) -> Self {
        Self {
            dir: PathBuf::new(),
            stdin: Stdin::None,
            logged: Some((stdout.to_owned(), stderr.to_owned(), terminal)),
            stdout: None,
            stderr: None,
            writer: None,
            first: Arc::default(),
        }
    }

    /// When stdout first brought something.
    pub fn first_output(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    /// The paths for stdin, stdout and stderr of a create request; stdin may be empty.
    pub fn paths(&self) -> [String; 3] {
        if let Some((stdout, stderr, _)) = &self.logged {
            return [String::new(), stdout.clone(), stderr.clone()];
        }
        let path = |name| self.dir.join(name).to_string_lossy().into_owned();
        let stdin = if matches!(self.stdin, Stdin::None) {
            String::new()
        } else {
            path("stdin")
        };
        let stderr = if self.is_terminal() {
            String::new()
        } else {
            path("stderr")
        };
        [stdin, path("stdout"), stderr]
    }

    /// Whether the task is to have a terminal.
    pub fn is_terminal(&self) -> bool {
        let logged = self.logged.as_ref();
        logged.map_or(matches!(self.stdin, Stdin::Terminal), |logged| logged.2)
    }

    /// Waits until stdout has brought `text`, and returns everything so far.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until(&self, text: &str) -> Result<String> {
        let deadline = Instant::now() + crate::containerd::PATIENCE;
        loop {
            let seen = self.stdout.as_ref().map(Reader::seen).unwrap_or_default();
            let seen = String::from_utf8_lossy(&seen).into_owned();
            if seen.contains(text) {
                return Ok(seen);
            }
            anyhow::ensure!(Instant::now() < deadline, "no {text:?} in {seen:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets go of stdout, as a client that goes away does.
    ///
    /// # Errors
    /// It was let go of before.
    pub async fn detach(&mut self) -> Result<()> {
        let reader = self.stdout.take().context("stdout has no reader")?;
        reader.leave.store(true, Ordering::Relaxed);
        join(reader.thread, "the reader does not leave").await
    }

    /// Reads stdout again.
    pub fn attach(&mut self) {
        let path = self.dir.join("stdout");
        self.stdout = Some(Reader::start(path, Arc::clone(&self.first)));
    }

    /// Opens the writing end of an [`Stdin::Open`] input; dropping it does not end the
    /// input as long as the shim holds an end of its own: CloseIO does.
    ///
    /// # Errors
    /// The reading end is not opened in time.
    pub async fn writer(&self) -> Result<File> {
        let path = self.dir.join("stdin");
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // Not blocking: a reader that never comes must not hang the test.
            let nonblocking = nix::libc::O_NONBLOCK;
            let opened = OpenOptions::new()
                .write(true)
                .custom_flags(nonblocking)
                .open(&path);
            match opened {
                Err(error)
                    if error.raw_os_error() == Some(nix::libc::ENXIO)
                        && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => {
                    return other.with_context(|| format!("no reader of {}", path.display()));
                }
            }
        }
    }

    /// Waits until the bytes of [`Stdin::Bytes`] are all in the FIFO.
    ///
    /// # Errors
    /// They are not taken in time.
    pub async fn written(&mut self) -> Result<()> {
        match self.writer.take() {
            None => Ok(()),
            Some(thread) => join(thread, "stdin is not read").await,
        }
    }

    /// Waits for the end of stdout and stderr, and returns both.
    ///
    /// # Errors
    /// One stays open although its container is gone.
    pub async fn drain(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        if self.logged.is_some() {
            return Ok(Default::default());
        }
        let stdout = self.stdout.take().context("stdout has been read before")?;
        let stderr = self.stderr.take();
        if stderr.is_none() && !self.is_terminal() {
            anyhow::bail!("stderr has been read before");
        }
        let stdout = stdout.end("stdout does not end").await?;
        let stderr = match stderr {
            Some(stderr) => stderr.end("stderr does not end").await?,
            None => Vec::new(),
        };
        Ok((stdout, stderr))
    }
}

/// Reads a FIFO on a thread of its own.
#[derive(Debug)]
struct Reader {
    /// Guards what was read so far.
    seen: Arc<Mutex<Vec<u8>>>,
    /// Whether to let go although there may be more.
    leave: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Reader {
    fn start(path: PathBuf, first: Arc<OnceLock<Instant>>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let leave = Arc::new(AtomicBool::new(false));
        let theirs = (Arc::clone(&seen), Arc::clone(&leave));
        let thread = std::thread::spawn(move || read(&path, &theirs.0, &theirs.1, &first));
        Self {
            seen,
            leave,
            thread,
        }
    }

    fn seen(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    async fn end(self, late: &str) -> Result<Vec<u8>> {
        join(self.thread, late).await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *seen))
    }
}

fn read(
    path: &Path,
    seen: &Mutex<Vec<u8>>,
    leave: &AtomicBool,
    first: &OnceLock<Instant>,
) -> std::io::Result<()> {
    // The open blocks until the container's side is opened too.
    let mut fifo = File::open(path)?;
    let mut chunk = vec![0; 65536];
    while !leave.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(20_u8))? == 0 {
            continue;
        }
        let count = fifo.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        first.get_or_init(Instant::now);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend_from_slice(&chunk[..count]);
    }
    Ok(())
}

async fn join<T>(thread: JoinHandle<std::io::Result<T>>, late: &str) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !thread.is_finished() {
        anyhow::ensure!(Instant::now() < deadline, "{late}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(thread
        .join()
        .map_err(|_| anyhow!("a thread of the test panicked"))??)
}

impl Drop for Stdio {
    fn drop(&mut self) {
        // Wakes threads that still wait for the other side to open.
        wake(&self.dir.join("stdout"), true);
        wake(&self.dir.join("stderr"), true);
        wake(&self.dir.join("stdin"), false);
    }
}

fn wake(path: &Path, write: bool) {
    let mut options = OpenOptions::new();
    options
        .write(write)
        .read(!write)
        .custom_flags(nix::libc::O_NONBLOCK);
    // Not there or not waited for: nothing to wake.
    drop(options.open(path));
}
