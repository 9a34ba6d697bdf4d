//! containerd's Task API and Sandbox API: RPCs, lifecycle states, exits and events.
//!
//! This crate knows neither Linux nor Wasm. It is given a [`Runtime`] that makes containers and
//! keeps the rules that containerd relies on: the order of events, one exit for every start,
//! an error with the right code for an illegal call. Protobuf stops in [`wire`].
//!
//! Follows containerd's `core/runtime/v2/README.md`.

pub mod error;
pub mod events;
pub mod name;
pub mod pod;
pub mod publish;
pub mod runtime;
pub mod service;
mod state;
pub mod wire;

pub use error::Error;
pub use name::Name;
pub use runtime::{Container, CreateRequest, ExecRequest, Exit, Process, Runtime, Size};
pub use service::Service;
