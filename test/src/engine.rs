//! The Wasm engines that a guest's behaviour is the same on.

use crate::spec::Spec;

/// An engine that a test can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Modules and components.
    Wasmtime,
    /// Modules.
    WasmEdge,
}

impl Engine {
    /// Its name in annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::WasmEdge => "wasmedge",
        }
    }

    /// The spec of a container that is run by it.
    #[must_use]
    pub fn runs(self, spec: Spec) -> Spec {
        spec.annotation("run.oci.handler", self.name())
    }
}

/// Makes one test for each engine out of an async function that takes an [`Engine`] and returns a
/// `Result`: a module of the function's name with `wasmtime`, and with `wasmedge::does_too`, which a
/// run without WasmEdge leaves out by its name.
#[macro_export]
macro_rules! each_engine {
    ($($(#[$meta:meta])* async fn $name:ident($engine:ident: Engine) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($engine: $crate::Engine) -> $crate::Result<()> $body
            #[tokio::test]
            async fn wasmtime() -> $crate::Result<()> {
                body($crate::Engine::Wasmtime).await
            }
            mod wasmedge {
                #[tokio::test]
                async fn does_too() -> $crate::Result<()> {
                    $crate::runtime::wasmedge_path()?;
                    super::body($crate::Engine::WasmEdge).await
                }
            }
        }
    )*};
}
