//! `sizes/<bytes>`: a file for each size that the module of an entry has.
//!
//! To look for a module's entry, all of the module has to be read and hashed. If no entry's module has
//! its size, there is no entry, and it is read only once: by the shim, which has it compiled.

use std::collections::HashSet;

use super::files::{create, is_old, list, remove};
use super::open::Cache;

impl Cache {
    /// Whether there may be an entry of a module of `bytes`. A wrong "no" does no harm: the entry is
    /// looked for by its key once more before the module is compiled. A cache that
    /// an older version has made, and that can't be written to, has no sizes.
    #[must_use]
    pub fn may_have(&self, bytes: u64) -> bool {
        let sizes = self.sizes();
        sizes.join(bytes.to_string()).exists() || !sizes.exists()
    }

    /// Notes that there is an entry of a module of `bytes`.
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
