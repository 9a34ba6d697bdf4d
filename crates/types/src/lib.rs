//! Plain types that the other crates share, and errors as sentences. It depends on none of them.

mod cancel;
mod engines;
pub mod exit_status;
pub mod layers;
pub mod metrics;
pub mod quoted;
mod rootfs;
pub mod sandbox;
mod sentence;
mod stdio;

pub use cancel::Cancel;
pub use engines::{EngineDescriptor, EngineKind, EngineProgram, UnknownEngine};
pub use rootfs::RootfsMount;
pub use sentence::{os_error, sentence};
pub use stdio::StdioPaths;

/// Where a program without a slash in its name is looked for if the environment has no `PATH`, as by runc.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
