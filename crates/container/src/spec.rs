//! The OCI spec: reading it, and what a Wasm container changes in it.
//!
//! | file | holds |
//! |---|---|
//! | `file` | reading a bundle's `config.json`, writing a changed one |
//! | `asked` | what of a spec is not done, and refused |
//! | `facts` | what a spec says of a container |
//! | `change` | what a Linux and a Wasm container change in it |
//! | `container_spec` | a spec that was read and checked |
//! | `inherit` | what an exec has from its container |
//! | `words` | JSON that is read as runc reads it |

pub(crate) mod asked;
mod change;
mod container_spec;
pub(crate) mod devices;
pub(crate) mod environment;
mod facts;
mod file;
mod inherit;
mod memory_policy;
pub(crate) mod mount_flags;
mod nul;
pub(crate) mod propagation;
pub(crate) mod seccomp;
#[cfg(test)]
mod tests;
pub(crate) mod words;

pub(crate) use change::{is_for_wasm, leave_cwd_to_init};
pub(crate) use container_spec::{ContainerSpec, Features};
pub(crate) use facts::{
    cgroups_path, has_option, has_own_network_namespace, host_id, is_bind, labels, root_of,
};
pub use facts::{groups, names_scope, preopens, rootfs, uid, uid_of};
pub(crate) use file::warn_of_unknown;
pub use file::{Error, annotations, load, wants_terminal};
pub(crate) use inherit::{beyond_permitted, capabilities, inherit};
