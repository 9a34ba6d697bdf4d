//! The FIFOs of a task, fed and drained the way `ctr` does it.

use anyhow::{Context, Result, anyhow};
use nix::sys::stat::Mode;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
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
}

/// The FIFOs of one task and the threads at their other ends.
#[derive(Debug)]
pub struct Stdio {
    dir: PathBuf,
    stdin: Stdin,
    stdout: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
    stderr: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
    writer: Option<JoinHandle<std::io::Result<()>>>,
}

impl Stdio {
    /// Makes the FIFOs in `dir`, a folder that does not exist yet, and starts to read.
    ///
    /// # Errors
    /// The folder or a FIFO cannot be made.
    pub fn open(dir: PathBuf, stdin: Stdin) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let fifo = |name: &str| -> Result<PathBuf> {
            let path = dir.join(name);
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))
                .with_context(|| format!("cannot make the FIFO {}", path.display()))?;
            Ok(path)
        };
        let reader = |path: PathBuf| {
            // The open blocks until the container's side is opened too.
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                File::open(path)?.read_to_end(&mut bytes)?;
                Ok(bytes)
            })
        };
        if !matches!(stdin, Stdin::None) {
            fifo("stdin")?;
        }
        let stdout = reader(fifo("stdout")?);
        let stderr = reader(fifo("stderr")?);
        let mut this = Self {
            dir,
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
            writer: None,
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

    /// The paths for stdin, stdout and stderr of a create request; stdin may be empty.
    pub fn paths(&self) -> [String; 3] {
        let path = |name| self.dir.join(name).to_string_lossy().into_owned();
        let stdin = if matches!(self.stdin, Stdin::None) {
            String::new()
        } else {
            path("stdin")
        };
        [stdin, path("stdout"), path("stderr")]
    }

    /// Opens the writing end of an [`Stdin::Open`] input; dropping it does not end the
    /// input as long as the shim holds an end of its own: CloseIO does.
    ///
    /// # Errors
    /// Nobody opens the reading end in time.
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
                    return other.with_context(|| format!("nobody reads {}", path.display()));
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
        let stdout = self.stdout.take().context("stdout has been read before")?;
        let stderr = self.stderr.take().context("stderr has been read before")?;
        let stdout = join(stdout, "stdout does not end").await?;
        Ok((stdout, join(stderr, "stderr does not end").await?))
    }
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
    // Not there or nobody waiting: nothing to wake.
    drop(options.open(path));
}
