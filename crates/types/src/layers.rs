//! An image's Wasm layers as data: which there are, and what is in one of them.
//!
//! Who fetches layers fills these in, and who decides on a container reads them; neither depends on
//! the other.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::EngineKind;
use crate::quoted::{FirstBytes, Quoted};

/// Raised when the same module gets other [`ModuleFacts`] than before, or the same image other
/// layers: both are kept on disk.
pub const FACTS_VERSION: u32 = 3;

/// Fewest characters of a digest that name a layer: `sha256:` and twelve digits.
pub const SHORTEST_DIGEST: usize = 19;

/// What is behind a failure to list layers or to read one.
pub type Cause = Box<dyn StdError + Send + Sync>;

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
pub struct SkippedLayer {
    /// Its blob's.
    pub digest: String,
    /// As its descriptor has it.
    pub media_type: String,
    /// Why, as the end of a sentence.
    pub reason: String,
}

/// What an image's name stood for: a manifest, or an index of some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBlob {
    /// Its digest.
    pub digest: String,
    /// As its descriptor has it.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
}

/// What an image holds besides a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayers {
    /// The image's name.
    pub image: String,
    /// What the name stood for, which it need not do any more.
    pub blob: ImageBlob,
    /// Its Wasm layers, in their order.
    pub layers: Vec<Layer>,
    /// What else there is.
    pub skipped: Vec<SkippedLayer>,
    /// Whether a manifest was not there, which may be pulled yet.
    pub is_partial: bool,
    /// Whether it is a Spin application, of which the layers are components.
    #[serde(default)]
    pub is_application: bool,
}

/// What decides about a module: its own bytes, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// Whether it is a component.
    pub component: bool,
    /// The engine that alone has what it imports, and the import.
    pub demand: Option<(EngineKind, String)>,
}

/// Why a file is no module.
#[derive(Debug, thiserror::Error)]
pub enum NotAModule {
    /// It could not be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is machine code.
    #[error(
        "it is native code ({0}), and native code of an image is never run in an engine: nothing \
         proves what it does; put the Wasm that it was made of into the image"
    )]
    Precompiled(&'static str),
    /// It is something else.
    #[error("it begins with {0}, where Wasm begins with 00 61 73 6d (\"\\0asm\")")]
    Other(FirstBytes),
}

/// What is in a layer.
#[derive(Debug)]
pub struct LayerContent {
    /// The digest of the module itself, which is the layer's own unless that is compressed: 64 hex
    /// digits.
    pub module: String,
    /// What decides about it.
    pub facts: ModuleFacts,
    /// The module, if it had to be read to know this.
    pub file: Option<File>,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", short(&self.digest))?;
        if let Some(title) = &self.title {
            write!(f, " {}", Quoted::text(title))?;
        }
        write!(f, " ({})", Quoted::text(&self.media_type).bare())
    }
}

impl fmt::Display for SkippedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}) {}",
            short(&self.digest),
            Quoted::text(&self.media_type).bare(),
            Quoted::text(&self.reason).bare()
        )
    }
}

/// As much of a digest as tells it from others.
fn short(digest: &str) -> String {
    let short: String = digest.chars().take(SHORTEST_DIGEST).collect();
    Quoted::text(&short).bare().to_owned()
}
