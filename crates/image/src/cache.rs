//! Native code, compiled once for a node.
//!
//! ```text
//! <folder>/                 root's alone
//!   keys/<key>              symlink; its target is the digest of the entry's content
//!   code/<digest>           native code, by the digest of its own content
//!   locks/<00-3f>           one compile at a time for each key
//! ```
//!
//! **Only the shim writes here,** and only what its own compiler made: no byte of an image is ever
//! taken for native code. An entry is found by a key that names everything it depends on, and is
//! used only if its content has the digest that the key's link says; both appear by `rename`, so
//! that a crash leaves an entry whole or not at all. A bad entry is removed and counts as missing.
//! A cache that can't be used costs time, never a start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;

use crate::digest;

/// Most that all entries hold together, in bytes. Room for some hundred modules of a few MB.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// Locks for compiles: enough that two modules seldom wait for each other.
const LOCKS: usize = 64;

/// How long to wait for somebody else's compile before doing it too.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between two tries.
const LOCK_AGAIN: Duration = Duration::from_millis(2);

/// A file that was begun this long ago belongs to a process that died.
const STALE: Duration = Duration::from_secs(3600);

/// How much is copied at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// Names one entry: a digest of all that its content depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key of `module`'s native code by `engine`, whose `fingerprint` tells version,
    /// configuration and processor.
    ///
    /// # Errors
    /// [`Error::Module`] if the module can't be read.
    pub fn new(module: &File, engine: &str, fingerprint: &str) -> Result<Self, Error> {
        let module = digest::of_file(module).map_err(Error::Module)?;
        Ok(Self::of_digest(&module, engine, fingerprint))
    }

    /// As [`Self::new`], for a module whose SHA-256, in hex, is known.
    #[must_use]
    pub fn of_digest(module: &str, engine: &str, fingerprint: &str) -> Self {
        Self(digest::of_parts(&[engine, fingerprint, module]))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which lock guards its compile.
    fn lock(&self) -> usize {
        usize::from_str_radix(&self.0[..2], 16).unwrap_or_default() % LOCKS
    }
}

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module could not be read.
    #[error("cannot read the module")]
    Module(#[source] io::Error),
    /// Somebody else could write into it.
    #[error(
        "the cache {} belongs to user {owner} with mode {mode:04o}; it must be root's alone, 0700",
        path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// A file or folder could not be used.
    #[error("cannot {verb} {} in the cache", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { verb, path, source }
}

/// The cache of one node.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// Held while one process compiles for a key.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Opens the cache in `folder`, making it if it is not there.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if somebody else could write into it.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, Error> {
        let cache = Self {
            folder: folder.to_owned(),
            limit,
        };
        for path in [
            cache.folder.clone(),
            cache.keys(),
            cache.code(),
            cache.locks(),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(failed("make", &path))?;
        }
        let found = fs::symlink_metadata(folder).map_err(failed("look at", folder))?;
        let ours = rustix::process::geteuid().as_raw();
        if !found.is_dir() || found.uid() != ours || found.mode() & 0o077 != 0 {
            let (owner, mode) = (found.uid(), found.mode() & 0o7777);
            return Err(Error::NotOurs {
                path: folder.to_owned(),
                owner,
                mode,
            });
        }
        Ok(cache)
    }

    /// The entry of `key`, its content checked; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read. An entry with another content than it should have is
    /// removed, and is no error.
    pub fn find(&self, key: &Key) -> Result<Option<File>, Error> {
        let link = self.keys().join(key.as_str());
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &link)(error)),
        };
        let wanted = target.to_string_lossy().into_owned();
        let path = self.code().join(&wanted);
        let entry = match is_digest(&wanted).then(|| File::open(&path)) {
            Some(Ok(entry)) => entry,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("open", &path)(error));
            }
            // Its content was removed to make room.
            Some(Err(_)) | None => {
                self.forget(key);
                return Ok(None);
            }
        };
        let found = digest::of_file(&entry).map_err(failed("read", &path))?;
        if found != wanted {
            log::warn!(
                "the cache entry {} is damaged and is removed",
                path.display()
            );
            self.forget(key);
            remove(&path);
            return Ok(None);
        }
        // When it was last of use, for who makes room. A read-only file system has no room to
        // make.
        if let Err(error) = entry.set_modified(SystemTime::now()) {
            log::debug!("the use of {} is not noted: {error}", path.display());
        }
        Ok(Some(entry))
    }

    /// Forgets the entry of `key`, for which it was of no use.
    pub fn forget(&self, key: &Key) {
        remove(&self.keys().join(key.as_str()));
    }

    /// Waits until nobody else compiles for `key`, but not for ever: `None` after
    /// [`LOCK_TIMEOUT`]. Other keys share the lock, and theirs may be slow to compile.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn lock(&self, key: &Key) -> Result<Option<Lock>, Error> {
        let path = self.locks().join(format!("{:02x}", key.lock()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_AGAIN);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(failed("lock", &path)(errno.into())),
            }
        }
    }

    /// Keeps `code` as the entry of `key`, and gives it back as a file that nobody writes to.
    ///
    /// # Errors
    /// [`Error::File`]; nothing of it stays then.
    pub fn store(&self, key: &Key, code: &File) -> Result<File, Error> {
        let size = code.metadata().map_err(failed("size", &self.folder))?.len();
        self.make_room(size);
        let digest = digest::of_file(code).map_err(failed("digest", &self.folder))?;
        let path = self.code().join(&digest);
        let new = Unfinished(self.code().join(unfinished_name(&digest)));
        copy(code, &new.0).map_err(failed("write", &new.0))?;
        fs::rename(&new.0, &path).map_err(failed("place", &path))?;
        let entry = File::open(&path).map_err(failed("open", &path))?;

        let link = self.keys().join(key.as_str());
        let new = Unfinished(self.keys().join(unfinished_name(key.as_str())));
        remove(&new.0);
        std::os::unix::fs::symlink(&digest, &new.0).map_err(failed("link", &new.0))?;
        fs::rename(&new.0, &link).map_err(failed("place", &link))?;
        Ok(entry)
    }

    /// Removes what was of no use for longest until `size` more bytes fit. What is mapped lives on
    /// without its name.
    fn make_room(&self, size: u64) {
        let mut entries: Vec<_> = fs::read_dir(self.code())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .collect();
        entries.sort();
        let mut removed = false;
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (used, held, path) in entries {
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            let stale = hidden && used.elapsed().is_ok_and(|age| age > STALE);
            if stale || (!hidden && total.saturating_add(size) > self.limit) {
                remove(&path);
                removed = true;
                total = total.saturating_sub(held);
            }
        }
        if removed {
            self.drop_dangling();
        }
    }

    /// Removes links to what is not there any more.
    fn drop_dangling(&self) {
        for entry in fs::read_dir(self.keys()).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if !self.code().join(target).is_file() {
                remove(&entry.path());
            }
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    fn code(&self) -> PathBuf {
        self.folder.join("code")
    }

    fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }
}

/// A file that is removed unless it was renamed in time.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// A name that nobody else uses now. One left by a dead process with the same pid is in nobody's
/// way: files are truncated, links removed first.
fn unfinished_name(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{}.{count}.{name}", std::process::id())
}

/// Removes a file that may be gone.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{} stays in the cache: {error}", path.display());
        }
        _ => {}
    }
}

/// Copies `code` to a new file, on the disk when this returns.
fn copy(code: &File, path: &Path) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
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
    file.sync_all()
}

fn is_digest(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
