//! The Wasm layers of a container's image: which there are, and what is in them.
//!
//! An image's name stands for a manifest, or for an index of several. containerd has fetched, and
//! unpacked, the manifest for the platform that was asked for: the node's own, unless the pull said
//! otherwise (`--platform wasi/wasm`). So the manifests that are looked at are those that are in the
//! content store, the node's platform first, then Wasm ones, and the first of them that has a Wasm
//! layer is taken. What its config says does not matter: the layers tell by their media types.

use std::fs::File;
use std::io::{self, Seek, Write};

use medley_types::layers::{
    ImageBlob, ImageLayers, Layer, LayerContent, ModuleFacts, NotAModule, SkippedLayer,
};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::application;
use crate::cache::MAX_MODULE;
use crate::decompress;
use crate::platform::Platform;
use crate::store::{Descriptor, Error as StoreError, Store, is_sha256};

/// Largest manifest or index, in bytes: what registries take.
const MAX_MANIFEST: u64 = 4 << 20;

/// Most manifests that are looked at. An image has one for each platform.
const MAX_MANIFESTS: usize = 64;

/// Most layers of a kind that are told of.
const MAX_LAYERS: usize = 64;

/// Longest text of a manifest that is repeated, in bytes: as long as a file's name.
const MAX_TEXT: usize = 255;

/// How deep indexes may be nested.
const MAX_NESTED: usize = 4;

/// What a file of the layer was called when the image was made.
const TITLE: &str = "org.opencontainers.image.title";

