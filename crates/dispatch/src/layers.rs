//! The Wasm layers of the container's image, for an entrypoint that is no file of the rootfs.
//!
//! An OCI artifact has no file system: its layers are modules. Where a command has to be given all
//! the same, as the CRI demands of an image without an entrypoint, `/` is the custom, or any other
//! directory. The entrypoint says which of the layers runs, by the first of these that fits any
//! (`#function` behind it names an export, as it does for a file):
//!
//! 1. the layer's title (annotation `org.opencontainers.image.title`), a leading `/` or `./` aside;
//! 2. the last part of the title;
//! 3. the layer's digest: `sha256:` and at least twelve digits of it.
//!
//! Where none fits, the image's only Wasm layer is meant, if it has but one.

use medley_types::layers::{Cause, ImageLayers, Layer, SHORTEST_DIGEST, SkippedLayer};

use crate::error::Error;
use crate::options::Options;
use crate::rule::Rule;

/// A decision that waits for the layers of the container's image: the rootfs does not have the
/// entrypoint, or only as a directory.
#[derive(Debug)]
pub struct NeedsLayers<'o> {
    /// What was looked for.
    pub(crate) entrypoint: String,
    /// What to say if no layer is meant.
    pub(crate) missing: Error,
    pub(crate) argv_start: usize,
    pub(crate) rule: Rule,
    pub(crate) options: &'o Options,
    pub(crate) needs_explicit_name: bool,
}

impl<'o> NeedsLayers<'o> {
    /// Has the entrypoint name its layer, even if the image has but one: `sh` does not mean it.
    #[must_use]
    pub fn require_explicit_name(mut self) -> Self {
        self.needs_explicit_name = true;
        self
    }

    /// The error of a container that has nothing but its rootfs.
    #[must_use]
    pub fn without_layers(self) -> Error {
        self.missing
    }

    /// Selects the layer that the entrypoint means; `layers` is `None` if the container was made of
    /// no image.
    ///
    /// # Errors
    /// What is missing in the rootfs if there is no layer, and why none could be selected.
    pub fn select(self, layers: Result<Option<ImageLayers>, Cause>) -> Result<Selected<'o>, Error> {
        let missing = Box::new(self.missing);
        let listed = match layers {
            Ok(Some(listed)) => listed,
            Ok(None) => return Err(*missing),
            Err(source) => return Err(Error::LayersUnknown { missing, source }),
        };
        let selected = |layer: &Layer, export: Option<&str>| Selected {
            layer: layer.clone(),
            export: export
                .filter(|export| !export.is_empty())
                .map(str::to_owned),
            image: listed.image.clone(),
            skipped: listed.skipped.clone(),
            argv_start: self.argv_start,
            rule: self.rule.clone(),
            options: self.options,
        };
        let entrypoint = self.entrypoint;
        for (name, export) in names(&entrypoint) {
            match named(name, &listed.layers).as_slice() {
                [] => {}
                [layer, rest @ ..] if rest.iter().all(|other| other.digest == layer.digest) => {
                    return Ok(selected(layer, export));
                }
                several => {
                    let layers = several.iter().map(|layer| (*layer).clone()).collect();
                    return Err(Error::WhichLayer {
                        entrypoint: entrypoint.clone(),
                        image: listed.image,
                        layers,
                    });
                }
            }
        }
        match listed.layers.as_slice() {
            [only] if !self.needs_explicit_name => {
                let export = entrypoint.split_once('#').map(|(_, export)| export);
                Ok(selected(only, export))
            }
            [] if listed.skipped.is_empty() || matches!(*missing, Error::NotAFile { .. }) => {
                Err(*missing)
            }
            [] => Err(Error::NoWasmLayer {
                missing,
                image: listed.image,
                skipped: listed.skipped,
            }),
            _ if self.needs_explicit_name => Err(*missing),
            _ => Err(Error::WhichLayer {
                entrypoint,
                image: listed.image,
                layers: listed.layers,
            }),
        }
    }
}

/// The layer that the entrypoint means, before its content is known.
#[derive(Debug)]
pub struct Selected<'o> {
    pub(crate) layer: Layer,
    /// The export that the entrypoint names.
    pub(crate) export: Option<String>,
    pub(crate) image: String,
    pub(crate) skipped: Vec<SkippedLayer>,
    pub(crate) argv_start: usize,
    pub(crate) rule: Rule,
    pub(crate) options: &'o Options,
}

impl Selected<'_> {
    /// The layer whose content decides on the engine.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        &self.layer
    }
}

/// The ways to read `given` as a name and an export, the longest name first.
pub(crate) fn names(given: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    /// As for a path.
    const MAX_SPLITS: usize = 8;
    let split = given.rmatch_indices('#').take(MAX_SPLITS);
    std::iter::once((given, None))
        .chain(split.map(|(at, _)| (&given[..at], Some(&given[at + 1..]))))
        .filter(|(name, _)| !name.is_empty())
}

/// The layers that `name` fits best.
pub(crate) fn named<'l>(name: &str, layers: &'l [Layer]) -> Vec<&'l Layer> {
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
