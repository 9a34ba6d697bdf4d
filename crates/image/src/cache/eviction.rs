//! What is in the cache, and what has to go.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::error::Error;
use super::files::{is_old, list, remove, unused_for};
use super::key::Record;
use super::lock;
use super::open::Cache;
use crate::digest;

/// One content of the cache.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The digest of its content.
    pub code: String,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// Whether a process has it open or mapped.
    pub in_use: bool,
    /// Whether the kernel checks it (fs-verity).
    pub verity: bool,
    /// What it is the native code of.
    pub records: Vec<Record>,
}

/// What is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Everything.
    All,
    /// What was not used for so long.
    OlderThan(Duration),
    /// What was not used for longest, until the rest has so many bytes.
    ToSize(u64),
}

/// What went.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Removed.
    pub removed: Vec<Entry>,
    /// Meant to go, but in use.
    pub kept: Vec<Entry>,
    /// How many modules that can't be compiled are known no more.
    pub forgotten: usize,
}

impl Cache {
    /// Everything that is in the cache, the one that was used last first.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut records: HashMap<String, Vec<Record>> = HashMap::new();
        for file in list(&self.keys()) {
            let name = file.file_name();
            let Some(record) = fs::read(file.path())
                .ok()
                .and_then(|bytes| Record::parse(&bytes, &name.to_string_lossy()))
            else {
                continue;
            };
            records.entry(record.code.clone()).or_default().push(record);
        }
        let dir = self.code();
        let mut entries = Vec::new();
        let files = match fs::read_dir(&dir) {
            // Another process is just making the cache.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            files => files.map_err(Error::file("list", &dir))?,
        };
        for file in files {
            let file = file.map_err(Error::file("list", &dir))?;
            let code = file.file_name().to_string_lossy().into_owned();
            if !digest::is_digest(&code) {
                continue;
            }
            // It may just be going.
            if let Ok(mut entry) = self.entry(&file.path(), code) {
                entry.records = records.remove(&entry.code).unwrap_or_default();
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| (b.used, &b.code).cmp(&(a.used, &a.code)));
        Ok(entries)
    }

    fn entry(&self, path: &Path, code: String) -> io::Result<Entry> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        let used = fs::metadata(self.used().join(&code)).and_then(|used| used.modified());
        Ok(Entry {
            size: found.len(),
            used: used.or_else(|_| found.modified())?,
            in_use: !is_free(&file),
            verity: medley_sys::verity::measure(&file).is_some(),
            records: Vec::new(),
            code,
        })
    }

    /// Removes what `policy` says and is not in use, and what processes that died have left. What is
    /// known of layers, and of modules that can't be compiled, goes by age, or with everything; it
    /// has limits of its own, by number.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read.
    pub fn prune(&self, policy: Policy) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let entries = self.entries()?;
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        // What was of no use for longest goes first.
        for entry in entries.into_iter().rev() {
            let goes = match policy {
                Policy::All => true,
                Policy::OlderThan(age) => entry.used.elapsed().is_ok_and(|unused| unused > age),
                Policy::ToSize(size) => total > size,
            };
            if !goes {
                continue;
            }
            if self.evict(&entry) {
                total -= entry.size;
                pruned.removed.push(entry);
            } else {
                pruned.kept.push(entry);
            }
        }
        for record in list(&self.layers()) {
            let goes = match policy {
                Policy::All => true,
                Policy::OlderThan(age) => unused_for(&record).is_some_and(|unused| unused > age),
                Policy::ToSize(_) => false,
            };
            if goes {
                remove(&record.path());
            }
        }
        pruned.forgotten = match policy {
            Policy::All => self.forget_failures(None),
            Policy::OlderThan(age) => self.forget_failures(Some(age)),
            Policy::ToSize(_) => 0,
        };
        self.sweep();
        Ok(pruned)
    }

    /// Removes what was of no use for longest until `size` more bytes fit.
    pub(super) fn make_room(&self, size: u64) -> Result<(), Error> {
        let limit = self.limit();
        let no_room = |held| Error::NoRoom {
            dir: self.dir.clone(),
            size,
            limit,
            held,
        };
        let Some(rest) = limit.checked_sub(size) else {
            return Err(no_room(0));
        };
        let entries = self.entries()?;
        let total: u64 = entries.iter().map(|entry| entry.size).sum();
        if total <= rest {
            return Ok(());
        }
        let held = entries
            .iter()
            .filter(|entry| entry.in_use)
            .map(|entry| entry.size)
            .sum();
        if held > rest {
            // Nothing that could go would be enough.
            return Err(no_room(held));
        }
        self.prune(Policy::ToSize(rest))?;
        Ok(())
    }

    /// Removes one entry; false if it is in use.
    fn evict(&self, entry: &Entry) -> bool {
        let path = self.code().join(&entry.code);
        let Ok(file) = File::open(&path) else {
            return true;
        };
        // Held until it has no name: a process that opened it meanwhile waits for the lock, and sees that.
        if !is_free(&file) {
            return false;
        }
        for record in &entry.records {
            remove(&self.keys().join(&record.key));
        }
        remove(&path);
        remove(&self.used().join(&entry.code));
        true
    }

    /// Removes what belongs to nothing.
    fn sweep(&self) {
        for dir in [self.code(), self.keys(), self.used(), self.layers()] {
            for file in list(&dir) {
                if is_left_over(&file) {
                    remove(&file.path());
                }
            }
        }
        for file in list(&self.locks()) {
            if File::open(file.path()).is_ok_and(|held| {
                is_free(&held) && lock::names(&file.path(), &held) && is_old(&file)
            }) {
                remove(&file.path());
            }
        }
        for file in list(&self.used()) {
            if !self.code().join(file.file_name()).exists() && is_old(&file) {
                remove(&file.path());
            }
        }
        let mut sizes = HashSet::new();
        for file in list(&self.keys()) {
            let name = file.file_name();
            let record = fs::read(file.path())
                .ok()
                .and_then(|bytes| Record::parse(&bytes, &name.to_string_lossy()))
                .filter(|record| self.code().join(&record.code).exists());
            match record {
                Some(record) => sizes.extend(record.info.bytes.map(|bytes| bytes.to_string())),
                None if is_old(&file) => remove(&file.path()),
                None => {}
            }
        }
        self.keep_sizes(&sizes);
    }
}

/// Whether no process has the file open for use. If so it is locked until it is closed.
fn is_free(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Whether a file was begun by a process that died.
pub(super) fn is_left_over(file: &fs::DirEntry) -> bool {
    file.file_name().as_encoded_bytes().starts_with(b".")
        && is_old(file)
        && File::open(file.path()).is_ok_and(|file| is_free(&file))
}

impl Entry {
    /// Where it lies in `cache`.
    #[must_use]
    pub fn path(&self, cache: &Cache) -> PathBuf {
        cache.code().join(&self.code)
    }
}
