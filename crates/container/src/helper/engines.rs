//! The engines that this binary has.

use medley_engine::Engine;
use medley_types::EngineKind;

/// Gives the engine of a kind, if it is built in.
pub type Engines = fn(EngineKind) -> Option<&'static dyn Engine>;
