//! Makes containers, as the Task API asks for them.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use medley_container::shim::{self, ContainerManager, Settings};
use medley_io::{Owner, Stdio};
use medley_task::error::Cause;
use medley_task::{Container, CreateRequest, Runtime, Sandbox};
use medley_types::sandbox::SandboxRequest;

use crate::blocking::blocking;
use crate::container::LocalContainer;
use crate::options::{CacheDir, RuntimeOptions};
use crate::sandbox::LocalSandbox;

/// Makes containers on this node.
#[derive(Debug)]
pub struct LocalRuntime {
    manager: Arc<ContainerManager>,
    /// containerd's.
    namespace: Arc<str>,
    defaults: Defaults,
}

/// What counts for containers whose options say nothing else.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Where native code is kept.
    pub cache: CacheDir,
    /// How many compilers may run at a time; told from the node, if `None`.
    pub compilers: Option<NonZeroU32>,
}

impl LocalRuntime {
    /// With `manager`, for containers in containerd's `namespace`.
    #[must_use]
    pub fn new(manager: Arc<ContainerManager>, namespace: &str, defaults: Defaults) -> Self {
        Self {
            manager,
            namespace: namespace.into(),
            defaults,
        }
    }

    /// What the runtime options, read by a thread that may wait for a file, say of container `id`.
    fn settings(
        defaults: Defaults,
        id: &str,
        options: Option<&(String, Vec<u8>)>,
    ) -> Result<Settings, Cause> {
        let options = match options {
            Some((kind, bytes)) => RuntimeOptions::parse(kind, bytes)?,
            None => RuntimeOptions::default(),
        };
        options.log(id);
        Ok(Settings {
            cache: options.cache.unwrap_or(defaults.cache).dir(),
            default_engine: options.default_engine,
            no_pivot_root: options.no_pivot_root,
            systemd_cgroup: options.systemd_cgroup,
            stack: options.stack,
            no_new_keyring: options.no_new_keyring,
            compilers: options.compilers.or(defaults.compilers),
        })
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    async fn create(&self, request: CreateRequest) -> Result<Arc<dyn Container>, Cause> {
        let owner = Owner {
            id: request.id.clone(),
            namespace: self.namespace.to_string(),
        };
        let manager = Arc::clone(&self.manager);
        let defaults = self.defaults.clone();
        let container = blocking(move || {
            let request = shim::CreateRequest {
                settings: Self::settings(defaults, &request.id, request.options.as_ref())?,
                id: request.id,
                bundle: request.bundle,
                rootfs: request.rootfs,
                cancel: request.cancel,
                stdio: Stdio::new(request.stdio, owner),
            };
            Ok::<_, Cause>(manager.create(request)?)
        })
        .await?;
        let namespace = Arc::clone(&self.namespace);
        Ok(Arc::new(LocalContainer::new(container, namespace)))
    }

    async fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<dyn Sandbox>, Cause> {
        let manager = Arc::clone(&self.manager);
        let sandbox = blocking(move || manager.create_sandbox(request)).await?;
        Ok(Arc::new(LocalSandbox::new(sandbox)))
    }
}
