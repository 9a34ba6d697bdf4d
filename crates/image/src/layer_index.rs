//! What is known of layers that were looked into, and of images whose layers were listed: a record
//! for each, beside the cache of native code.
//!
//! A digest names its bytes for ever, so what was found in them once holds for ever too. With the
//! module's own digest at hand, a start finds its native code without reading the layer at all:
//! code that was made of other bytes has another key.
//!
//! **Records are root's alone,** in a directory that no other user can write to, and each begins with a
//! digest of itself: one that is damaged counts as missing. They appear by `rename`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use medley_types::layers::{FACTS_VERSION, ImageLayers, Layer, LayerContent, ModuleFacts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache::Error;
use crate::cache::files;
use crate::cache::open::LAYERS;
use crate::cache::permissions::ours_alone;
use crate::store::{digest_of, is_sha256};

/// Most records that are kept: some hundred bytes each, a block on the disk.
const MAX_RECORDS: usize = 1024;

/// Largest record, in bytes.
const MAX_RECORD: u64 = 4096;

/// What is written down of a blob.
#[derive(Debug, Serialize, Deserialize)]
struct Record<T> {
    /// [`FACTS_VERSION`] of the shim that wrote it.
    version: u32,
    digest: String,
    known: T,
}

/// What is known of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct OfLayer {
    module: String,
    facts: ModuleFacts,
}

/// What is known of an image's manifest or index.
#[derive(Debug, Serialize, Deserialize)]
struct OfTarget {
    layers: Vec<Layer>,
    is_application: bool,
}

/// The records of one node.
#[derive(Debug)]
pub struct LayerIndex {
    dir: PathBuf,
    /// How many are kept.
    capacity: usize,
}

impl LayerIndex {
    /// The records in the cache's directory `cache`, which need not be there yet.
    ///
    /// # Errors
    /// Those of making the directory; [`Error::NotOurs`] if another user could write to it.
    pub fn open(cache: &Path) -> Result<Self, Error> {
        let dir = cache.join(LAYERS);
        files::make_dir(&dir).map_err(Error::file("make", &dir))?;
        Ok(Self {
            dir: ours_alone(&dir)?,
            capacity: MAX_RECORDS,
        })
    }

    /// What is known of `layer`; notes its use.
    #[must_use]
    pub fn find(&self, layer: &Layer) -> Option<LayerContent> {
        let OfLayer { module, facts } = self.read(&layer.digest)?;
        Some(LayerContent {
            module,
            facts,
            file: None,
        })
    }

    /// The Wasm layers of an image, by the digest of its manifest or index, and whether it is a Spin
    /// application; notes their use.
    #[must_use]
    pub fn listing(&self, target: &str) -> Option<(Vec<Layer>, bool)> {
        let known: OfTarget = self.read(target)?;
        Some((known.layers, known.is_application))
    }

    /// Writes down what is in `layer`.
    ///
    /// # Errors
    /// Those of writing a file; nothing of it stays then.
    pub fn keep(&self, layer: &Layer, inside: &LayerContent) -> io::Result<()> {
        let known = OfLayer {
            module: inside.module.clone(),
            facts: inside.facts.clone(),
        };
        self.write(&layer.digest, known)
    }

    /// Writes down which Wasm layers an image has. `target` has to decide it, so that every manifest
    /// was there.
    ///
    /// # Errors
    /// As for [`Self::keep`].
    pub fn keep_listing(&self, target: &str, listing: &ImageLayers) -> io::Result<()> {
        let known = OfTarget {
            layers: listing.layers.clone(),
            is_application: listing.is_application,
        };
        self.write(target, known)
    }

    fn read<T: DeserializeOwned>(&self, digest: &str) -> Option<T> {
        let path = self.path(digest)?;
        let size = fs::metadata(&path).ok()?.len();
        let text = (size <= MAX_RECORD).then(|| fs::read(&path))?.ok()?;
        files::touch(&path);
        let record = parse(&text).filter(|record| record.digest == digest);
        if record.is_none() {
            log::debug!("the record {} is of no use", path.display());
        }
        record.map(|record| record.known)
    }

    fn write<T: Serialize>(&self, digest: &str, known: T) -> io::Result<()> {
        let path = self.path(digest).ok_or(io::ErrorKind::InvalidInput)?;
        let record = serde_json::to_vec(&Record {
            version: FACTS_VERSION,
            digest: digest.to_owned(),
            known,
        })?;
        let record = [sealed(&record).as_bytes(), &record].concat();
        if record.len() as u64 > MAX_RECORD {
            // It would not be read: an image with so many layers is listed every time.
            return Ok(());
        }
        self.make_room();
        files::replace(&path, &record)
    }

    /// Removes what was of no use for longest if there are too many.
    fn make_room(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut records: Vec<_> = entries
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        records.sort();
        let surplus = (records.len() + 1).saturating_sub(self.capacity);
        for (_, path) in records.into_iter().take(surplus) {
            // Another process may have done it.
            fs::remove_file(path).ok();
        }
    }

    /// Where the record of a blob is, if its digest can be a file's name.
    fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        is_sha256(digest).then(|| self.dir.join(hex))
    }
}

