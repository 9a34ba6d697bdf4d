//! The names of this program.

/// This program's.
pub(crate) const NAME: &str = "containerd-shim-wasm-v1";

/// The runtime type that containerd knows this shim by.
pub(crate) const RUNTIME: &str = "io.containerd.wasm.v1";
