//! A Spin application that is an artifact: what its config says, and the files of its components.
//!
//! Files are layers of their own, or lie in archives, or stand in the config itself. All of them are put into one
//! file in memory, with the component and the path of each: what is a path is nothing here but a text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use medley_spin::App;
use medley_spin::app::Files;
use medley_spin::pack::Head;

use crate::artifact::{self, Entry, Manifest, Target};
use crate::store::{Descriptor, Error as StoreError, Store};
use crate::{decompress, digest};

/// What a manifest's config is, or one of its layers, that holds an application.
pub(crate) const CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";

/// A file of a component.
const DATA: &str = "application/vnd.wasm.content.layer.v1+data";

/// Archives of files: what Spin makes, and what it was called before.
const ARCHIVES: [&str; 2] = [
    "application/vnd.wasm.content.bundle.v1.tar+gzip",
    "application/vnd.wasm.content.layer.v1.tar+gzip",
];

/// Largest config, in bytes: small files stand in it.
const MAX_CONFIG: u64 = 4 << 20;

/// Most that the files of an application come to, in bytes: they are kept in memory.
const MAX_FILES: u64 = 256 << 20;

/// Most that is unpacked for them of all archives, in bytes.
const MAX_UNPACKED: u64 = 2 * MAX_FILES;

/// Why an application can't be had.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image can't be read.
    #[error(transparent)]
    Image(#[from] artifact::Error),
    /// There is none any more.
    #[error("the image {image:?} has no config of a Spin application")]
    None { image: String },
    /// What its config says can't be run.
    #[error(transparent)]
    Application(#[from] medley_spin::Error),
    /// A component's file is not there.
    #[error(
        "the component {component:?} has the file {path:?}, and no layer of the image has its content \
         {digest}: push the application again"
    )]
    NoFile {
        component: String,
        path: String,
        digest: String,
    },
    /// A component's file has a path that leads elsewhere.
    #[error("the component {component:?} has the file {path:?}, which is no path below its root")]
    Path { component: String, path: String },
    /// Two files of a component have one path.
    #[error("the component {component:?} has the file {path:?} twice")]
    Twice { component: String, path: String },
    /// More than is kept.
    #[error(
        "the files of the application come to more than {MAX_FILES} bytes: put them into an image with a \
         spin.toml, which shows its dirs as they are"
    )]
    TooLarge,
    /// A layer with files can't be read.
    #[error("the layer {digest} of the image cannot be read")]
    Layer {
        digest: String,
        /// Where it is wrong.
        source: io::Error,
    },
    /// A layer with files can't be unpacked.
    #[error("the layer {digest} of the image cannot be unpacked")]
    Unpack {
        digest: String,
        /// Why.
        source: decompress::Error,
    },
    /// No memory to keep them in.
    #[error("the files of the application cannot be kept in memory")]
    Memory(#[source] io::Error),
}

/// An application.
#[derive(Debug)]
pub struct Fetched {
    /// It, without its files.
    pub app: App,
    /// Its files, one after the other, as [`medley_spin::pack`] has them; none if there are none.
    pub files: Option<File>,
}

/// Whether a manifest is of an application.
pub(crate) fn is_in(manifest: &Manifest) -> bool {
    config_of(manifest).is_some()
}

/// What holds the application that a manifest is of.
fn config_of(manifest: &Manifest) -> Option<&Descriptor> {
    let all = manifest.config.iter().chain(&manifest.layers);
    let mut blobs = all.map(|entry| &entry.blob);
    blobs.find(|blob| blob.media_type == CONFIG)
}

/// Whether a layer is of use to an application alone.
pub(crate) fn is_part(media_type: &str) -> bool {
    media_type == CONFIG || media_type == DATA || ARCHIVES.contains(&media_type)
}

