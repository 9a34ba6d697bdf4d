//! Keeps an entry: whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use medley_engine::TrustedCode;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::error::Error;
use super::files::{TempFile, create, replace_on_disk};
use super::key::{Key, Record};
use super::last_use;
use super::lookup::{Content, trusted};
use super::open::Cache;
use crate::digest;

/// How much is copied at a time, in bytes.
const CHUNK: usize = 256 * 1024;

impl Cache {
    /// Keeps `code` as the entry of `key`, and gives it back as a file that is not written to any more.
    /// `name` is what the module is called.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::File`]; nothing of it stays then.
    pub fn store(&self, key: &Key, name: &Path, code: &TrustedCode) -> Result<TrustedCode, Error> {
        let code = code.file();
        let size = code
            .metadata()
            .map_err(Error::file("size", &self.dir))?
            .len();
        self.make_room(size)?;
        let new = TempFile::beside(&self.code().join(key.as_str()));
        let entry = copy(code, new.path(), size).map_err(Error::file("write", new.path()))?;
        let digest = digest::of_tree(&entry).map_err(Error::file("read", new.path()))?;
        // The same code may be there for another key, and mapped: it stays the one copy.
        let entry = match self.content(&digest) {
            Ok(Content::Whole(there)) => there,
            Ok(_) | Err(_) => {
                if let Err(error) = medley_sys::verity::enable(&entry) {
                    log::debug!("no fs-verity for {digest}: {error}");
                }
                let path = self.code().join(&digest);
                fs::rename(new.path(), &path).map_err(Error::file("place", &path))?;
                rustix::fs::flock(&entry, FlockOperation::LockShared)
                    .map_err(|errno| Error::file("lock", &path)(errno.into()))?;
                // Read a moment ago, and renamed since, which changes its times.
                if let Ok(identity) = last_use::identity(&entry, &self.boot) {
                    last_use::write(&self.used().join(&digest), &identity);
                }
                #[allow(unsafe_code, reason = "what is in the file will be executed")]
                // SAFETY: it is the entry that was just written, of code that is trusted.
                unsafe {
                    trusted(entry)
                }
            }
        };
        if let Some(bytes) = key.bytes() {
            self.note_size(bytes);
        }
        let path = self.keys().join(key.as_str());
        let record = serde_json::to_vec(&Record::new(key, &digest, name));
        record
            .map_err(io::Error::from)
            .and_then(|record| replace_on_disk(&path, &record))
            .map_err(Error::file("write", &path))?;
        Ok(entry)
    }
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
