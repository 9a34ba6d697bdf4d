//! One compile for a key, however many want it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::{Cache, Error, Key, failed, remove};

/// Shortest and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// What came of waiting.
#[derive(Debug)]
pub enum Turn {
    /// Nobody else compiles: the entry is there by now, or is ours to make.
    Ours(Lock),
    /// Who compiled meanwhile says that it can't be.
    Failed {
        /// Its sentence.
        reason: String,
    },
    /// Somebody else is still compiling.
    TimedOut,
    /// Nobody wants it any more.
    GivenUp,
}

/// Held while one process compiles for a key. It goes with the process, whatever ends that.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    wanted: String,
}

impl Cache {
    /// Waits until nobody else compiles for `key`, at most for `patience`, and as long as `is_wanted`
    /// says so. `wanted` tells what is asked of the module: a failure to give something else is not
    /// ours.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn lock(
        &self,
        key: &Key,
        wanted: &str,
        patience: Duration,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Turn, Error> {
        let path = self.locks().join(key.as_str());
        let deadline = Instant::now() + patience;
        loop {
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed("open", &path))?;
            let until = || is_wanted() && Instant::now() < deadline;
            if !hold(&file, until).map_err(failed("lock", &path))? {
                return Ok(if is_wanted() {
                    Turn::TimedOut
                } else {
                    Turn::GivenUp
                });
            }
            if names(&path, &file) {
                // Perhaps of a process that died while it wrote.
                file.set_len(0).map_err(failed("empty", &path))?;
                let wanted = wanted.to_owned();
                return Ok(Turn::Ours(Lock { file, path, wanted }));
            }
            // Who held it is done, and has taken its name away.
            let mut told = String::new();
            file.read_to_string(&mut told)
                .map_err(failed("read", &path))?;
            if let Some((about, reason)) = told.split_once('\n')
                && about == wanted
            {
                let reason = reason.to_owned();
                return Ok(Turn::Failed { reason });
            }
        }
    }
}

impl Lock {
    /// Tells whoever waits that there will be no code.
    pub fn fail(mut self, reason: &str) {
        let told = format!("{}\n{reason}", self.wanted);
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(told.as_bytes()));
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

/// Locks `file` as soon as nobody else does; false if `go_on` says no before.
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
