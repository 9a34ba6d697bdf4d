//! The Wasm engines that a guest's behaviour is the same on.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::runtime::shim_path;
use crate::spec::Spec;

/// An engine that a test can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Modules and components.
    Wasmtime,
    /// Modules.
    WasmEdge,
    /// Modules.
    Wasmer,
}

impl Engine {
    /// Its name in annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::WasmEdge => "wasmedge",
            Self::Wasmer => "wasmer",
        }
    }

    /// The spec of a container that is run by it.
    #[must_use]
    pub fn runs(self, spec: Spec) -> Spec {
        spec.annotation("run.oci.handler", self.name())
    }

    /// The program that has it: the shim under test, or one beside.
    ///
    /// # Errors
    /// There is no such file.
    pub fn program(self) -> Result<PathBuf> {
        let shim = shim_path()?;
        let advice = match self {
            Self::Wasmtime => return Ok(shim),
            Self::WasmEdge => {
                "run `make build`, or leave these tests out by `make test WASMEDGE=off`"
            }
            Self::Wasmer => {
                "run `make build WASMER=on`, or leave these tests out by `make test` without it"
            }
        };
        let mut name = shim.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{}", self.name()));
        let path = shim.with_file_name(name);
        ensure!(path.is_file(), "there is no {}: {advice}", path.display());
        Ok(path)
    }
}

/// Makes one test for each engine out of an async function that takes an [`Engine`] and returns a
/// `Result`: a module of the function's name with `wasmtime`, and with `wasmedge::does_too` and
/// `wasmer::does_too`, which a run without that engine leaves out by its name.
#[macro_export]
macro_rules! each_engine {
    ($($tests:tt)*) => { $crate::on_engines!([wasmtime, wasmedge, wasmer] $($tests)*); };
}

/// The same for what Wasmer does otherwise, as docs/engines.md says.
#[macro_export]
macro_rules! each_engine_but_wasmer {
    ($($tests:tt)*) => { $crate::on_engines!([wasmtime, wasmedge] $($tests)*); };
}

/// The same for the engines that have a program beside the shim.
#[macro_export]
macro_rules! each_engine_beside {
    ($($tests:tt)*) => { $crate::on_engines!([wasmedge, wasmer] $($tests)*); };
}

/// Modules of tests on a list of engines.
#[doc(hidden)]
#[macro_export]
macro_rules! on_engines {
    ($engines:tt $($(#[$meta:meta])* async fn $name:ident($engine:ident: Engine) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($engine: $crate::Engine) -> $crate::Result<()> $body
            $crate::tests_on!($engines);
        }
    )*};
}

/// Tests of the function `body` around them.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_on {
    ([$($engine:ident),*]) => { $($crate::tests_on!($engine);)* };
    (wasmtime) => {
        #[tokio::test]
        async fn wasmtime() -> $crate::Result<()> {
            body($crate::Engine::Wasmtime).await
        }
    };
    (wasmedge) => { $crate::tests_on!(wasmedge WasmEdge); };
    (wasmer) => { $crate::tests_on!(wasmer Wasmer); };
    ($module:ident $engine:ident) => {
        mod $module {
            #[tokio::test]
            async fn does_too() -> $crate::Result<()> {
                $crate::Engine::$engine.program()?;
                super::body($crate::Engine::$engine).await
            }
        }
    };
}
