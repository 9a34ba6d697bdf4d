//! The engine's settings, the same for every guest.

use wasmer::Engine;
use wasmer::sys::{Cranelift, EngineBuilder};

/// An engine that compiles, and loads what an equal one compiled. Makes no thread.
pub(crate) fn engine() -> Engine {
    EngineBuilder::new(Cranelift::new()).engine().into()
}
