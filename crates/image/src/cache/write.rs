//! Keeping an entry: whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use medley_engine::TrustedCode;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Cache, Content, Error, Key, Record, failed, remove, trusted, used};
use crate::digest;

/// How much is copied at a time, in bytes.
const CHUNK: usize = 256 * 1024;

impl Cache {
    /// Keeps `code` as the entry of `key`, and gives it back as a file that nobody writes to.
    /// `name` is what the module is called.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::File`]; nothing of it stays then.
    pub fn store(&self, key: &Key, name: &Path, code: &TrustedCode) -> Result<TrustedCode, Error> {
        let code = code.file();
        let size = code.metadata().map_err(failed("size", &self.folder))?.len();
        self.make_room(size)?;
        let new = Unfinished::beside(&self.code().join(key.as_str()));
        let entry = copy(code, new.path(), size).map_err(failed("write", new.path()))?;
        let digest = digest::of_tree(&entry).map_err(failed("read", new.path()))?;
        // The same code may be there for another key, and mapped: it stays the one copy.
        let entry = match self.content(&digest) {
            Ok(Content::Whole(there)) => there,
            Ok(_) | Err(_) => {
                if let Err(error) = medley_sys::verity::enable(&entry) {
                    log::debug!("no fs-verity for {digest}: {error}");
                }
                let path = self.code().join(&digest);
                fs::rename(new.path(), &path).map_err(failed("place", &path))?;
                rustix::fs::flock(&entry, FlockOperation::LockShared)
                    .map_err(|errno| failed("lock", &path)(errno.into()))?;
                // Read a moment ago, and renamed since, which changes its times.
                if let Ok(identity) = used::identity(&entry, &self.boot) {
                    used::write(&self.used().join(&digest), &identity);
                }
                trusted(entry)
            }
        };
        self.record(&Record::new(key, &digest, name))?;
        Ok(entry)
    }

    fn record(&self, record: &Record) -> Result<(), Error> {
        let path = self.keys().join(&record.key);
        let new = Unfinished::beside(&path);
        let write = || {
            let bytes = serde_json::to_vec(record)?;
            let mut file = create(new.path())?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(failed("write", new.path()))?;
        fs::rename(new.path(), &path).map_err(failed("place", &path))
    }
}

/// A file that is removed unless it was renamed in time. Its name begins with a dot, and who makes
/// room removes those whose writer is dead.
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    /// A name that nobody else uses now. One left by a dead process with the same pid is in
    /// nobody's way: files are truncated.
    pub(super) fn beside(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = format!(".{}.{count}.{name}", std::process::id());
        Self(path.with_file_name(new))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Copies `code` to a new file, on the disk when this returns, and gives it open for reading and
/// locked.
fn copy(code: &File, path: &Path, size: u64) -> io::Result<File> {
    let mut file = create(path)?;
    let entry = File::open(path)?;
    rustix::fs::flock(&entry, FlockOperation::NonBlockingLockExclusive)?;
    // A full disk shows at once, and not after half of it.
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size.max(1)) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(size)?,
        Err(errno) => return Err(errno.into()),
    }
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let read = code.read_at(&mut chunk, offset)?;
        if read == 0 {
            break;
        }
        file.write_all(&chunk[..read])?;
        offset += read as u64;
    }
    file.set_permissions(fs::Permissions::from_mode(0o400))?;
    file.sync_all()?;
    Ok(entry)
}
