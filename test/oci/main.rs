//! The OCI runtime command line `medley`, and `runc` where both are to do the same.

mod bad_input;
mod crash;
mod exec;
mod features;
mod life;
mod limits;
mod mounts;
mod terminals;
mod wasm;
