//! The streams of a process by their names, as a Linux program finds them in `/dev` and procfs.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// Where Linux has the descriptors of a process, of which a guest's process has none to show.
const DESCRIPTORS: [&str; 3] = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];

/// What links in these dirs mean depends on who reads them.
const OF_THE_READER: [&str; 2] = ["/proc/self", "/proc/thread-self"];

/// Of the process's own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Descriptor 0.
    Stdin,
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
    /// The terminal, if the process has one.
    Terminal,
}

impl Stream {
    /// A handle of it.
    pub(super) fn file(self) -> io::Result<File> {
        let own = match self {
            Self::Stdin => io::stdin().as_fd().try_clone_to_owned()?,
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
            Self::Terminal => {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::openat(CWD, "/dev/tty", flags, Mode::empty())?
            }
        };
        Ok(own.into())
    }
}

/// Whether the name of a path's last part is one that a stream may have.
pub(super) fn may_be_one(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "stdin" | "stdout" | "stderr" | "tty" | "0" | "1" | "2"
    )
}

/// Whether what is there is another thing for each process.
pub(super) fn of_the_reader(path: &Path) -> bool {
    OF_THE_READER.iter().any(|dir| path.starts_with(dir))
}

/// Whether a directory that is not there is on the way to a stream.
pub(super) fn leads_to_one(path: &Path) -> bool {
    DESCRIPTORS
        .iter()
        .any(|known| Path::new(known).starts_with(path))
}

/// The stream that a path of a descriptor means.
pub(super) fn descriptor(path: &Path) -> Option<Stream> {
    let dir = path.parent()?;
    if !DESCRIPTORS.iter().any(|known| dir == Path::new(known)) {
        return None;
    }
    match path.file_name()?.as_bytes() {
        b"0" => Some(Stream::Stdin),
        b"1" => Some(Stream::Stdout),
        b"2" => Some(Stream::Stderr),
        _ => None,
    }
}

/// The stream that a name in /dev means where nothing has it.
pub(super) fn device(path: &Path) -> Option<Stream> {
    match path.as_os_str().as_bytes() {
        b"/dev/stdin" => Some(Stream::Stdin),
        b"/dev/stdout" => Some(Stream::Stdout),
        b"/dev/stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

/// The terminal, if it is the device that means the process's own.
pub(super) fn terminal(path: &Path) -> Option<Stream> {
    (path == Path::new("/dev/tty")).then_some(Stream::Terminal)
}
