//! The Wasm layers of the container's image, for an entrypoint that is no file of the rootfs.
//!
//! An OCI artifact has no file system: its layers are modules. Where a command has to be given all
//! the same, as the CRI demands of an image without an entrypoint, `/` is the custom, or any other
//! directory. Which of the layers runs, the entrypoint says, by the first of these that fits any (`#function` behind it names an export, as it does for a file):
//!
//! 1. the layer's title (annotation `org.opencontainers.image.title`), a leading `/` or `./` aside;
//! 2. the last part of the title;
//! 3. the layer's digest: `sha256:` and at least twelve digits of it.
//!
//! Where none fits, the image's only Wasm layer is meant, if it has but one.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::content::{Content, Head};
use crate::error::Error;
use crate::imports;
use crate::plan::EngineKind;
use crate::shown::{FirstBytes, Shown};

/// Raised whenever [`Facts::of`] may answer otherwise than before, or other layers may be listed of
/// an image: answers are kept.
pub const FACTS_VERSION: u32 = 2;

/// Fewest characters of a digest that name a layer: `sha256:` and twelve digits.
const SHORTEST_DIGEST: usize = 19;

/// A layer that holds a Wasm module or component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its blob's, `sha256:…`.
    pub digest: String,
    /// As its descriptor has it.
    pub media_type: String,
    /// Of its blob, in bytes.
    pub size: u64,
    /// Its annotation `org.opencontainers.image.title`.
    pub title: Option<String>,
}

/// A layer, or a whole manifest, that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its blob's.
    pub digest: String,
    /// As its descriptor has it.
    pub media_type: String,
    /// Why, as the end of a sentence.
    pub reason: String,
}

/// What an image holds besides a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The image's name.
    pub image: String,
    /// Its Wasm layers, in their order.
    pub layers: Vec<Layer>,
    /// What else there is.
    pub passed_over: Vec<PassedOver>,
    /// Whether a manifest was not there, which may be pulled yet.
    pub is_partial: bool,
}

/// What decides about a module: its own bytes, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whether it is a component.
    pub component: bool,
    /// The engine that alone has what it imports, and the import.
    pub demand: Option<(EngineKind, String)>,
}

/// Why a file is no module.
#[derive(Debug, thiserror::Error)]
pub enum NoModule {
    /// It could not be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is machine code.
    #[error(
        "it is native code ({0}), and native code of an image is never run in an engine: nothing \
         proves what it does; put the Wasm that it was made of into the image"
    )]
    Native(&'static str),
    /// It is something else.
    #[error("it begins with {0}, where Wasm begins with 00 61 73 6d (\"\\0asm\")")]
    Other(FirstBytes),
}

impl Facts {
    /// Looks into `module`.
    ///
    /// # Errors
    /// [`NoModule`] if it is none.
    pub fn of(module: &File) -> Result<Self, NoModule> {
        let head = Head::read(module)?;
        match head.content() {
            Content::Wasm { component } => Ok(Self {
                component,
                demand: (!component)
                    .then(|| imports::demand(module))
                    .flatten()
                    .map(|demand| (demand.engine, demand.import)),
            }),
            Content::Precompiled => Err(NoModule::Native("compiled ahead of time by Wasmtime")),
            Content::Elf => Err(NoModule::Native("ELF")),
            _ => Err(NoModule::Other(FirstBytes::of(head.bytes()))),
        }
    }
}

/// What is in a layer.
#[derive(Debug)]
pub struct Inside {
    /// The digest of the module itself, which is the layer's own unless that is compressed: 64 hex
    /// digits.
    pub module: String,
    /// What decides about it.
    pub facts: Facts,
    /// The module, if it had to be read to know this.
    pub file: Option<File>,
}

/// What is behind a failure to look at layers.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The layers of one container's image. Asked only if the rootfs does not have the entrypoint.
pub trait Layers {
    /// What the image holds; `None` if the container was made of no image.
    ///
    /// # Errors
    /// Whatever keeps it from being known.
    fn list(&self) -> Result<Option<Listing>, Cause>;

    /// Looks into one of the layers listed.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    fn look_into(&self, layer: &Layer) -> Result<Inside, Cause>;

    /// Whether the entrypoint has to name a layer, even if there is but one.
    fn by_name_only(&self) -> bool {
        false
    }
}

/// For a container that has nothing but its rootfs.
#[derive(Debug, Clone, Copy)]
pub struct NoLayers;

impl Layers for NoLayers {
    fn list(&self) -> Result<Option<Listing>, Cause> {
        Ok(None)
    }

