//! In the helper: asks containerd for an image's Wasm layers, for one of them, or for the file that
//! its containers start with.
//!
//! What it reads somebody else wrote: manifests, compressed layers. It is connected as root, which
//! the socket demands, and looks at the first byte as a user that owns nothing.

use std::fs::File;
use std::os::fd::OwnedFd;

use medley_image::store::Store;
use medley_image::{artifact, entrypoint};
use medley_types::layers::LayerContent;
use rustix::process::{Resource, Rlimit};

use crate::protocol::{EntrypointOrder, FetchOrder, LayersOrder, Reply, TargetOrder, Whose};

/// Longest processor time, in seconds: a hundred times what the largest module takes.
const CPU_SECONDS: u64 = 300;

/// Most memory, in bytes of address space. Layers are in files, of which none is mapped.
const MAX_MEMORY: u64 = 1 << 30;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] medley_image::store::Error),
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    #[error(transparent)]
    Entrypoint(#[from] entrypoint::Error),
    #[error("the helper cannot give up its privileges")]
    Confine(#[source] std::io::Error),
}

/// Lists the layers.
pub(crate) fn list(order: &LayersOrder) -> Reply {
    let list = || {
        let mut store = connect(&order.containerd)?;
        let target = match &order.image {
            Whose::Container(id) => artifact::target(&mut store, id)?,
            Whose::Image(name) => Some(artifact::named(&mut store, name)?),
            Whose::Target(target) => Some(target.clone()),
        };
        let listing = target.map(|target| artifact::list(&mut store, target));
        Ok(listing.transpose()?)
    };
    list().map_or_else(|error| failed(&error), |listing| Reply::Layers { listing })
}

/// Tells which image a container was made of.
pub(crate) fn target(order: &TargetOrder) -> Reply {
    let target = || {
        let mut store = connect(&order.containerd)?;
        Ok(artifact::target(&mut store, &order.container)?)
    };
    target().map_or_else(|error| failed(&error), |target| Reply::Target { target })
}

/// Reads one layer.
pub(crate) fn fetch(order: &FetchOrder) -> (Reply, Option<OwnedFd>) {
    let fetch = || {
        let mut store = connect(&order.containerd)?;
        Ok(artifact::fetch(
            &mut store,
            &order.layer,
            medley_dispatch::inspect,
        )?)
    };
    match fetch() {
        Ok(inside) => {
            let reply = Reply::Fetched {
                module: inside.module,
                facts: inside.facts,
            };
            (reply, inside.file.map(File::into))
        }
        Err(error) => (failed(&error), None),
    }
}

/// Reads the file that an image's containers start with.
pub(crate) fn entrypoint(order: &EntrypointOrder) -> (Reply, Option<OwnedFd>) {
    let read = || {
        let mut store = connect(&order.containerd)?;
        Ok(entrypoint::of_image(
            &mut store,
            &order.image,
            medley_dispatch::inspect,
        )?)
    };
    match read() {
        Ok(found) => {
            let LayerContent {
                module,
                facts,
                file,
            } = found.content;
            let reply = Reply::Entrypoint {
                path: found.path,
                size: found.size,
                module,
                facts,
            };
            (reply, file.map(File::into))
        }
        Err(error) => (failed(&error), None),
    }
}

fn failed(error: &Error) -> Reply {
    Reply::Failed {
        reason: medley_types::sentence(error),
    }
}

fn connect(containerd: &medley_image::store::Address) -> Result<Store, Error> {
    let store = Store::connect(containerd)?;
    confine().map_err(Error::Confine)?;
    Ok(store)
}

fn confine() -> std::io::Result<()> {
    let user = medley_sys::child::unused_user()?;
    let limit = |resource, most| {
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )
    };
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::As, MAX_MEMORY)?;
    limit(Resource::Core, 0)?;
    medley_sys::child::give_up_rights(user)
}
