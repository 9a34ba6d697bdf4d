//! The Wasm layers of a container's image, for dispatch: helpers read them, and what they found once
//! is kept.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use medley_dispatch::{NeedsLayers, Planned};
use medley_image::artifact::Target;
use medley_image::layer_index::LayerIndex;
use medley_image::store::Address;
use medley_spin::App;
use medley_types::layers::{Cause, ImageLayers, Layer, LayerContent};

use super::error::Error;
use super::helper_client::Helpers;
use crate::protocol::{
    FetchApplication, FetchEntrypoint, FetchLayer, FetchedModule, ImageRef, ListLayers,
    ResolveImage,
};

/// A listing, or none of what was made of no image.
pub(super) type Listed = Result<Option<ImageLayers>, Error>;

/// What reads images: helpers that ask containerd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images<'h> {
    pub(super) helpers: &'h Helpers,
    /// Which containerd has them; `None` if there is none to ask.
    pub(super) containerd: Option<&'h Address>,
}

/// The modules of an image that no container need run yet.
pub struct ImageModules<'h> {
    images: Images<'h>,
    cache: PathBuf,
    listing: ImageLayers,
    /// Of an image without Wasm layers: the file that its containers start with, which is told of
    /// as if it were one.
    file: Option<LayerContent>,
}

impl std::fmt::Debug for ImageModules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageModules")
            .field("listing", &self.listing)
            .finish_non_exhaustive()
    }
}

impl ImageModules<'_> {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Layer] {
        &self.listing.layers
    }

    /// Decides on the one that is named.
    ///
    /// # Errors
    /// What is wrong with it, or keeps this node from running it.
    pub fn plan(&self, needed: NeedsLayers<'_>) -> Result<Planned, medley_dispatch::Error> {
        let selected = needed.select(Ok(Some(self.listing.clone())))?;
        let content = self.content(selected.layer());
        selected.plan(content)
    }

    fn content(&self, layer: &Layer) -> Result<LayerContent, Cause> {
        match &self.file {
            Some(content) => Ok(LayerContent {
                module: content.module.clone(),
                facts: content.facts.clone(),
                file: content.file.as_ref().map(File::try_clone).transpose()?,
            }),
            None => Ok(self.images.inspect(Some(&self.cache), layer)?),
        }
    }
}

