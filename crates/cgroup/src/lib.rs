//! A container's cgroup, as the shim needs it: which processes are in it, what it uses, its end.
//!
//! All of it is done here, by path, because libcgroups looks every controller up in
//! `/proc/self/mountinfo` for each call: on a node with thousands of mounts that is most of a
//! container's time. Only systemd's scopes are made by libcgroups. The kernel is asked for the paths
//! once, right after init was made, which also tells where systemd put it.

mod at_create;
mod cgroup;
pub mod compilers;
mod device_files;
mod error;
mod files;
mod freezer;
pub mod guest_memory_limit;
mod hierarchies;
mod make;
mod metrics;
mod mount;
mod oom;
mod paths;
mod processes;
mod sub_cgroup;
mod update;

pub use at_create::{DeferredLimits, MakeError};
pub use cgroup::Cgroup;
pub use error::Error;
pub use hierarchies::{Hierarchy, hierarchies};
pub use make::UnifiedEntry;
pub use mount::{MOUNT, is_v2};
pub use oom::OomWatch;
pub use paths::{no_systemd, prepare_for_move};
pub use sub_cgroup::{SubCgroup, SubCgroupError};
pub use update::UpdateError;
