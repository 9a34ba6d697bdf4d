//! Where a module's native code comes from: the node's cache of compiled modules.

pub mod cache;
mod digest;

pub use cache::{Cache, Key};
