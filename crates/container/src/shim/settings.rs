//! What a caller asks for.

use std::num::NonZeroU32;
use std::path::PathBuf;

use medley_io::Stdio;
use medley_types::{Cancel, EngineKind, RootfsMount};
use serde::{Deserialize, Serialize};

use super::compiler_limit::default_compilers;

/// A container to make.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    pub id: String,
    pub bundle: PathBuf,
    /// What to mount as its rootfs.
    pub rootfs: Vec<RootfsMount>,
    pub stdio: Stdio,
    /// What the runtime options say of it.
    pub settings: Settings,
    /// What gives it up while it is made.
    pub cancel: Cancel,
}

/// What the runtime options say of a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Where native code is kept; nowhere, if `None`.
    pub cache: Option<PathBuf>,
    /// The engine of a module that asks for none, instead of the shim's.
    pub default_engine: Option<EngineKind>,
    /// Whether the root is moved instead of pivoted.
    pub no_pivot_root: bool,
    /// Whether systemd makes the cgroup that a scope's name stands for; told from the node, if
    /// `None`.
    pub systemd_cgroup: Option<bool>,
    /// Bytes of stack of a guest of which its spec has no limit.
    pub stack: Option<u64>,
    /// Whether its processes keep the session keyring that the shim has.
    pub no_new_keyring: bool,
    /// How many compilers may run at a time; told from the node, if `None`.
    pub compilers: Option<NonZeroU32>,
}

impl Settings {
    pub(super) fn compilers(&self) -> NonZeroU32 {
        self.compilers.unwrap_or_else(default_compilers)
    }
}
