//! The container ends of stdio.
//!
//! containerd and its clients make FIFOs and name them in Create. A container without a terminal
//! gets the FIFO itself: nobody copies its bytes. The shim keeps a second handle of each, so
//! that a reader that goes away (a restart of containerd, a client that detaches) does not send
//! SIGPIPE to the container, and a writer that goes away does not end its stdin.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode, OFlags, Uid};

/// How long a client may take to open its end. Clients open it before they call Create; well below
/// the 5 s that containerd gives a Delete, which waits for a Create that was given up.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two looks for a reader.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where a container's stdio goes, as containerd names it. An empty path is `/dev/null`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// What the container reads.
    pub stdin: String,
    /// Where its output goes.
    pub stdout: String,
    /// Where its error output goes; always empty with a terminal.
    pub stderr: String,
    /// Whether the container asked for a terminal.
    pub terminal: bool,
}

/// Why stdio could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The FIFO or device could not be opened.
    #[error("cannot open {stream} at {path:?}")]
    Open {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The path as containerd gave it.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The path is something else than a FIFO.
    #[error("{stream} at {path:?} is not a FIFO")]
    NotAFifo {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The path as containerd gave it.
        path: PathBuf,
    },
    /// The path names a way of logging that this version does not have.
    #[error("{stream} {uri:?} is not supported: this version writes to FIFOs only")]
    Scheme {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The URI as containerd gave it.
        uri: String,
    },
    /// A terminal was asked for.
    #[error("a terminal is not supported by this version: run the container without -t / tty")]
    Terminal,
}

/// The ends that the container gets.
#[derive(Debug)]
pub struct ContainerEnds {
    /// For reading.
    pub stdin: OwnedFd,
    /// For writing.
    pub stdout: OwnedFd,
    /// For writing.
    pub stderr: OwnedFd,
}

/// What the shim keeps as long as the container runs.
#[derive(Debug)]
pub struct Keeper {
    /// The writing end of stdin: as long as it is open, the container sees no end of input.
    stdin: Option<OwnedFd>,
    /// Reading ends: as long as they are open, the container gets no SIGPIPE, and what nobody has
    /// read yet is not lost. Not being writers, they don't keep the real reader from seeing the
    /// end.
    _outputs: Vec<OwnedFd>,
}

impl Keeper {
    /// Lets the container see the end of its input, once the other writers are gone too.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }
}

impl Stdio {
    /// Opens everything, the container's ends owned by its user `uid`, so that it may open
    /// `/dev/stdout` again.
    ///
    /// # Errors
    /// [`Error`] if a path can't be used; nothing stays open then.
    pub fn open(&self, uid: u32) -> Result<(ContainerEnds, Keeper), Error> {
        self.open_with(uid, input)
    }

    /// As [`Self::open`], for a process that lives no longer than its client: an exec.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_session(&self, uid: u32) -> Result<(ContainerEnds, Keeper), Error> {
        self.open_with(uid, session_input)
    }

    fn open_with(
        &self,
        uid: u32,
        input: impl FnOnce(&str, u32) -> Result<(OwnedFd, Option<OwnedFd>), Error>,
    ) -> Result<(ContainerEnds, Keeper), Error> {
        if self.terminal {
            return Err(Error::Terminal);
        }
        let (stdin, stdin_writer) = input(&self.stdin, uid)?;
        let (stdout, stdout_reader) = output("stdout", &self.stdout, uid)?;
        let (stderr, stderr_reader) = output("stderr", &self.stderr, uid)?;
        let outputs = [stdout_reader, stderr_reader]
            .into_iter()
            .flatten()
            .collect();
        Ok((
            ContainerEnds {
                stdin,
                stdout,
                stderr,
            },
            Keeper {
                stdin: stdin_writer,
                _outputs: outputs,
            },
        ))
    }
}

