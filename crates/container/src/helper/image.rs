//! In the helper: asks containerd for an image's Wasm layers, for one of them, or for the file that
//! its containers start with.
//!
//! It reads what others have written: manifests, compressed layers. It is connected as root, which
//! the socket demands, and looks at the first byte as a user that owns nothing.

use std::os::fd::OwnedFd;

use medley_image::artifact::Target;
use medley_image::store::Store;
use medley_image::{application, artifact, entrypoint};
use medley_types::layers::{ImageLayers, LayerContent};
use rustix::process::{Resource, Rlimit};

use crate::protocol::{
    Failure, FetchApplication, FetchEntrypoint, FetchLayer, FetchedApplication, FetchedEntrypoint,
    FetchedModule, ImageRef, ListLayers, ResolveImage,
};

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
    #[error(transparent)]
    Application(#[from] application::Error),
    #[error("the module of a layer was not read")]
    NotRead,
    #[error("the helper cannot give up its privileges")]
    Confine(#[source] std::io::Error),
}

/// Lists the layers.
pub(crate) fn list(call: ListLayers) -> Result<Option<ImageLayers>, Failure> {
    let list = || -> Result<_, Error> {
        let mut store = connect(&call.containerd)?;
        let target = match call.image {
            ImageRef::Container(id) => artifact::target(&mut store, &id)?,
            ImageRef::Name(name) => Some(artifact::named(&mut store, &name)?),
            ImageRef::Target(target) => Some(target),
        };
        let listing = target.map(|target| artifact::list(&mut store, target));
        Ok(listing.transpose()?)
    };
    list().map_err(|error| Failure::of(&error))
}

/// Tells which image a container was made of.
pub(crate) fn target(call: ResolveImage) -> Result<Option<Target>, Failure> {
    let target = || -> Result<_, Error> {
        let mut store = connect(&call.containerd)?;
        Ok(artifact::target(&mut store, &call.container)?)
    };
    target().map_err(|error| Failure::of(&error))
}

/// Reads one layer.
pub(crate) fn fetch(call: FetchLayer) -> Result<FetchedModule<OwnedFd>, Failure> {
    let fetch = || -> Result<_, Error> {
        let mut store = connect(&call.containerd)?;
        fetched(artifact::fetch(
            &mut store,
            &call.layer,
            medley_dispatch::inspect,
        )?)
    };
    fetch().map_err(|error| Failure::of(&error))
}

/// Reads the file that an image's containers start with.
pub(crate) fn entrypoint(call: FetchEntrypoint) -> Result<FetchedEntrypoint<OwnedFd>, Failure> {
    let read = || -> Result<_, Error> {
        let mut store = connect(&call.containerd)?;
        let inspect = medley_dispatch::inspect;
        let found = entrypoint::of_image(&mut store, call.target, inspect)?;
        Ok(FetchedEntrypoint {
            path: found.path,
            size: found.size,
            content: fetched(found.content)?,
        })
    };
    read().map_err(|error| Failure::of(&error))
}

/// Reads a Spin application.
pub(crate) fn application(call: FetchApplication) -> Result<FetchedApplication<OwnedFd>, Failure> {
    let read = || -> Result<_, Error> {
        let mut store = connect(&call.containerd)?;
        let fetched = application::of_image(&mut store, call.target)?;
        Ok(FetchedApplication {
            app: Box::new(fetched.app),
            files: fetched.files.map(OwnedFd::from),
        })
    };
    read().map_err(|error| Failure::of(&error))
}

fn fetched(content: LayerContent) -> Result<FetchedModule<OwnedFd>, Error> {
    Ok(FetchedModule {
        module: content.module,
        facts: content.facts,
        file: content.file.ok_or(Error::NotRead)?.into(),
    })
}

fn connect(containerd: &medley_image::store::Address) -> Result<Store, Error> {
    let store = Store::connect(containerd)?;
    confine().map_err(Error::Confine)?;
    Ok(store)
}

fn confine() -> std::io::Result<()> {
    let user = medley_sys::child::unused_user()?;
    let limit = |resource, max| {
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(max),
                maximum: Some(max),
            },
        )
    };
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::As, MAX_MEMORY)?;
    limit(Resource::Core, 0)?;
    medley_sys::child::give_up_rights(user)
}