/// The line that a record begins with.
fn sealed(record: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(record);
    digest_of(hasher) + "\n"
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<Record<T>> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (seal, record) = text.split_at(end + 1);
    let record = (sealed(record).as_bytes() == seal).then(|| serde_json::from_slice(record))?;
    record
        .ok()
        .filter(|record: &Record<T>| record.version == FACTS_VERSION)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use medley_types::layers::{ImageBlob, ImageLayers, Layer, LayerContent, ModuleFacts};

    use super::LayerIndex;
    use crate::cache::{Cache, Policy};

    fn layer(n: usize) -> Layer {
        Layer {
            digest: format!("sha256:{n:064x}"),
            media_type: "application/wasm".to_owned(),
            size: 8,
            title: None,
        }
    }

    fn inside() -> LayerContent {
        LayerContent {
            module: "ab".repeat(32),
            facts: ModuleFacts {
                component: true,
                demand: None,
            },
            file: None,
        }
    }

    #[test]
    fn what_was_kept_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let index = LayerIndex::open(&dir.path().join("cache")).unwrap();
        assert!(index.find(&layer(1)).is_none());
        index.keep(&layer(1), &inside()).unwrap();
        let found = index.find(&layer(1)).unwrap();
        assert_eq!(
            (found.module, found.facts),
            (inside().module, inside().facts)
        );
        assert!(index.find(&layer(2)).is_none());
    }

    #[test]
    fn which_layers_an_image_has_is_known_by_its_target_alone() {
        let dir = tempfile::tempdir().unwrap();
        let index = LayerIndex::open(&dir.path().join("cache")).unwrap();
        let target = layer(1).digest;
        assert!(index.listing(&target).is_none());
        let listed = |layers: &[Layer], is_application| ImageLayers {
            image: "i".to_owned(),
            blob: ImageBlob::default(),
            layers: layers.to_vec(),
            skipped: Vec::new(),
            is_partial: false,
            is_application,
        };
        let two = [layer(2), layer(3)];
        for is_application in [false, true] {
            let listing = listed(&two, is_application);
            index.keep_listing(&target, &listing).unwrap();
            assert_eq!(index.listing(&target), Some((two.to_vec(), is_application)));
        }
        // What is known of an image is not taken for what is known of a layer, nor the reverse.
        assert!(index.find(&layer(1)).is_none());
        index.keep(&layer(2), &inside()).unwrap();
        assert!(index.listing(&layer(2).digest).is_none());
        // More than a record holds.
        let many: Vec<_> = (0..100).map(layer).collect();
        index
            .keep_listing(&layer(4).digest, &listed(&many, false))
            .unwrap();
        assert!(index.listing(&layer(4).digest).is_none());
    }

    #[test]
    fn a_damaged_or_misnamed_record_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let index = LayerIndex::open(&cache).unwrap();
        index.keep(&layer(1), &inside()).unwrap();
        let path = |n| cache.join("layers").join(format!("{n:064x}"));
        let record = fs::read(path(1)).unwrap();
        for at in 0..record.len() {
            let mut bytes = record.clone();
            bytes[at] ^= 1;
            fs::write(path(1), &bytes).unwrap();
            assert!(index.find(&layer(1)).is_none(), "a flipped bit at {at}");
            fs::write(path(1), &record[..at]).unwrap();
            assert!(index.find(&layer(1)).is_none(), "cut at {at}");
        }
        fs::write(path(2), &record).unwrap();
        assert!(index.find(&layer(2)).is_none(), "another layer's record");
    }

    #[test]
    fn a_dir_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        LayerIndex::open(&cache).unwrap();
        for (path, mode, words) in [
            (cache.join("layers"), 0o770, "root's alone"),
            (cache.clone(), 0o777, "only root may write there"),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = LayerIndex::open(&cache).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let odd = Layer {
            digest: "sha256:../../../etc/passwd".to_owned(),
            ..layer(1)
        };
        let index = LayerIndex::open(&cache).unwrap();
        assert!(index.keep(&odd, &inside()).is_err());
        assert!(index.find(&odd).is_none());
    }

    /// Has every record last been used so long ago.
    fn age(cache: &Path, by: Duration) {
        for record in fs::read_dir(cache.join("layers")).unwrap() {
            let record = fs::File::open(record.unwrap().path()).unwrap();
            record.set_modified(SystemTime::now() - by).unwrap();
        }
    }

    #[test]
    fn what_was_of_no_use_for_longest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let mut index = LayerIndex::open(&cache).unwrap();
        index.capacity = 8;
        for n in 0..8 {
            index.keep(&layer(n), &inside()).unwrap();
        }
        age(&cache, Duration::from_secs(60));
        assert!(index.find(&layer(3)).is_some());
        for n in 8..15 {
            index.keep(&layer(n), &inside()).unwrap();
        }
        assert_eq!(fs::read_dir(cache.join("layers")).unwrap().count(), 8);
        for n in [3, 8, 14] {
            assert!(index.find(&layer(n)).is_some(), "{n}");
        }
    }

    /// They are never pruned for want of room.
    #[test]
    fn records_are_pruned_by_age_or_with_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let index = LayerIndex::open(&path).unwrap();
        let cache = Cache::open(&path, 1).unwrap();
        for n in 0..2 {
            index.keep(&layer(n), &inside()).unwrap();
        }
        cache.prune(Policy::ToSize(0)).unwrap();
        age(&path, Duration::from_secs(3600));
        assert!(index.find(&layer(0)).is_some());
        cache
            .prune(Policy::OlderThan(Duration::from_secs(60)))
            .unwrap();
        assert!(index.find(&layer(0)).is_some(), "it was used a moment ago");
        assert!(index.find(&layer(1)).is_none(), "it was not");
        cache.prune(Policy::All).unwrap();
        assert!(index.find(&layer(0)).is_none());
    }
}