/// The reading end of the stdin of a process that lives no longer than its client: once the client
/// has closed its end, there is no more input.
fn session_input(path: &str, uid: u32) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    const STREAM: &str = "stdin";
    let Some(path) = fifo_path(STREAM, path)? else {
        return Ok((null(STREAM, OFlags::RDONLY)?, None));
    };
    let (opened, hears) = mpsc::channel();
    let waiting = path.clone();
    std::thread::spawn(move || {
        // Waits until somebody writes. A reader that came before would see the end at once.
        let read = rustix::fs::open(&waiting, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        drop(opened.send(read));
    });
    let mut keeper = None;
    let read = match hears.recv_timeout(PEER_TIMEOUT) {
        Ok(read) => read,
        Err(_) => {
            // Nobody came yet: the thread gets a writer, and whoever comes later may still write.
            keeper = Some(open_fifo(STREAM, &path, OFlags::RDWR)?);
            hears.recv().unwrap_or(Err(rustix::io::Errno::INTR))
        }
    };
    let read = read.map_err(|errno| Error::Open {
        stream: STREAM,
        path: path.clone(),
        source: errno.into(),
    })?;
    if !rustix::fs::fstat(&read).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
    }) {
        return Err(Error::NotAFifo {
            stream: STREAM,
            path,
        });
    }
    own(STREAM, &path, &read, uid)?;
    Ok((read, keeper))
}

fn input(path: &str, uid: u32) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    const STREAM: &str = "stdin";
    let Some(path) = fifo_path(STREAM, path)? else {
        return Ok((null(STREAM, OFlags::RDONLY)?, None));
    };
    // Read and write first: this open never waits for a peer, and the next ones have one.
    let both = open_fifo(STREAM, &path, OFlags::RDWR)?;
    let read = open_fifo(STREAM, &path, OFlags::RDONLY)?;
    let write = open_fifo(STREAM, &path, OFlags::WRONLY)?;
    drop(both);
    own(STREAM, &path, &read, uid)?;
    Ok((read, Some(write)))
}

fn output(stream: &'static str, path: &str, uid: u32) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    let Some(path) = fifo_path(stream, path)? else {
        return Ok((null(stream, OFlags::WRONLY)?, None));
    };
    let write = open_for_reader(stream, &path)?;
    let read = open_fifo(stream, &path, OFlags::RDONLY)?;
    own(stream, &path, &write, uid)?;
    Ok((write, Some(read)))
}

