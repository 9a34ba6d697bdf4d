//! Medley under a containerd of its own, driven by the calls that `ctr` makes.

mod bad_input;
mod binary;
mod cache;
mod calls;
mod cancel;
mod cgroups;
mod crash;
mod ctr;
mod dispatch;
mod events;
mod exec;
mod exits;
mod harness;
mod hooks;
mod metrics;
mod oom;
mod pause;
mod pid_namespaces;
mod restart;
mod security;
mod shim;
mod signals;
mod stdio;
mod surroundings;
mod update;
mod versions;
