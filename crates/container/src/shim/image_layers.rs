//! The Wasm layers of a container's image, for dispatch: helpers read them, and what they found once
//! is kept.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use medley_dispatch::layers::{Cause, Inside, Layer, Layers, Listing};
use medley_image::known::Known;
use medley_image::store::Address;

use super::helper_client;
use super::{Error, Host};
use crate::protocol::{
    EntrypointOrder, FetchOrder, LayersOrder, Reply, Request, TargetOrder, Whose,
};

/// A listing, or none of what was made of no image.
pub(super) type Listed = Result<Option<Listing>, Error>;

/// The layers of one container's image.
pub(super) struct ImageLayers<'h> {
    host: &'h Host,
    container: &'h str,
    cache: Option<&'h Path>,
    by_name_only: bool,
    /// What was asked for before.
    listed: Cell<Option<Listed>>,
}

impl<'h> ImageLayers<'h> {
    /// For the container itself.
    pub(super) fn of(host: &'h Host, container: &'h str, cache: Option<&'h Path>) -> Self {
        Self {
            host,
            container,
            cache,
            by_name_only: false,
            listed: Cell::default(),
        }
    }

    /// Whose listing was asked for before.
    pub(super) fn listed(self, listed: Option<Listed>) -> Self {
        self.listed.set(listed);
        self
    }

    /// For a process that is added to it: `sh` does not mean the image's only module.
    pub(super) fn by_name(host: &'h Host, container: &'h str, cache: Option<&'h Path>) -> Self {
        Self {
            by_name_only: true,
            ..Self::of(host, container, cache)
        }
    }
}

impl Layers for ImageLayers<'_> {
    fn list(&self) -> Result<Option<Listing>, Cause> {
        let listed = self.listed.take();
        Ok(listed
            .unwrap_or_else(|| list(self.host, Whose::Container(self.container.to_owned())))?)
    }

    fn look_into(&self, layer: &Layer) -> Result<Inside, Cause> {
        Ok(look_into(self.host, self.cache, layer)?)
    }

    fn by_name_only(&self) -> bool {
        self.by_name_only
    }
}

/// The modules of an image that no container need run yet.
pub struct ImageModules<'h> {
    host: &'h Host,
    cache: PathBuf,
    listing: Listing,
    /// Of an image without Wasm layers: the file that its containers start with, which is told of
    /// as if it were one.
    file: Option<Inside>,
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
}

impl Layers for ImageModules<'_> {
    fn list(&self) -> Result<Option<Listing>, Cause> {
        Ok(Some(self.listing.clone()))
    }

    fn look_into(&self, layer: &Layer) -> Result<Inside, Cause> {
        match &self.file {
            Some(inside) => Ok(Inside {
                module: inside.module.clone(),
                facts: inside.facts.clone(),
                file: inside.file.as_ref().map(File::try_clone).transpose()?,
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
        return Ok(Some(Listing {
            image: target.image,
            layers,
            passed_over: Vec::new(),
            is_partial: false,
        }));
    }
    let digest = target.blob.digest.clone();
    let listing = list(host, Whose::Target(target))?;
    if let (Some(known), Some(listing)) = (known, &listing)
        && !listing.is_partial
        && !listing.layers.is_empty()
        && listing.passed_over.is_empty()
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
fn look_into(host: &Host, cache: Option<&Path>, layer: &Layer) -> Result<Inside, Error> {
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
fn records(cache: &Path) -> Option<Known> {
    Known::open(cache)
        .inspect_err(|error| {
            let why = medley_types::sentence(error);
            log::warn!("what is in layers is not written down: {why}");
        })
        .ok()
}

/// Has a helper read a layer, its digest verified.
fn fetch(host: &Host, layer: &Layer) -> Result<Inside, Error> {
    let containerd = host.containerd.clone().ok_or_else(unexpected)?;
    let request = Request::Fetch(FetchOrder {
        containerd,
        layer: layer.clone(),
    });
    match helper_client::ask(host, &request, &[])? {
        (Reply::Fetched { module, facts }, fds) => Ok(Inside {
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
fn entrypoint(host: &Host, listing: &Listing) -> Result<(Layer, Inside), Error> {
    let request = Request::Entrypoint(EntrypointOrder {
        containerd: host.containerd.clone().ok_or_else(unexpected)?,
        image: listing.image.clone(),
    });
    let (reply, fds) = helper_client::ask(host, &request, &[]).map_err(|error| match error {
        Error::Refused { reason } if !listing.passed_over.is_empty() => {
            let passed_over = listing.passed_over.iter().map(ToString::to_string);
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
    let inside = Inside {
        module,
        facts,
        file: Some(file.ok_or_else(unexpected)?),
    };
    Ok((layer, inside))
}

/// The module in a layer, whose bytes nobody has read yet in this start. It is the one that was
/// decided on: a digest names one content only.
pub(super) fn module(host: &Host, layer: &Layer, inside: &Inside) -> Result<File, Error> {
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
