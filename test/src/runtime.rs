//! The runtime under test, and the one that tests the tests.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// A containerd runtime that a test can be run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Medley, `io.containerd.wasm.v1`.
    Medley,
    /// runc, `io.containerd.runc.v2`: a test of Linux behaviour that it does not pass is wrong.
    Runc,
}

impl Runtime {
    /// containerd's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Medley => "io.containerd.wasm.v1",
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    /// The CRI's runtime handler, as [`crate::Containerd`] configures it.
    pub fn handler(self) -> &'static str {
        match self {
            Self::Medley => "wasm",
            Self::Runc => "runc",
        }
    }

    /// The file name of its shim.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Medley => "containerd-shim-wasm-v1",
            Self::Runc => "containerd-shim-runc-v2",
        }
    }
}

/// The workspace's dir.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// Where what was built or fetched is kept between runs: `$MEDLEY_CACHE`, else
/// `target/medley-test` of the workspace.
///
/// # Errors
/// The dir cannot be made.
pub fn cache_dir() -> Result<PathBuf> {
    let dir = std::env::var_os("MEDLEY_CACHE")
        .map_or_else(|| workspace().join("target/medley-test"), PathBuf::from);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The shim under test: `$MEDLEY_SHIM`, else what `make build` leaves in `target`.
///
/// # Errors
/// There is no such file.
pub fn shim_path() -> Result<PathBuf> {
    let path = std::env::var_os("MEDLEY_SHIM").map_or_else(
        || {
            workspace()
                .join("target/x86_64-unknown-linux-gnu/release")
                .join(Runtime::Medley.binary())
        },
        PathBuf::from,
    );
    ensure!(
        path.is_file(),
        "the shim under test is not at {}: run `make build` first, or set MEDLEY_SHIM",
        path.display()
    );
    Ok(path.canonicalize()?)
}

/// Makes one test for each runtime out of an async function that takes a [`Runtime`]
/// and returns a `Result`: a module of the function's name with `medley` and `runc`.
#[macro_export]
macro_rules! each_runtime {
    ($($(#[$meta:meta])* async fn $name:ident($runtime:ident: Runtime) -> Result<()> $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body decides what it needs of its parent")]
            use super::*;
            async fn body($runtime: $crate::Runtime) -> $crate::Result<()> $body
            #[tokio::test]
            async fn medley() -> $crate::Result<()> {
                body($crate::Runtime::Medley).await
            }
            #[tokio::test]
            async fn runc() -> $crate::Result<()> {
                body($crate::Runtime::Runc).await
            }
        }
    )*};
}
