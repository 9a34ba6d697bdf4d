//! `sizes/<bytes>`: that a module of this size was kept.
//!
//! A module whose size no entry has is in no entry, so that it is not read to find that out. It is
//! read once then, by the process that has it compiled.

use std::collections::HashSet;

use super::files::{create, is_old, list, remove};
use super::open::Cache;

impl Cache {
    /// Whether a module of `bytes` may be among the entries. A wrong "no" costs a look by its key.
    #[must_use]
    pub fn may_have(&self, bytes: u64) -> bool {
        self.sizes().join(bytes.to_string()).exists()
    }

    /// Notes that a module of `bytes` is among the entries.
    pub fn note_size(&self, bytes: u64) {
        let path = self.sizes().join(bytes.to_string());
        if let Err(error) = create(&path) {
            log::debug!("{} is not written: {error}", path.display());
        }
    }

    /// Removes the sizes that no entry has.
    pub(super) fn keep_sizes(&self, kept: &HashSet<String>) {
        for file in list(&self.sizes()) {
            if !kept.contains(&*file.file_name().to_string_lossy()) && is_old(&file) {
                remove(&file.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::tests::Node;
    use crate::cache::{DEFAULT_LIMIT, Policy};
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_sizes_are_those_of_the_modules_that_are_there() {
        let node = Node::new("sizes", DEFAULT_LIMIT);
        assert!(!node.cache.may_have(6));
        node.store(b"module", b"native");
        assert!(node.cache.may_have(6));
        node.cache.note_size(7);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for path in node.files("sizes") {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        node.cache.prune(Policy::OlderThan(Duration::MAX)).unwrap();
        assert!(node.cache.may_have(6) && !node.cache.may_have(7));
        node.cache.prune(Policy::All).unwrap();
        assert!(!node.cache.may_have(6));
    }
}
