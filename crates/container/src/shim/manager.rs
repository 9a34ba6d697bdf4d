//! Makes containers, and the sandbox that they share.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use medley_dispatch::{Module, Options, WasmPlan};
use medley_image::store::Address;
use medley_types::sandbox::SandboxRequest;

use super::code_source::WarmOutcome;
use super::container::Container;
use super::context::ShimContext;
use super::engine_binaries::EngineBinary;
use super::error::Error;
use super::image_layers::ImageModules;
use super::sandbox::Sandbox;
use super::settings::CreateRequest;
use super::{code_source, create};

/// Makes containers on this node.
#[derive(Debug)]
pub struct ContainerManager {
    context: Arc<ShimContext>,
    /// Guards the sandbox that containers belong to, if no container of it stands for it.
    sandbox: Mutex<Option<Arc<Sandbox>>>,
}

impl ContainerManager {
    /// One that runs helpers of this very binary, or of those that have other engines. It asks the
    /// containerd at `containerd` about images, in whose namespace the containers are.
    ///
    /// # Errors
    /// Those of opening our own executable, and of making a pipe.
    pub fn new(
        options: Options,
        engine_binaries: Vec<EngineBinary>,
        containerd: Address,
        debug: bool,
    ) -> io::Result<Self> {
        let mut context = ShimContext::new(options, engine_binaries, debug)?;
        context.containerd = Some(containerd);
        Ok(Self {
            context: Arc::new(context),
            sandbox: Mutex::default(),
        })
    }

    /// Makes a container whose init waits to be started.
    ///
    /// # Errors
    /// [`Error`]; nothing of the container is left then.
    pub fn create(&self, request: CreateRequest) -> Result<Container, Error> {
        create::create(&self.context, self.sandbox().as_deref(), request)
    }

    /// Makes the sandbox that every container from now on belongs to.
    ///
    /// # Errors
    /// [`Error`]; nothing of the sandbox is left then.
    pub fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<Sandbox>, Error> {
        let sandbox = Arc::new(Sandbox::new(&self.context.helpers, request)?);
        *self.sandbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&sandbox));
        Ok(sandbox)
    }

    fn sandbox(&self) -> Option<Arc<Sandbox>> {
        let sandbox = self.sandbox.lock();
        sandbox.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The modules of `image`: its Wasm layers or, if it has none, the file that its containers
    /// start with. What is in layers is written down beside `cache`.
    ///
    /// # Errors
    /// [`Error`], with what the image has instead.
    pub fn modules_of(&self, image: &str, cache: &Path) -> Result<ImageModules<'_>, Error> {
        self.context.images().modules_of(image, cache)
    }

    /// Sees to it that the native code of a plan's module is in the cache, as soon as no more than
    /// `compilers` run for the node.
    ///
    /// # Errors
    /// [`Error`]: what a start would say of the module, or why the cache can't be used.
    pub fn warm(
        &self,
        cache: &Path,
        compilers: NonZeroU32,
        plan: &WasmPlan,
        module: &Module,
    ) -> Result<WarmOutcome, Error> {
        code_source::warm(self.context.images(), cache, compilers, plan, module)
    }
}
