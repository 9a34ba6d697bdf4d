//! Plain types that the other crates share, and errors as sentences. It depends on none of them.

mod cancel;
mod engine_kind;
pub mod layers;
pub mod metrics;
pub mod quoted;
mod rootfs;
pub mod sandbox;
mod sentence;

pub use cancel::Cancel;
pub use engine_kind::{EngineKind, UnknownEngine};
pub use rootfs::RootfsMount;
pub use sentence::sentence;
