//! Medley under a containerd of its own, driven by the calls that `ctr` makes.

mod bad_input;
mod cache;
mod calls;
mod ctr;
mod dispatch;
mod events;
mod exits;
mod harness;
mod shim;
mod signals;
mod stdio;
mod surroundings;
mod versions;
