//! `failed/<digest>`: what can't be compiled, and why, so that it is not tried again at every restart
//! of a container.
//!
//! The digest is that of a key and of what was asked besides, so that another version or
//! configuration of the engine tries again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::eviction::is_left_over;
use super::files::{self, list, remove, unused_for};
use super::key::{Key, ModuleInfo};
use super::open::Cache;
use crate::digest;

/// Most of them that are kept: each is a block on the disk.
const MAX_FAILURES: usize = 1024;

/// Largest record, in bytes. A module may have names of any length, which its sentence repeats.
const MAX_RECORD: u64 = 16 << 10;

/// A module that can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The digest that its file is called: one that has come to hold another's content is none.
    digest: String,
    /// What can't be compiled.
    #[serde(flatten)]
    pub info: ModuleInfo,
    /// Why, as a sentence.
    pub reason: String,
    /// When it was last asked for.
    #[serde(skip, default = "SystemTime::now")]
    pub used: SystemTime,
}

impl Cache {
    /// Why there can be no native code for `key`, if that is known; `request` is all that a failure
    /// depends on besides. Notes the use.
    #[must_use]
    pub fn failure(&self, key: &Key, request: &str) -> Option<String> {
        let path = self.failed().join(name(key, request));
        let failure = read(&path)?;
        files::touch(&path);
        Some(failure.reason)
    }

    /// Writes down that there can be no native code for `key`. `module` is what the module is called.
    ///
    /// # Errors
    /// [`Error::File`]; nothing of it stays then.
    pub fn keep_failure(
        &self,
        key: &Key,
        request: &str,
        module: &Path,
        reason: &str,
    ) -> Result<(), Error> {
        let failure = Failure {
            digest: name(key, request),
            info: key.info(module),
            reason: reason.to_owned(),
            used: SystemTime::now(),
        };
        let dir = self.failed();
        files::make_dir(&dir).map_err(Error::file("make", &dir))?;
        let path = dir.join(&failure.digest);
        let bytes = serde_json::to_vec(&failure).map_err(io::Error::from);
        bytes
            .and_then(|bytes| {
                if bytes.len() as u64 > MAX_RECORD {
                    return Err(io::Error::other("its reason is too long"));
                }
                files::replace(&path, &bytes)
            })
            .map_err(Error::file("write", &path))?;
        self.forget_failures_but(MAX_FAILURES);
        Ok(())
    }

    /// All of them, the one that was asked for last first.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        let mut failures: Vec<_> = list(&self.failed())
            .filter_map(|file| {
                let used = file.metadata().and_then(|found| found.modified()).ok()?;
                Some(Failure {
                    used,
                    ..read(&file.path())?
                })
            })
            .collect();
        failures.sort_by(|a, b| (b.used, &b.digest).cmp(&(a.used, &a.digest)));
        failures
    }

    /// Forgets all of them, or those that were not asked for so long; says how many. The next
    /// start of such a module compiles it.
    pub fn forget_failures(&self, unused: Option<Duration>) -> usize {
        let mut count = 0;
        for file in list(&self.failed()) {
            let goes = match unused {
                Some(age) => unused_for(&file).is_some_and(|unused| unused > age),
                None => !file.file_name().as_encoded_bytes().starts_with(b"."),
            };
            if goes || is_left_over(&file) {
                remove(&file.path());
                count += usize::from(goes);
            }
        }
        count
    }

    /// Forgets those that were not asked for longest, until `max` are left.
    fn forget_failures_but(&self, max: usize) {
        if list(&self.failed()).count() <= max {
            return;
        }
        for failure in self.failures().iter().skip(max) {
            remove(&self.failed().join(&failure.digest));
        }
    }
}

fn name(key: &Key, request: &str) -> String {
    digest::of_parts(&[key.as_str(), request])
}

/// The record at `path`, if it is one.
fn read(path: &Path) -> Option<Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_RECORD).read_to_end(&mut bytes).ok()?;
    let failure: Failure = serde_json::from_slice(&bytes).ok()?;
    (path.file_name()? == failure.digest.as_str()).then_some(failure)
}

#[cfg(test)]
mod tests {
    use super::MAX_FAILURES;
    use crate::cache::tests::Node;
    use crate::cache::{DEFAULT_LIMIT, Policy};
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    const REASON: &str = "/app.wasm is not valid Wasm";

    fn keep(node: &Node, module: &[u8]) {
        node.cache
            .keep_failure(&node.key(module), "_start", Path::new("/app.wasm"), REASON)
            .unwrap();
    }

    #[test]
    fn a_failure_is_known_for_what_was_asked_and_for_nothing_else() {
        let node = Node::new("failed", DEFAULT_LIMIT);
        keep(&node, b"a");
        let known = |module: &[u8], asked| node.cache.failure(&node.key(module), asked);
        assert_eq!(known(b"a", "_start").as_deref(), Some(REASON));
        assert_eq!(known(b"a", "run"), None);
        assert_eq!(known(b"b", "_start"), None);
        let listed = node.cache.failures();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].info.name, Path::new("/app.wasm"));
        assert_eq!(listed[0].info.bytes, Some(1));
        let file = &node.files("failed")[0];
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_record_that_is_damaged_or_has_anothers_name_is_none() {
        let node = Node::new("failed-damaged", DEFAULT_LIMIT);
        keep(&node, b"a");
        let file = node.files("failed").remove(0);
        let other = file.with_file_name("0".repeat(64));
        fs::rename(&file, &other).unwrap();
        assert!(node.cache.failures().is_empty());
        fs::write(&file, "{").unwrap();
        assert_eq!(node.cache.failure(&node.key(b"a"), "_start"), None);
    }

    /// They go by age, or all together.
    #[test]
    fn failures_take_no_room_from_code() {
        let node = Node::new("failed-prune", 100);
        keep(&node, b"a");
        keep(&node, b"b");
        node.store(b"c", &[b'c'; 60]);
        // Makes room for itself, and takes none of theirs.
        node.store(b"d", &[b'd'; 60]);
        node.cache.prune(Policy::ToSize(0)).unwrap();
        assert_eq!(node.cache.failures().len(), 2);
        let old = SystemTime::now() - Duration::from_secs(7200);
        let file = File::options()
            .write(true)
            .open(&node.files("failed")[0])
            .unwrap();
        file.set_modified(old).unwrap();
        let hour = Policy::OlderThan(Duration::from_secs(3600));
        assert_eq!(node.cache.prune(hour).unwrap().forgotten, 1);
        assert_eq!(node.cache.prune(Policy::All).unwrap().forgotten, 1);
        assert!(node.cache.failures().is_empty());
    }

    #[test]
    fn no_more_are_kept_than_are_worth_it() {
        let node = Node::new("failed-most", DEFAULT_LIMIT);
        for number in 0..MAX_FAILURES + 3 {
            keep(&node, &number.to_le_bytes());
        }
        assert_eq!(node.cache.failures().len(), MAX_FAILURES);
    }
}
