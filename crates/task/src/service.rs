//! The calls of the Task API, in domain types.

mod exec;
mod exit_events;
mod life_cycle;
mod limits;
mod outcome;
mod registry;
mod reservation;
mod sandbox;
mod sandbox_record;

pub use life_cycle::{Listed, Snapshot};
pub use registry::Service;
pub use sandbox_record::SandboxSnapshot;

#[cfg(test)]
mod tests;