/// Layers that are modules, compressed or not.
const WASM: [&str; 4] = [
    "application/wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Layers that are archives of files; the end of their names tells how they are compressed.
const FILE_SYSTEMS: [&str; 3] = [
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// Tells what decides about a module. What it looks for is the matter of who decides.
pub type Inspect = fn(&File) -> Result<ModuleFacts, NotAModule>;

/// Why an image's layers can't be told or taken.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd did not give what was asked for.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest or index makes no sense.
    #[error("{digest} is no {what}")]
    Json {
        digest: String,
        /// "manifest" or "index".
        what: &'static str,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The image is something else altogether.
    #[error("the image {image:?} is a {media_type:?}, which is neither a manifest nor an index")]
    Target {
        image: String,
        /// What it is.
        media_type: String,
    },
    /// The layer could not be unpacked.
    #[error("it cannot be unpacked")]
    Unpack(#[from] decompress::Error),
    /// There is no module in it.
    #[error(transparent)]
    NotAModule(#[from] NotAModule),
    /// No memory to keep it in.
    #[error("it cannot be kept in memory")]
    Memory(#[source] io::Error),
}

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Option<Entry>,
    #[serde(default)]
    pub(crate) layers: Vec<Entry>,
}

/// A descriptor with what is said about it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) blob: Descriptor,
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<std::collections::HashMap<String, String>>,
}

/// What an image's name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The name.
    pub image: String,
    /// Its manifest or index.
    pub blob: Descriptor,
}

impl Target {
    /// What was listed.
    #[must_use]
    pub fn listed(listing: &ImageLayers) -> Self {
        let ImageBlob {
            digest,
            media_type,
            size,
        } = listing.blob.clone();
        Self {
            image: listing.image.clone(),
            blob: Descriptor {
                media_type,
                digest,
                size,
            },
        }
    }

    /// As a listing has it.
    #[must_use]
    pub fn blob(&self) -> ImageBlob {
        ImageBlob {
            digest: self.blob.digest.clone(),
            media_type: self.blob.media_type.clone(),
            size: self.blob.size,
        }
    }
}

/// The image of `container`; `None` if it was made of none.
///
/// # Errors
/// [`Error`] if that can't be told.
pub fn target(store: &mut Store, container: &str) -> Result<Option<Target>, Error> {
    match store.image_of(container)? {
        Some(image) => named(store, &image).map(Some),
        None => Ok(None),
    }
}

/// The image of that name.
///
/// # Errors
/// As for [`target`].
pub fn named(store: &mut Store, image: &str) -> Result<Target, Error> {
    Ok(Target {
        image: image.to_owned(),
        blob: store.target_of(image)?,
    })
}

/// What an image holds besides a file system.
///
/// # Errors
/// As for [`target`].
pub fn list(store: &mut Store, target: Target) -> Result<ImageLayers, Error> {
    let mut listing = ImageLayers {
        image: target.image.clone(),
        blob: target.blob(),
        layers: Vec::new(),
        skipped: Vec::new(),
        is_partial: false,
        is_application: false,
    };
    for entry in manifests_of(store, target)? {
        let manifest: Manifest = match read_json(store, &entry.blob, "manifest") {
            Ok(manifest) => manifest,
            Err(Error::Store(StoreError::Missing { .. })) if entry.platform.is_some() => {
                listing.is_partial = true;
                // Only of use to those who look for Wasm; of others there are many.
                if let Some(platform) = entry.platform.filter(Platform::is_wasm) {
                    skip(
                        &mut listing,
                        &entry.blob,
                        format!(
                            "is its manifest for {platform}, which was not pulled: pull it with --platform {platform}"
                        ),
                    );
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        listing.is_application = application::is_in(&manifest);
        sort(&mut listing, store, &entry, manifest);
        if !listing.layers.is_empty() {
            break;
        }
    }
    Ok(listing)
}

/// The manifests of an image, in the order in which they are looked at.
pub(crate) fn manifests_of(store: &mut Store, target: Target) -> Result<Vec<Entry>, Error> {
    let Target { image, blob } = target;
    if !is(&MANIFESTS, &blob) && !is(&INDEXES, &blob) {
        return Err(Error::Target {
            image,
            media_type: blob.media_type,
        });
    }
    let target = Entry {
        blob,
        platform: None,
        annotations: None,
    };
    let mut found = manifests(store, target)?;
    // Attestations and the like are manifests too, for a platform that no node has.
    found.retain(|entry| !entry.platform.as_ref().is_some_and(Platform::is_unknown));
    Ok(found)
}

/// The manifests that `target` stands for, in the order in which they are looked at.
fn manifests(store: &mut Store, target: Entry) -> Result<Vec<Entry>, Error> {
    let mut found = Vec::new();
    let mut open = vec![(target, 0)];
    while let Some((entry, depth)) = open.pop() {
        if is(&MANIFESTS, &entry.blob) {
            found.push(entry);
            continue;
        }
        if !is(&INDEXES, &entry.blob) || depth == MAX_NESTED || found.len() > MAX_MANIFESTS {
            continue;
        }
        let index: Index = match read_json(store, &entry.blob, "index") {
            Ok(index) => index,
            Err(Error::Store(StoreError::Missing { .. })) if depth > 0 => continue,
            Err(error) => return Err(error),
        };
        // From the end, so that the first is taken first.
        let entries = index.manifests.into_iter().take(MAX_MANIFESTS).rev();
        open.extend(entries.map(|entry| (entry, depth + 1)));
    }
    found.truncate(MAX_MANIFESTS);
    let rank = |entry: &Entry| entry.platform.as_ref().map(Platform::rank);
    // One whose platform is not told is taken for the one that was asked for.
    found.retain(|entry| rank(entry) != Some(None));
    found.sort_by_key(|entry| rank(entry).flatten().unwrap_or_default());
    Ok(found)
}

/// Puts the layers of a manifest where they belong.
fn sort(listing: &mut ImageLayers, store: &mut Store, entry: &Entry, manifest: Manifest) {
    let mut file_systems = Vec::new();
    for layer in manifest.layers {
        if is_wasm(&layer.blob.media_type) {
            if !is_sha256(&layer.blob.digest) {
                let reason = "has a digest of another kind than sha256".to_owned();
                skip(listing, &layer.blob, reason);
            } else if listing.layers.len() < MAX_LAYERS {
                listing.layers.push(Layer {
                    digest: layer.blob.digest,
                    media_type: layer.blob.media_type,
                    size: layer.blob.size,
                    title: layer
                        .annotations
                        .and_then(|annotations| annotations.get(TITLE).cloned())
                        .filter(|title| !title.is_empty() && title.len() <= MAX_TEXT),
                });
            }
        } else if is_file_system(&layer.blob.media_type) {
            file_systems.push(layer.blob);
        } else if !(listing.is_application && application::is_part(&layer.blob.media_type)) {
            let reason = "is no media type of Wasm that runs here".to_owned();
            skip(listing, &layer.blob, reason);
        }
    }
    // Nothing to wonder at in an image for Linux; containerd has unpacked them.
    if file_systems.is_empty() || !listing.layers.is_empty() {
        return;
    }
    let platform = entry
        .platform
        .clone()
        .or_else(|| platform_of(store, manifest.config?.blob));
    if let Some(platform) = platform.filter(Platform::is_wasm) {
        for layer in &file_systems {
            skip(
                listing,
                layer,
                format!(
                    "holds files for {platform}, which containerd 2.1 and later do not unpack: build the image for {}, or set use_local_image_pull = true",
                    Platform::of_node()
                ),
            );
        }
    }
}

/// The platform that an image's config tells, if it has one.
fn platform_of(store: &mut Store, config: Descriptor) -> Option<Platform> {
    match read_json(store, &config, "config") {
        Ok(platform) => Some(platform),
        Err(error) => {
            log::debug!("the platform of an image is not known: {error}");
            None
        }
    }
}

fn skip(listing: &mut ImageLayers, blob: &Descriptor, reason: String) {
    if listing.skipped.len() < MAX_LAYERS {
        listing.skipped.push(SkippedLayer {
            digest: blob.digest.chars().take(MAX_TEXT / 2).collect(),
            media_type: blob.media_type.chars().take(MAX_TEXT / 2).collect(),
            reason,
        });
    }
}

/// Reads a layer's module into memory, where it can't be changed, and looks into it. The bytes have
/// the digest that the layer's descriptor says, or this fails.
///
/// # Errors
/// [`Error`] with what is wrong with the layer.
pub fn fetch(store: &mut Store, layer: &Layer, inspect: Inspect) -> Result<LayerContent, Error> {
    let blob = Descriptor {
        media_type: layer.media_type.clone(),
        digest: layer.digest.clone(),
        size: layer.size,
    };
    // Nothing is unpacked, or looked at, before all of it is known to be what it is called.
    let packed = read_blob(store, &blob, MAX_MODULE)?;
    let (module, digest) = match decompress::compression(&packed).map_err(Error::Memory)? {
        None => (packed, layer.digest.clone()),
        Some(compression) => {
            let module = memory()?;
            let digest = decompress::decompress(compression, packed, &module, MAX_MODULE)?;
            (module, digest)
        }
    };
    let facts = inspect(&module)?;
    seal(&module)?;
    Ok(LayerContent {
        module: digest.trim_start_matches("sha256:").to_owned(),
        facts,
        file: Some(module),
    })
}

/// A blob of at most `max` bytes, in memory, from its beginning.
pub(crate) fn read_blob(store: &mut Store, blob: &Descriptor, max: u64) -> Result<File, Error> {
    let mut file = memory()?;
    store.read(blob, max, |bytes| file.write_all(bytes))?;
    file.rewind().map_err(Error::Memory)?;
    Ok(file)
}

/// Makes a file that can't be changed any more.
pub(crate) fn seal(file: &File) -> Result<(), Error> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file, seals).map_err(|errno| Error::Memory(errno.into()))
}

pub(crate) fn memory() -> Result<File, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    rustix::fs::memfd_create("medley-layer", flags)
        .map(File::from)
        .map_err(|errno| Error::Memory(errno.into()))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    store: &mut Store,
    blob: &Descriptor,
    what: &'static str,
) -> Result<T, Error> {
    let mut bytes = Vec::new();
    store.read(blob, MAX_MANIFEST, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        digest: blob.digest.clone(),
        what,
        source,
    })
}

fn is(types: &[&str], blob: &Descriptor) -> bool {
    types.contains(&blob.media_type.as_str())
}

fn is_wasm(media_type: &str) -> bool {
    let plain = ["+gzip", "+zstd"]
        .iter()
        .find_map(|suffix| media_type.strip_suffix(suffix));
    WASM.contains(&plain.unwrap_or(media_type))
}

pub(crate) fn is_file_system(media_type: &str) -> bool {
    FILE_SYSTEMS.iter().any(|kind| media_type.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::{WASM, is_file_system, is_wasm};

    #[test]
    fn wasm_is_known_by_its_media_type_packed_or_not() {
        for media_type in WASM {
            for suffix in ["", "+gzip", "+zstd"] {
                assert!(
                    is_wasm(&format!("{media_type}{suffix}")),
                    "{media_type}{suffix}"
                );
            }
        }
        for other in [
            "application/wasm+brotli",
            "application/vnd.fermyon.spin.application.v1+config",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "",
        ] {
            assert!(!is_wasm(other), "{other}");
        }
    }

    #[test]
    fn file_systems_are_known_by_their_media_types() {
        for known in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            assert!(is_file_system(known), "{known}");
        }
        assert!(!is_file_system("application/wasm"));
    }
}
