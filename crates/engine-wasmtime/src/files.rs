//! A guest's files, as a Linux program of its container finds them: with the links of its image, and
//! the streams of its process among them.
//!
//! | file | holds |
//! |---|---|
//! | `resolve` | where a path leads, with the rootfs as `/` |
//! | `dirs` | the dirs that a guest has open |
//! | `streams` | its streams, by the names of their files |
//! | `module`, `preview1`, `preview0`, `paths`, `numbers` | the calls of a module |
//! | `component_files`, `component`, `component_0_3` | those of a component |
//! | `opened` | what is kept with a component's store |

mod component;
mod component_0_3;
mod component_files;
mod dirs;
#[cfg(test)]
mod linux;
mod module;
mod numbers;
mod opened;
mod paths;
mod preview0;
mod preview1;
mod resolve;
mod streams;

pub(crate) use component_files::{Files, WasiFiles};
pub(crate) use opened::Opened;
pub(crate) use preview1::Preview1;
