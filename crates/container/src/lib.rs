//! Everything that makes, starts and removes a container.
//!
//! A directory is a process, or what two of them share:
//!
//! | module | process |
//! |---|---|
//! | [`shim`] | `serve`, which answers containerd's Task API |
//! | [`helper`] | the same binary run again: makes a container, adds a process to one, compiles a module, reads an image, and exits |
//! | `init` | what a container runs: its first process, and those that exec adds |
//! | `protocol` | what the shim and its helpers say to each other, as types |
//! | [`spec`] | the OCI runtime spec, as every one of them reads it |
//! | `filter` | a seccomp filter, made by one of them and put in force by another |
//! | `hooks` | how the hooks of a spec are run, by each of them |
//! | `confinement` | the labels of AppArmor and SELinux that each of them has to do with |
//!
//! The shim never forks: it runs its own binary again, single-threaded, and hands it a request
//! and descriptors over an inherited socket (`protocol`). The helper clones itself into init
//! with libcontainer, answers with init's pid, and exits; init becomes the shim's child, the
//! shim being a subreaper.

#![allow(
    missing_docs,
    reason = "only this project uses the crate: a doc line that repeats a name says nothing"
)]

mod confinement;
mod filter;
pub mod helper;
mod hooks;
mod init;
mod protocol;
#[cfg(any(test, fuzzing))]
pub use protocol::fuzz_request;
pub mod shim;
pub mod spec;
