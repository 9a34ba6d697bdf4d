//! The Wasm layers of a container's image, for dispatch: helpers read them, and what they found once
//! is kept.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use medley_dispatch::layers::{Cause, Inside, Layer, Layers, Listing};
use medley_image::known::Known;
use medley_image::store::Address;

use super::process::{self, Answer, Helper};
use super::{Error, Host};
use crate::protocol::{EntrypointOrder, FetchOrder, LayersOrder, Reply, Request, Whose};

/// The layers of one container's image.
pub(super) struct ImageLayers<'h> {
    host: &'h Host,
    container: &'h str,
    cache: Option<&'h Path>,
    by_name_only: bool,
    /// Who lists them already.
    asked: Cell<Option<Helper<'h>>>,
}

impl<'h> ImageLayers<'h> {
    /// For the container itself.
    pub(super) fn of(host: &'h Host, container: &'h str, cache: Option<&'h Path>) -> Self {
        Self {
            host,
            container,
            cache,
            by_name_only: false,
            asked: Cell::default(),
        }
    }

    /// Whose listing was asked for before.
    pub(super) fn asked(self, asked: Option<Helper<'h>>) -> Self {
        self.asked.set(asked);
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
        let listed = match self.asked.take() {
            Some(asked) => listing(asked.answer()),
            None => list(self.host, of_container(self.container)),
        };
        Ok(listed?)
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

/// Asks for the layers of the image that a container was made of, ahead of whoever looks for its
/// entrypoint; `None` if nobody can be asked.
pub(super) fn ask_ahead<'h>(host: &'h Host, container: &str) -> Result<Option<Helper<'h>>, Error> {
    let Some(request) = request(host, of_container(container)) else {
        return Ok(None);
    };
    let mut helper = Helper::ahead(host)?;
    helper.send(&request, &[])?;
    Ok(Some(helper))
}

/// The Wasm layers of an image; `None` if nobody can be asked, or there is no image.
fn list(host: &Host, image: Whose) -> Result<Option<Listing>, Error> {
    match request(host, image) {
        Some(request) => listing(process::ask(host, &request, &[])),
        None => Ok(None),
    }
}

fn of_container(id: &str) -> Whose {
    Whose::Container(id.to_owned())
}

fn request(host: &Host, image: Whose) -> Option<Request> {
    let containerd = host.containerd.clone()?;
    Some(Request::Layers(LayersOrder { containerd, image }))
}

fn listing(answer: Result<Answer, Error>) -> Result<Option<Listing>, Error> {
    match answer? {
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
            let why = medley_task::error::sentence(error);
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
    match process::ask(host, &request, &[])? {
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
    let (reply, fds) = process::ask(host, &request, &[]).map_err(|error| match error {
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
