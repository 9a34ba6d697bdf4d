//! The Wasm layers of a container's image, for dispatch: helpers read them, and what they found once
//! is kept.

use std::fs::File;
use std::path::{Path, PathBuf};

use medley_dispatch::{NeedsLayers, Planned};
use medley_image::layer_index::LayerIndex;
use medley_image::store::Address;
use medley_types::layers::{Cause, ImageLayers, Layer, LayerContent};

use super::helper_client;
use super::{Error, Host};
use crate::protocol::{
    EntrypointOrder, FetchOrder, LayersOrder, Reply, Request, TargetOrder, Whose,
};

/// A listing, or none of what was made of no image.
pub(super) type Listed = Result<Option<ImageLayers>, Error>;

/// Decides on a container whose entrypoint is one of its image's Wasm layers, if `listed` has any.
pub(super) fn plan(
    host: &Host,
    cache: Option<&Path>,
    needed: NeedsLayers<'_>,
    listed: Listed,
) -> Result<Planned, medley_dispatch::Error> {
    let selected = needed.select(listed.map_err(Into::into))?;
    let content = look_into(host, cache, selected.layer());
    selected.plan(content.map_err(Into::into))
}

/// The Wasm layers of the image that `container` was made of.
pub(super) fn of_container(host: &Host, container: &str) -> Listed {
    list(host, Whose::Container(container.to_owned()))
}

/// The modules of an image that no container need run yet.
pub struct ImageModules<'h> {
    host: &'h Host,
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
            None => Ok(look_into(self.host, Some(&self.cache), layer)?),
        }
    }
}

/// Asks the helper that will make a container which image that was made of; `None` if nobody can be
/// asked.
pub(super) fn request_first(host: &Host, container: &str) -> Option<Request> {
    Some(Request::TargetFirst(TargetOrder {
        containerd: host.containerd.clone()?,
        container: container.to_owned(),
    }))
}

/// The Wasm layers of the image that was the answer. They are known where it was listed before.
pub(super) fn of_target(host: &Host, cache: Option<&Path>, reply: Reply) -> Listed {
    let target = match reply {
        Reply::Target { target } => target,
        _ => return Err(unexpected()),
    };
    let Some(target) = target else {
        return Ok(None);
    };
    let known = cache.and_then(records);
    if let Some(layers) = known
        .as_ref()
        .and_then(|known| known.listing(&target.blob.digest))
    {
        return Ok(Some(ImageLayers {
            image: target.image,
            layers,
            skipped: Vec::new(),
            is_partial: false,
        }));
    }
    let digest = target.blob.digest.clone();
    let listing = list(host, Whose::Target(target))?;
    if let (Some(known), Some(listing)) = (known, &listing)
        && !listing.is_partial
        && !listing.layers.is_empty()
        && listing.skipped.is_empty()
        && let Err(error) = known.keep_listing(&digest, &listing.layers)
    {
        let image = &listing.image;
        log::warn!("which layers the image {image:?} has is not written down: {error}");
    }
    Ok(listing)
}

/// The Wasm layers of an image; `None` if nobody can be asked, or there is no image.
fn list(host: &Host, image: Whose) -> Listed {
    let Some(containerd) = host.containerd.clone() else {
        return Ok(None);
    };
    let request = Request::Layers(LayersOrder { containerd, image });
    match helper_client::ask(host, &request, &[])? {
        (Reply::Layers { listing }, _) => Ok(listing),
        _ => Err(unexpected()),
    }
}

/// What is in a layer, if need be by reading it.
fn look_into(host: &Host, cache: Option<&Path>, layer: &Layer) -> Result<LayerContent, Error> {
    let known = cache.and_then(records);
    if let Some(inside) = known.as_ref().and_then(|known| known.find(layer)) {
        return Ok(inside);
    }
    let inside = fetch(host, layer)?;
    if let Some(known) = known
        && let Err(error) = known.keep(layer, &inside)
    {
        log::warn!("what is in the layer {layer} is not written down: {error}");
    }
    Ok(inside)
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

/// Has a helper read a layer, its digest verified.
fn fetch(host: &Host, layer: &Layer) -> Result<LayerContent, Error> {
    let containerd = host.containerd.clone().ok_or_else(unexpected)?;
    let request = Request::Fetch(FetchOrder {
        containerd,
        layer: layer.clone(),
    });
    match helper_client::ask(host, &request, &[])? {
        (Reply::Fetched { module, facts }, fds) => Ok(LayerContent {
            module,
            facts,
            file: Some(
                fds.into_iter()
                    .next()
                    .map(File::from)
                    .ok_or_else(unexpected)?,
            ),
        }),
        _ => Err(unexpected()),
    }
}

/// Has a helper read the file that the containers of an image start with.
fn entrypoint(host: &Host, listing: &ImageLayers) -> Result<(Layer, LayerContent), Error> {
    let request = Request::Entrypoint(EntrypointOrder {
        containerd: host.containerd.clone().ok_or_else(unexpected)?,
        image: listing.image.clone(),
    });
    let (reply, fds) = helper_client::ask(host, &request, &[]).map_err(|error| match error {
        Error::Refused { reason } if !listing.skipped.is_empty() => {
            let passed_over = listing.skipped.iter().map(ToString::to_string);
            let passed_over: Vec<_> = passed_over.collect();
            Error::Refused {
                reason: format!("{reason}; passed over: {}", passed_over.join(", ")),
            }
        }
        error => error,
    })?;
    let Reply::Entrypoint {
        path,
        size,
        module,
        facts,
    } = reply
    else {
        return Err(unexpected());
    };
    let layer = Layer {
        digest: format!("sha256:{module}"),
        media_type: "a file".to_owned(),
        size,
        title: Some(path.to_string_lossy().into_owned()),
    };
    let file = fds.into_iter().next().map(File::from);
    let inside = LayerContent {
        module,
        facts,
        file: Some(file.ok_or_else(unexpected)?),
    };
    Ok((layer, inside))
}

/// The module in a layer, whose bytes nobody has read yet in this start. It is the one that was
/// decided on: a digest names one content only.
pub(super) fn module(host: &Host, layer: &Layer, inside: &LayerContent) -> Result<File, Error> {
    let module = match &inside.file {
        Some(module) => module.try_clone().map_err(Error::Spawn)?,
        None => fetch(host, layer)?.file.ok_or_else(unexpected)?,
    };
    Ok(module)
}

pub(super) fn unexpected() -> Error {
    Error::NoAnswer {
        reason: "it answered something else".into(),
    }
}

impl Host {
    /// Asks the containerd at `containerd` about images, in whose namespace the containers are.
    #[must_use]
    pub fn with_containerd(mut self, containerd: Address) -> Self {
        self.containerd = Some(containerd);
        self
    }

    /// The modules of `image`: its Wasm layers or, if it has none, the file that its containers
    /// start with. What is in layers is written down beside `cache`.
    ///
    /// # Errors
    /// [`Error`], with what the image has instead.
    pub fn modules_of(&self, image: &str, cache: &Path) -> Result<ImageModules<'_>, Error> {
        let listing = list(self, Whose::Image(image.to_owned()))?;
        let mut modules = ImageModules {
            host: self,
            cache: cache.to_owned(),
            listing: listing.ok_or_else(unexpected)?,
            file: None,
        };
        if modules.listing.layers.is_empty() {
            let (layer, inside) = entrypoint(self, &modules.listing)?;
            modules.listing.layers.push(layer);
            modules.file = Some(inside);
        }
        Ok(modules)
    }
}
