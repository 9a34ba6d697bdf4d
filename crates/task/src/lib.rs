//! containerd's Task API and Sandbox API: RPCs, lifecycle states, exits and events.
//!
//! This crate knows neither Linux nor Wasm. It is given a [`Runtime`] that makes containers and
//! keeps the rules that containerd relies on: the order of events, one exit for every start,
//! an error with the right code for an illegal call. Protobuf stops in [`wire`].
//!
//! Follows containerd's `core/runtime/v2/README.md`.

pub mod error;
pub mod events;
mod exit;
pub mod name;
pub mod publish;
pub mod runtime;
pub mod sandbox;
pub mod service;
mod state_machine;
mod status;
mod task_record;
pub mod wire;

pub use error::Error;
pub use exit::Exit;
pub use name::Name;
pub use runtime::{Container, CreateRequest, ExecRequest, Process, Runtime, Size};
pub use sandbox::Sandbox;
pub use service::Service;
pub use status::Status;
