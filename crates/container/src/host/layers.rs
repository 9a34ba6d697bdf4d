//! The Wasm layers of a container's image, for dispatch: helpers read them, and what they found once
//! is kept.

use std::fs::File;
use std::path::Path;

use medley_dispatch::layers::{Cause, Inside, Layer, Layers, Listing};
use medley_image::known::Known;
use medley_image::store::Address;

use super::{Error, Host, process};
use crate::protocol::{FetchOrder, LayersOrder, Reply, Request};

/// The layers of one container's image.
pub(super) struct ImageLayers<'h> {
    host: &'h Host,
    container: &'h str,
    cache: Option<&'h Path>,
    by_name_only: bool,
}

impl<'h> ImageLayers<'h> {
    /// For the container itself.
    pub(super) fn of(host: &'h Host, container: &'h str, cache: Option<&'h Path>) -> Self {
        Self {
            host,
            container,
            cache,
            by_name_only: false,
        }
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
        let Some(containerd) = &self.host.containerd else {
            return Ok(None);
        };
        let request = Request::Layers(LayersOrder {
            containerd: containerd.clone(),
            container: self.container.to_owned(),
        });
        match process::ask(self.host, &request, &[])? {
            (Reply::Layers { listing }, _) => Ok(listing),
            _ => Err(unexpected().into()),
        }
    }

    fn look_into(&self, layer: &Layer) -> Result<Inside, Cause> {
        let known = self.cache.and_then(records);
        if let Some(inside) = known.as_ref().and_then(|known| known.find(layer)) {
            return Ok(inside);
        }
        let inside = fetch(self.host, layer)?;
        if let Some(known) = known
            && let Err(error) = known.keep(layer, &inside)
        {
            log::warn!("what is in the layer {layer} is not written down: {error}");
        }
        Ok(inside)
    }

    fn by_name_only(&self) -> bool {
        self.by_name_only
    }
}

/// The records, if they can be used; without them a layer is read at every start.
fn records(cache: &Path) -> Option<Known> {
    Known::open(cache)
        .inspect_err(|error| log::warn!("what is in layers is not written down: {error}"))
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

/// The module in a layer, whose bytes nobody has read yet in this start. It is the one that was
/// decided on: a digest names one content only.
pub(super) fn module(host: &Host, layer: &Layer, inside: &Inside) -> Result<File, Error> {
    let module = match &inside.file {
        Some(module) => module.try_clone().map_err(Error::Spawn)?,
        None => fetch(host, layer)?.file.ok_or_else(unexpected)?,
    };
    Ok(module)
}

fn unexpected() -> Error {
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
}
