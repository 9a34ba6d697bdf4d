//! What a node offers to dispatch.

use medley_types::EngineKind;

/// What this node offers.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine of a module that asks for none.
    pub default_engine: EngineKind,
    /// The engines of this binary.
    pub built_in: Vec<EngineKind>,
    /// Whether ELF programs for other machines are let through, because the node has `binfmt_misc`
    /// handlers (such as qemu-user's) that may run them; else they are refused by name.
    pub foreign_elf: bool,
}

impl Default for Options {
    /// Wasmtime alone; no foreign programs.
    fn default() -> Self {
        Self {
            default_engine: EngineKind::Wasmtime,
            built_in: vec![EngineKind::Wasmtime],
            foreign_elf: false,
        }
    }
}
