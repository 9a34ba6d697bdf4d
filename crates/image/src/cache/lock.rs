//! One compile for a key, however many processes want it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::error::Error;
use super::files::{open_lock, remove};
use super::key::Key;
use super::open::Cache;

/// Shortest and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// What came of waiting.
#[derive(Debug)]
pub enum CompileLock {
    /// No other process compiles: the entry is there by now, or is ours to make.
    Acquired(Lock),
    /// The process that compiled meanwhile says that it can't be.
    Failed {
        /// Its sentence.
        reason: String,
    },
    /// Another process is still compiling.
    TimedOut,
    /// The code is not asked for any more.
    GivenUp,
}

/// Held while one process compiles for a key. It goes with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    request: String,
}

impl Cache {
    /// Waits until no other process compiles for `key`, at most for `timeout`, and as long as
    /// `is_wanted` says so. `request` tells what is asked of the module: the failure of another
    /// request does not end the wait.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn lock(
        &self,
        key: &Key,
        request: &str,
        timeout: Duration,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<CompileLock, Error> {
        let path = self.locks().join(key.as_str());
        let deadline = Instant::now() + timeout;
        loop {
            let mut file = open_lock(&path).map_err(Error::file("open", &path))?;
            let until = || is_wanted() && Instant::now() < deadline;
            if !hold(&file, until).map_err(Error::file("lock", &path))? {
                return Ok(if is_wanted() {
                    CompileLock::TimedOut
                } else {
                    CompileLock::GivenUp
                });
            }
            if names(&path, &file) {
                // Perhaps of a process that died while it wrote.
                file.set_len(0).map_err(Error::file("empty", &path))?;
                let request = request.to_owned();
                return Ok(CompileLock::Acquired(Lock {
                    file,
                    path,
                    request,
                }));
            }
            // The process that held it is done, and has taken its name away.
            let mut text = String::new();
            file.read_to_string(&mut text)
                .map_err(Error::file("read", &path))?;
            if let Some((about, reason)) = text.split_once('\n')
                && about == request
            {
                let reason = reason.to_owned();
                return Ok(CompileLock::Failed { reason });
            }
        }
    }
}

impl Lock {
    /// Tells the processes that wait that there will be no code.
    pub fn fail(mut self, reason: &str) {
        let text = format!("{}\n{reason}", self.request);
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // They find out by themselves.
            log::debug!("{} is not written: {error}", self.path.display());
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: a file without a name tells the waiting that it is not theirs.
        remove(&self.path);
    }
}

/// Locks `file` as soon as no other process does; false if `go_on` says no before.
fn hold(file: &File, go_on: impl Fn() -> bool) -> io::Result<bool> {
    let (mut pause, longest) = PAUSE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if go_on() => {
                std::thread::sleep(pause);
                pause = longest.min(pause * 2);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether `path` leads to `file`.
pub(super) fn names(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(held)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    (named.dev(), named.ino()) == (held.dev(), held.ino())
}
