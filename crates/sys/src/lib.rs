//! The OS calls that need raw system calls or careful ordering: passing file descriptors,
//! pidfds, the read-only clone of our own binary, name look-ups, fs-verity.
//!
//! One of the three places where `unsafe` is allowed; everything else in the project calls
//! these functions.

#![allow(unsafe_code, reason = "the project's home of raw system calls")]

pub mod capabilities;
pub mod child;
pub mod children;
pub mod clone;
pub mod device_filter;
pub mod empty_mounts;
pub mod in_root;
pub mod kernel_file;
pub mod keyring;
pub mod lifeline;
pub mod memory;
pub mod message;
pub mod mount;
pub mod names;
pub mod namespaces;
pub mod network;
pub mod own_binary;
pub mod pidfd;
pub mod schedule;
pub mod seccomp;
pub mod signal_fd;
pub mod signals;
pub mod spawn;
pub mod title;
pub mod trace;
pub mod user_namespace;
pub mod verity;
pub mod watch;
