//! Where a module and its native code come from: the layers of images in containerd's content
//! store, and the node's cache of compiled modules.

pub mod application;
pub mod artifact;
pub mod cache;
pub mod decompress;
pub mod digest;
pub mod entrypoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod layer_index;
mod platform;
pub mod store;

pub use cache::{Cache, Key};
