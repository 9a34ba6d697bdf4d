//! The engines of this binary.

use medley_dispatch::{EngineKind, Options};
use medley_engine::Engine;
use medley_engine_wasmtime::Wasmtime;

/// The engine of this kind, if it is built in.
pub(crate) fn built_in(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        EngineKind::Wasmtime => Some(&Wasmtime),
        EngineKind::Wasmedge | EngineKind::Wasmer => None,
    }
}

/// What dispatch may choose from.
pub(crate) fn options() -> Options {
    let kinds = [
        EngineKind::Wasmtime,
        EngineKind::Wasmedge,
        EngineKind::Wasmer,
    ];
    Options {
        default_engine: EngineKind::Wasmtime,
        built_in: kinds
            .into_iter()
            .filter(|kind| built_in(*kind).is_some())
            .collect(),
        foreign_elf: has_emulators(),
    }
}

/// Whether the node runs programs of other machines through `binfmt_misc`: qemu-user, Rosetta.
fn has_emulators() -> bool {
    /// How the file of a handler for ELF programs says what it is for.
    const ELF: &str = "magic 7f454c46";
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|handler| handler.contains(ELF))
}
