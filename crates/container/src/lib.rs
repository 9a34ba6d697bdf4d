//! The libcontainer half: everything that makes, starts and removes a container.
//!
//! Three processes share this crate, and each module says in its name whose it is:
//!
//! | process | modules |
//! |---|---|
//! | `serve`, the shim | [`host`], [`cgroup`], [`devices`], [`pod`], [`rootfs`], [`spec`] |
//! | helper: creates one container and exits | [`helper`], `helper_create` |
//! | helper: adds a process to a container and exits | [`helper`], `helper_exec` |
//! | helper: makes a user namespace and exits | [`helper`], `helper_user_namespace` |
//! | helper: makes a pod's namespaces and exits | [`helper`], `helper_pod` |
//! | compiler: compiles one module and exits | [`helper`], `helper_compile` |
//! | helper: reads an image's Wasm layers and exits | [`helper`], `helper_image` |
//! | init: the container | `init_linux`, `init_wasm` |
//! | a process that was added | `exec_process`, and then as init |
//!
//! The shim never forks: it runs its own binary again, single-threaded, and hands it a request
//! and descriptors over an inherited socket (`protocol`). The helper clones itself into init
//! with libcontainer, answers with init's pid, and exits; init becomes the shim's child, the
//! shim being a subreaper.

pub mod cgroup;
mod confinement;
mod console;
pub mod devices;
mod exec_process;
pub mod helper;
mod helper_code;
mod helper_compile;
mod helper_create;
mod helper_exec;
mod helper_image;
mod helper_log;
mod helper_pod;
mod helper_user_namespace;
pub mod host;
mod init_linux;
mod init_wasm;
mod keyring;
mod life;
mod mounts;
pub mod pod;
mod propagation;
mod protocol;
pub mod rootfs;
mod schedule;
mod seccomp;
pub mod spec;
mod working_directory;
