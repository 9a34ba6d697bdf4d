//! Plain types that the other crates share, and errors as sentences. It depends on nothing.

mod given_up;
pub mod metrics;
mod rootfs;
pub mod sandbox;
mod sentence;

pub use given_up::{Caller, GivenUp};
pub use rootfs::RootfsMount;
pub use sentence::sentence;
