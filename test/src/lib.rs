//! What Medley's end-to-end tests and its demo are made of: private containerds,
//! images built on the spot, Wasm guests compiled from source, clients of
//! containerd's task API and of the CRI, and a check that nothing is left behind.
//!
//! Everything here drives the real programs. A machine without root, containerd
//! or a Wasm compiler makes a test fail with a sentence that says what is missing.

pub mod client;
pub mod containerd;
pub mod cri;
pub mod debian;
pub mod dns;
pub mod docker;
pub mod engine;
pub mod events;
pub mod guests;
pub mod http;
pub mod images;
pub mod kills;
pub mod leftovers;
mod loopback;
pub mod net;
pub mod oci;
pub mod peer;
pub mod plot;
pub mod podman;
pub mod proc;
pub mod programs;
pub mod redis;
pub mod registry;
pub mod runtime;
pub mod scenario;
pub mod shim;
pub mod spec;
pub mod spin;
pub mod stale;
pub mod stdio;
pub mod tls;

pub use anyhow::{Context, Error, Result, anyhow, bail, ensure};
pub use client::{Client, Container, Finished, Task};
pub use containerd::{Containerd, Options};
pub use cri::{Cri, CriContainer, Pod, PodContainer, PodOptions};
pub use docker::{Docker, Storage};
pub use engine::Engine;
pub use images::{ArtifactBuilder, Image, ImageBuilder};
pub use oci::Oci;
pub use registry::Registry;
pub use runtime::Runtime;
pub use scenario::{Running, Scenario};
pub use spec::Spec;
