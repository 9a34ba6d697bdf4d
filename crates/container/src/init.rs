//! What a container runs: its first process, and those that exec adds.

pub(crate) mod exec;
pub(crate) mod late_filter;
pub(crate) mod lifeline;
pub(crate) mod linux;
mod null;
pub(crate) mod start_hooks;
mod terminal;
pub(crate) mod wasm;
mod working_dir;

use std::rc::Rc;

use medley_cgroup::guest_memory_limit::LimitChannel;

use linux::LinuxInit;
use wasm::WasmInit;

/// What a process is going to do.
pub(crate) enum Init {
    Linux(LinuxInit),
    Wasm(WasmInit),
}

impl Init {
    /// By which a guest's process hears of its limits.
    pub(crate) fn channel(&self) -> Option<Rc<LimitChannel>> {
        match self {
            Self::Linux(_) => None,
            Self::Wasm(init) => Some(init.channel()),
        }
    }
}