/// Opens the writing end once somebody has the reading one open, or is about to.
///
/// A client may still be opening it. Should the container have come and gone by then, the client
/// would wait for a writer for ever.
fn open_for_reader(stream: &'static str, path: &Path) -> Result<OwnedFd, Error> {
    let deadline = Instant::now() + PEER_TIMEOUT;
    loop {
        match open_fifo(stream, path, OFlags::WRONLY) {
            Err(Error::Open { source, .. })
                if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) =>
            {
                if Instant::now() > deadline {
                    // Nobody reads: containerd is down, perhaps, and will.
                    let _both = open_fifo(stream, path, OFlags::RDWR)?;
                    return open_fifo(stream, path, OFlags::WRONLY);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            result => return result,
        }
    }
}

/// The FIFO's path, `None` for an empty one, an error for a URI.
fn fifo_path(stream: &'static str, path: &str) -> Result<Option<PathBuf>, Error> {
    if path.is_empty() {
        return Ok(None);
    }
    let path = path.strip_prefix("fifo://").unwrap_or(path);
    if path.contains("://") {
        return Err(Error::Scheme {
            stream,
            uri: path.to_owned(),
        });
    }
    Ok(Some(PathBuf::from(path)))
}

fn open_fifo(stream: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Open {
        stream,
        path: path.to_owned(),
        source,
    };
    let fd = rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map_err(|errno| failed(errno.into()))?;
    let file = File::from(fd);
    if !file.metadata().map_err(failed)?.file_type().is_fifo() {
        return Err(Error::NotAFifo {
            stream,
            path: path.to_owned(),
        });
    }
    // Opened without waiting, used with: the container expects blocking stdio.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|errno| failed(errno.into()))?;
    Ok(file.into())
}

fn own(stream: &'static str, path: &Path, fd: &OwnedFd, uid: u32) -> Result<(), Error> {
    if uid == 0 {
        return Ok(());
    }
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>).map_err(|errno| Error::Open {
        stream,
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn null(stream: &'static str, flags: OFlags) -> Result<OwnedFd, Error> {
    const NULL: &str = "/dev/null";
    rustix::fs::open(NULL, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::Open {
        stream,
        path: NULL.into(),
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, Stdio};
    use std::fs::File;
    use std::io::{Read, Write};
    use std::path::PathBuf;

    struct Fifos(PathBuf, Option<File>);

    impl Fifos {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("medley-io-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            for stream in ["in", "out"] {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    dir.join(stream),
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                    0,
                )
                .unwrap();
            }
            let reader = super::open_fifo("stdout", &dir.join("out"), super::OFlags::RDONLY);
            Self(dir, Some(reader.unwrap().into()))
        }

        fn stdio(&self) -> Stdio {
            Stdio {
                stdin: self.path("in"),
                stdout: self.path("out"),
                ..Stdio::default()
            }
        }

        fn path(&self, stream: &str) -> String {
            self.0.join(stream).display().to_string()
        }
    }

    impl Drop for Fifos {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn output_survives_a_reader_that_goes_away_and_comes_back() {
        let mut fifos = Fifos::new("output");
        let (ends, keeper) = fifos.stdio().open(0).unwrap();
        fifos.1 = None;
        let mut stdout = File::from(ends.stdout);
        stdout.write_all(b"no SIGPIPE").unwrap();
        let mut reader = File::open(fifos.path("out")).unwrap();
        drop(stdout);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            text, "no SIGPIPE",
            "the shim's handle must not hold back the end"
        );
        drop(keeper);
    }

    #[test]
    fn a_reader_that_is_still_opening_is_waited_for() {
        let mut fifos = Fifos::new("late");
        fifos.1 = None;
        let path = fifos.path("out");
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        let (ends, _keeper) = fifos.stdio().open(0).unwrap();
        File::from(ends.stdout).write_all(b"short").unwrap();
        assert_eq!(reader.join().unwrap(), "short");
    }

    #[test]
    fn input_ends_once_it_is_closed_and_not_before() {
        let fifos = Fifos::new("input");
        let (ends, mut keeper) = fifos.stdio().open(0).unwrap();
        for line in ["one", "two"] {
            File::options()
                .write(true)
                .open(fifos.path("in"))
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
        }
        keeper.close_stdin();
        let mut text = String::new();
        File::from(ends.stdin).read_to_string(&mut text).unwrap();
        assert_eq!(text, "onetwo");
    }

    #[test]
    fn what_is_no_fifo_is_refused_by_name() {
        let stdio = Stdio {
            stdout: "/dev/null".into(),
            ..Stdio::default()
        };
        assert!(matches!(
            stdio.open(0),
            Err(Error::NotAFifo {
                stream: "stdout",
                ..
            })
        ));
        let stdio = Stdio {
            stderr: "binary:///usr/bin/log".into(),
            ..Stdio::default()
        };
        let error = stdio.open(0).unwrap_err().to_string();
        assert!(error.contains("binary:///usr/bin/log"), "{error}");
    }

    #[test]
    fn a_session_ends_with_its_clients_input_and_waits_for_its_beginning() {
        let fifos = Fifos::new("session");
        let path = fifos.0.join("in");
        let client = std::thread::spawn(move || {
            std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .write_all(b"all")
                .unwrap();
        });
        let stdio = fifos.stdio();
        let (ends, _keeper) = stdio.open_session(0).unwrap();
        let mut text = String::new();
        File::from(ends.stdin).read_to_string(&mut text).unwrap();
        assert_eq!(text, "all");
        client.join().unwrap();
    }

    #[test]
    fn no_paths_mean_dev_null() {
        let (ends, _keeper) = Stdio::default().open(0).unwrap();
        let mut text = Vec::new();
        File::from(ends.stdin).read_to_end(&mut text).unwrap();
        assert!(text.is_empty());
        File::from(ends.stdout).write_all(b"gone").unwrap();
    }
}
