//! Plain types that the other crates share, and errors as sentences. It depends on nothing.

mod cancel;
pub mod metrics;
mod rootfs;
pub mod sandbox;
mod sentence;

pub use cancel::Cancel;
pub use rootfs::RootfsMount;
pub use sentence::sentence;