/// The application of an image.
///
/// # Errors
/// [`Error`] with what is wrong with it.
pub fn of_image(store: &mut Store, target: Target) -> Result<Fetched, Error> {
    let image = target.image.clone();
    for entry in artifact::manifests_of(store, target)? {
        let manifest: Manifest = match artifact::read_json(store, &entry.blob, "manifest") {
            Ok(manifest) => manifest,
            Err(artifact::Error::Store(StoreError::Missing { .. })) if entry.platform.is_some() => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(config) = config_of(&manifest) {
            let config = config.clone();
            return read(store, &config, &manifest.layers);
        }
    }
    Err(Error::None { image })
}

fn read(store: &mut Store, config: &Descriptor, layers: &[Entry]) -> Result<Fetched, Error> {
    let mut bytes = Vec::new();
    artifact::read_blob(store, config, MAX_CONFIG)?
        .read_to_end(&mut bytes)
        .map_err(Error::Memory)?;
    let mut app = App::from_locked(&bytes)?;
    let mut pack = Pack::new()?;
    let mut paths = BTreeSet::new();
    for (id, component) in &mut app.components {
        for files in std::mem::take(&mut component.files) {
            if let Files::Inline { path, .. } | Files::Layer { path, .. } = &files
                && !paths.insert((id.clone(), path.trim_start_matches('/').to_owned()))
            {
                return Err(Error::Twice {
                    component: id.clone(),
                    path: path.clone(),
                });
            }
            match files {
                Files::Inline { content, path } => {
                    pack.add(id, &path, &content[..], content.len())?
                }
                Files::Layer { digest, path } => {
                    let digest = digest.trim_start_matches("sha256:").to_owned();
                    let wanted = pack.wanted.entry(digest).or_default();
                    wanted.push((id.clone(), path));
                }
                // An artifact has none.
                Files::Pattern(_) | Files::Placed { .. } => {}
            }
        }
    }
    let mut seen = BTreeSet::new();
    for layer in layers {
        let blob = &layer.blob;
        if pack.wanted.is_empty() || !seen.insert(&blob.digest) {
            continue;
        }
        if blob.media_type == DATA {
            pack.data(store, blob)?;
        } else if ARCHIVES.contains(&blob.media_type.as_str()) {
            pack.archive(store, blob)?;
        }
    }
    Ok(Fetched {
        app,
        files: pack.finish()?,
    })
}

/// Files that are put together.
struct Pack {
    to: File,
    size: u64,
    /// How much was unpacked of archives.
    unpacked: u64,
    /// Components and paths that wait for the content of a digest.
    wanted: BTreeMap<String, Vec<(String, String)>>,
}

impl Pack {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            to: artifact::memory()?,
            size: 0,
            unpacked: 0,
            wanted: BTreeMap::new(),
        })
    }

    fn add(
        &mut self,
        component: &str,
        path: &str,
        content: impl Read,
        size: usize,
    ) -> Result<(), Error> {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let head = Head::new(component, path, size).ok_or_else(|| Error::Path {
            component: component.to_owned(),
            path: path.to_owned(),
        })?;
        self.size = self.size.saturating_add(size);
        if self.size > MAX_FILES {
            return Err(Error::TooLarge);
        }
        head.write(&mut self.to).map_err(Error::Memory)?;
        let copied = io::copy(&mut content.take(size), &mut self.to).map_err(Error::Memory)?;
        if copied != size {
            return Err(Error::Memory(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Adds a file for all that wait for it.
    fn found(&mut self, digest: &str, mut content: File) -> Result<(), Error> {
        let size = content.metadata().map_err(Error::Memory)?.len();
        let size = usize::try_from(size).map_err(|_| Error::TooLarge)?;
        for (component, path) in self.wanted.remove(digest).unwrap_or_default() {
            content.rewind().map_err(Error::Memory)?;
            self.add(&component, &path, &content, size)?;
        }
        Ok(())
    }

    /// Adds the file that a layer is.
    fn data(&mut self, store: &mut Store, blob: &Descriptor) -> Result<(), Error> {
        let digest = blob.digest.trim_start_matches("sha256:");
        if !self.wanted.contains_key(digest) {
            return Ok(());
        }
        // The store has checked that the bytes have this digest.
        let content = artifact::read_blob(store, blob, MAX_FILES)?;
        self.found(digest, content)
    }

    /// Adds the files of an archive by what is in them: the config knows nothing else of them.
    fn archive(&mut self, store: &mut Store, blob: &Descriptor) -> Result<(), Error> {
        let wrong = |source| Error::Layer {
            digest: blob.digest.clone(),
            source,
        };
        let packed = artifact::read_blob(store, blob, MAX_FILES)?;
        let archive = match decompress::compression(&packed).map_err(wrong)? {
            None => packed,
            Some(compression) => {
                let mut plain = artifact::memory()?;
                let left = MAX_UNPACKED.saturating_sub(self.unpacked);
                decompress::decompress(compression, packed, &plain, left).map_err(|source| {
                    Error::Unpack {
                        digest: blob.digest.clone(),
                        source,
                    }
                })?;
                let size = plain.metadata().map_err(Error::Memory)?.len();
                self.unpacked = self.unpacked.saturating_add(size);
                plain.rewind().map_err(Error::Memory)?;
                plain
            }
        };
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().map_err(wrong)? {
            let mut entry = entry.map_err(wrong)?;
            if self.wanted.is_empty() {
                break;
            }
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let mut content = artifact::memory()?;
            let copied =
                io::copy(&mut (&mut entry).take(MAX_FILES + 1), &mut content).map_err(wrong)?;
            if copied > MAX_FILES {
                return Err(Error::TooLarge);
            }
            content.flush().map_err(wrong)?;
            let digest = digest::of_file(&content).map_err(wrong)?;
            if self.wanted.contains_key(&digest) {
                self.found(&digest, content)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<File>, Error> {
        if let Some((digest, waiting)) = self.wanted.into_iter().next() {
            let (component, path) = waiting.into_iter().next().unwrap_or_default();
            return Err(Error::NoFile {
                component,
                path,
                digest,
            });
        }
        let mut to = self.to;
        if to.stream_position().map_err(Error::Memory)? == 0 {
            return Ok(None);
        }
        to.rewind().map_err(Error::Memory)?;
        artifact::seal(&to)?;
        Ok(Some(to))
    }
}