impl Images<'_> {
    /// Decides on a container whose entrypoint is one of its image's Wasm layers, if `listed` has any.
    pub(super) fn plan(
        &self,
        cache: Option<&Path>,
        needed: NeedsLayers<'_>,
        listed: Listed,
    ) -> Result<Planned, medley_dispatch::Error> {
        if let Ok(Some(listing)) = &listed
            && needed.means_application(listing)
        {
            let fetched = self.application(listing);
            return needed.plan_application(listing, fetched.map_err(Into::into), |layer| {
                Ok(self.inspect(cache, layer)?)
            });
        }
        let selected = needed.select(listed.map_err(Into::into))?;
        let content = self.inspect(cache, selected.layer());
        selected.plan(content.map_err(Into::into))
    }

    /// Has a helper read the Spin application that an image is.
    fn application(&self, listing: &ImageLayers) -> Result<(App, Option<File>), Error> {
        let fetched = self.helpers.call(FetchApplication {
            containerd: self.containerd.cloned().ok_or_else(no_containerd)?,
            target: Target::listed(listing),
        })?;
        Ok((*fetched.app, fetched.files.map(File::from)))
    }

    /// The Wasm layers of the image that `container` was made of.
    pub(super) fn of_container(&self, container: &str) -> Listed {
        self.list(ImageRef::Container(container.to_owned()))
    }

    /// What asks which image a container was made of; `None` if there is no containerd to ask.
    pub(super) fn resolve(&self, container: &str) -> Option<ResolveImage> {
        Some(ResolveImage {
            containerd: self.containerd.cloned()?,
            container: container.to_owned(),
        })
    }

    /// The Wasm layers of the image that the container was made of. They are known where it was
    /// listed before.
    pub(super) fn of_target(&self, cache: Option<&Path>, target: Option<Target>) -> Listed {
        let Some(target) = target else {
            return Ok(None);
        };
        let known = cache.and_then(records);
        if let Some((layers, is_application)) = known
            .as_ref()
            .and_then(|known| known.listing(&target.blob.digest))
        {
            return Ok(Some(ImageLayers {
                blob: target.blob(),
                image: target.image,
                layers,
                skipped: Vec::new(),
                is_partial: false,
                is_application,
            }));
        }
        let digest = target.blob.digest.clone();
        let listing = self.list(ImageRef::Target(target))?;
        if let (Some(known), Some(listing)) = (known, &listing)
            && !listing.is_partial
            && !listing.layers.is_empty()
            && listing.skipped.is_empty()
            && let Err(error) = known.keep_listing(&digest, listing)
        {
            let image = &listing.image;
            log::warn!("which layers the image {image:?} has is not written down: {error}");
        }
        Ok(listing)
    }

    /// The Wasm layers of an image; `None` if there is no containerd to ask, or no image.
    fn list(&self, image: ImageRef) -> Listed {
        let Some(containerd) = self.containerd.cloned() else {
            return Ok(None);
        };
        self.helpers.call(ListLayers { containerd, image })
    }

    /// What is in a layer, if need be by reading it.
    fn inspect(&self, cache: Option<&Path>, layer: &Layer) -> Result<LayerContent, Error> {
        let known = cache.and_then(records);
        if let Some(inside) = known.as_ref().and_then(|known| known.find(layer)) {
            return Ok(inside);
        }
        let inside = inside(self.fetch(layer)?);
        if let Some(known) = known
            && let Err(error) = known.keep(layer, &inside)
        {
            log::warn!("what is in the layer {layer} is not written down: {error}");
        }
        Ok(inside)
    }

    /// Has a helper read a layer, its digest verified.
    fn fetch(&self, layer: &Layer) -> Result<FetchedModule<OwnedFd>, Error> {
        self.helpers.call(FetchLayer {
            containerd: self.containerd.cloned().ok_or_else(no_containerd)?,
            layer: layer.clone(),
        })
    }

    /// Has a helper read the file that the containers of an image start with.
    fn entrypoint(&self, listing: &ImageLayers) -> Result<(Layer, LayerContent), Error> {
        let call = FetchEntrypoint {
            containerd: self.containerd.cloned().ok_or_else(no_containerd)?,
            target: Target::listed(listing),
        };
        let fetched = self.helpers.call(call).map_err(|error| match error {
            Error::Refused { reason } if !listing.skipped.is_empty() => {
                let passed_over = listing.skipped.iter().map(ToString::to_string);
                let passed_over: Vec<_> = passed_over.collect();
                Error::Refused {
                    reason: format!("{reason}; passed over: {}", passed_over.join(", ")),
                }
            }
            error => error,
        })?;
        let layer = Layer {
            digest: format!("sha256:{}", fetched.content.module),
            media_type: "a file".to_owned(),
            size: fetched.size,
            title: Some(fetched.path.to_string_lossy().into_owned()),
        };
        Ok((layer, inside(fetched.content)))
    }

    /// The module in a layer, of which only what was written down may be known. It is the one that
    /// was decided on: a digest names one content only.
    pub(super) fn module(&self, layer: &Layer, inside: &LayerContent) -> Result<File, Error> {
        match &inside.file {
            Some(module) => module.try_clone().map_err(Error::Spawn),
            None => Ok(self.fetch(layer)?.file.into()),
        }
    }
}

fn inside(fetched: FetchedModule<OwnedFd>) -> LayerContent {
    LayerContent {
        module: fetched.module,
        facts: fetched.facts,
        file: Some(fetched.file.into()),
    }
}

fn no_containerd() -> Error {
    Error::NoAnswer {
        reason: "there is no containerd to ask for the image".into(),
    }
}

/// The records, if they can be used; without them a layer is read at every start.
fn records(cache: &Path) -> Option<LayerIndex> {
    LayerIndex::open(cache)
        .inspect_err(|error| {
            let why = medley_types::sentence(error);
            log::warn!("what is in layers is not written down: {why}");
        })
        .ok()
}

impl<'h> Images<'h> {
    /// The modules of an image: `ContainerManager::modules_of`.
    pub(super) fn modules_of(self, image: &str, cache: &Path) -> Result<ImageModules<'h>, Error> {
        let listing = self.list(ImageRef::Name(image.to_owned()))?;
        let mut modules = ImageModules {
            images: self,
            cache: cache.to_owned(),
            listing: listing.ok_or_else(no_containerd)?,
            file: None,
        };
        if modules.listing.layers.is_empty() {
            let (layer, content) = self.entrypoint(&modules.listing)?;
            modules.listing.layers.push(layer);
            modules.file = Some(content);
        }
        Ok(modules)
    }
}
