//! The files of the cache: root's alone, and there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A file that was begun this long ago, and that no process holds, belongs to a process that died.
const STALE: Duration = Duration::from_secs(60);

/// Makes a directory, and those above it that are not there, for root alone.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Makes an empty file, for root alone.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file to be locked, and makes it if it is not there.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Puts a file with these `bytes` at `path`, in the place of one that is there. After a crash of the
/// node it may be empty.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = TempFile::beside(path);
    create(new.path())?.write_all(bytes)?;
    fs::rename(new.path(), path)
}

/// As [`replace`], and the file is on the disk before it has its name.
pub(crate) fn replace_on_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = TempFile::beside(path);
    let mut file = create(new.path())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new.path(), path)
}

/// Notes a use of the file at `path`, by its time; false if it is not there.
pub(crate) fn touch(path: &Path) -> bool {
    let file = match File::options().write(true).open(path) {
        Ok(file) => file,
        Err(error) => {
            log::debug!("the use of {} is not noted: {error}", path.display());
            return false;
        }
    };
    if let Err(error) = file.set_modified(SystemTime::now()) {
        log::debug!("the use of {} is not noted: {error}", path.display());
    }
    true
}

/// A file that is removed unless it was renamed in time. Its name begins with a dot: those whose
/// writer is dead are found by it, and removed when room is made.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    /// A name that no other thread or process uses now. A file that a dead process with the same pid
    /// has left is truncated.
    pub(crate) fn beside(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = format!(".{}.{count}.{name}", std::process::id());
        Self(path.with_file_name(new))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a file that may be gone.
pub(crate) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{} stays in the cache: {error}", path.display());
        }
        _ => {}
    }
}

/// What is in a directory; nothing if it can't be read.
pub(crate) fn list(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

/// How long ago the file was last written to, or its use noted.
pub(super) fn unused_for(file: &fs::DirEntry) -> Option<Duration> {
    let modified = file.metadata().and_then(|found| found.modified());
    modified.ok()?.elapsed().ok()
}

/// Whether the file is so old that no process is about to finish it.
pub(super) fn is_old(file: &fs::DirEntry) -> bool {
    unused_for(file).is_some_and(|age| age > STALE)
}
