//! A file that output is appended to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::Error;
use crate::lock::lock;

/// Mode of a log file that is made, as in containerd's own shim.
const LOG_MODE: u32 = 0o644;

/// Mode of the dirs that are made above it.
const DIR_MODE: u32 = 0o755;

/// The log file of one process, for stdout, stderr or both.
///
/// Bytes that can't be written, as on a full disk, are dropped. A line with their number follows as soon as
/// the file can be written to again.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Guards the file: no other bytes may come between a gap and the line about it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Whether the next byte is the first of its line.
    at_line_start: bool,
    gap: Option<Gap>,
}

/// The bytes that were dropped since the last successful write.
#[derive(Debug)]
struct Gap {
    bytes: usize,
    why: io::Error,
}

impl LogFile {
    /// Opens the file. Makes it and the dirs above it if they do not exist.
    ///
    /// # Errors
    /// [`Error::Log`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Log {
            path: path.to_owned(),
            source,
        };
        if let Some(dir) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIR_MODE);
            builder.create(dir).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                file: open(path).map_err(failed)?,
                at_line_start: true,
                gap: None,
            }),
        })
    }

    /// Appends `bytes`, or as many of them as there is room for.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let state = &mut *lock(&self.state);
        if let Some(gap) = state.gap.take() {
            if !is_for_room(&gap.why)
                && let Ok(again) = open(&self.path)
            {
                // One that is stale stays so.
                state.file = again;
            }
            let told = format!(
                "{}[{} bytes of output are missing here: {}]\n",
                if state.at_line_start { "" } else { "\n" },
                gap.bytes,
                gap.why
            );
            let (_, told) = write(&mut state.file, told.as_bytes());
            if told.is_err() {
                let bytes = gap.bytes.saturating_add(bytes.len());
                state.gap = Some(Gap { bytes, ..gap });
                return;
            }
            state.at_line_start = true;
            let path = self.path.display();
            log::warn!("{path} takes output again: {} bytes are missing", gap.bytes);
        }
        let (count, written) = write(&mut state.file, bytes);
        if let Some(last) = bytes.get(..count).and_then(<[u8]>::last) {
            state.at_line_start = *last == b'\n';
        }
        if let Err(why) = written {
            log::warn!(
                "cannot log to {}: {why}; what is said is lost until that works",
                self.path.display()
            );
            let bytes = bytes.len() - count;
            state.gap = Some(Gap { bytes, why });
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let gap = lock(&self.state).gap.take();
        if let Some(Gap { bytes, why }) = gap {
            let path = self.path.display();
            log::warn!("the last {bytes} bytes of output are not in {path}: {why}");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(LOG_MODE).open(path)
}

/// Whether the error is a lack of space only.
fn is_for_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Writes as much as possible. Returns how many bytes that was.
fn write(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut count = 0;
    while let Some(rest) = bytes.get(count..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (count, Err(ErrorKind::WriteZero.into())),
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (count, Err(error)),
        }
    }
    (count, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::LogFile;
    use std::fs::File;

    #[test]
    fn a_log_goes_on_after_a_gap_and_says_how_much_is_missing() {
        let name = format!("medley-log-{}/deep/log", std::process::id());
        let path = std::env::temp_dir().join(name);
        let log = LogFile::open(&path).unwrap();
        log.append(b"one\ntw");
        let file = std::mem::replace(
            &mut log.state.lock().unwrap().file,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        log.append(b"12345");
        log.append(b"67890");
        log.state.lock().unwrap().file = file;
        log.append(b"three\n");
        log.append(b"four\n");
        let text = std::fs::read_to_string(&path).unwrap();
        let told = "[10 bytes of output are missing here: No space left on device (os error 28)]";
        assert_eq!(text, format!("one\ntw\n{told}\nthree\nfour\n"));
        let dir = path.ancestors().nth(2).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }
}