    fn look_into(&self, _: &Layer) -> Result<Inside, Cause> {
        Err("there are no layers".into())
    }
}

/// The layer that the entrypoint means, and the export that it names.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) layer: Layer,
    pub(crate) export: Option<String>,
    pub(crate) image: String,
    pub(crate) passed_over: Vec<PassedOver>,
}

/// Picks a layer for `given`, which the rootfs has not, or only as a directory, as `missing` says.
pub(crate) fn pick(given: &str, layers: &dyn Layers, missing: Error) -> Result<Picked, Error> {
    let missing = Box::new(missing);
    let listing = match layers.list() {
        Ok(Some(listing)) => listing,
        Ok(None) => return Err(*missing),
        Err(source) => return Err(Error::LayersUnknown { missing, source }),
    };
    let picked = |layer: &Layer, export: Option<&str>| Picked {
        layer: layer.clone(),
        export: export
            .filter(|export| !export.is_empty())
            .map(str::to_owned),
        image: listing.image.clone(),
        passed_over: listing.passed_over.clone(),
    };
    for (name, export) in names(given) {
        match named(name, &listing.layers).as_slice() {
            [] => {}
            [layer, rest @ ..] if rest.iter().all(|other| other.digest == layer.digest) => {
                return Ok(picked(layer, export));
            }
            several => {
                return Err(Error::WhichLayer {
                    entrypoint: given.to_owned(),
                    image: listing.image,
                    layers: several.iter().map(|layer| (*layer).clone()).collect(),
                });
            }
        }
    }
    match listing.layers.as_slice() {
        [only] if !layers.by_name_only() => {
            let export = given.split_once('#').map(|(_, export)| export);
            Ok(picked(only, export))
        }
        [] if listing.passed_over.is_empty() || matches!(*missing, Error::NotAFile { .. }) => {
            Err(*missing)
        }
        [] => Err(Error::NoWasmLayer {
            missing,
            image: listing.image,
            passed_over: listing.passed_over,
        }),
        _ if layers.by_name_only() => Err(*missing),
        _ => Err(Error::WhichLayer {
            entrypoint: given.to_owned(),
            image: listing.image,
            layers: listing.layers,
        }),
    }
}

/// The ways to read `given` as a name and an export, the longest name first.
fn names(given: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    /// As for a path.
    const MOST_SPLITS: usize = 8;
    let split = given.rmatch_indices('#').take(MOST_SPLITS);
    std::iter::once((given, None))
        .chain(split.map(|(at, _)| (&given[..at], Some(&given[at + 1..]))))
        .filter(|(name, _)| !name.is_empty())
}

/// The layers that `name` fits best.
fn named<'l>(name: &str, layers: &'l [Layer]) -> Vec<&'l Layer> {
    fn plain(path: &str) -> &str {
        path.trim_start_matches("./").trim_start_matches('/')
    }
    fn last(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or(path)
    }
    let fits = |fit: &dyn Fn(&Layer) -> bool| -> Vec<&'l Layer> {
        layers.iter().filter(|layer| fit(layer)).collect()
    };
    let title = |layer: &Layer, part: fn(&str) -> &str| {
        let title = layer.title.as_deref().map(part).unwrap_or_default();
        !title.is_empty() && title == part(name)
    };
    let mut found = fits(&|layer| title(layer, plain));
    if found.is_empty() {
        found = fits(&|layer| title(layer, last));
    }
    if found.is_empty() && name.len() >= SHORTEST_DIGEST {
        found = fits(&|layer| layer.digest.starts_with(name));
    }
    found
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", short(&self.digest))?;
        if let Some(title) = &self.title {
            write!(f, " {}", Shown::text(title))?;
        }
        write!(f, " ({})", Shown::text(&self.media_type).bare())
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}) {}",
            short(&self.digest),
            Shown::text(&self.media_type).bare(),
            Shown::text(&self.reason).bare()
        )
    }
}

/// As much of a digest as tells it from others.
fn short(digest: &str) -> String {
    let short: String = digest.chars().take(SHORTEST_DIGEST).collect();
    Shown::text(&short).bare().to_owned()
}

/// The first few of them, as an enumeration.
pub(crate) fn list<T: fmt::Display>(items: &[T]) -> String {
    /// Longer lists help no reader.
    const LISTED: usize = 8;
    let mut shown: Vec<_> = items.iter().take(LISTED).map(ToString::to_string).collect();
    if items.len() > LISTED {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
