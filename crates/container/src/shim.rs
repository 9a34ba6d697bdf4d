//! In the shim: making, starting and removing containers.
//!
//! Every function here may block for milliseconds: the caller runs them on threads that may wait.
//! Those that make a process with a terminal hand its bytes to the tokio runtime around them.

//!
//! | if you look for | it is in |
//! |---|---|
//! | what the Task API calls | `manager`, `container`, `exec`, `sandbox` |
//! | Create | `create`, with a table of its steps |
//! | helper processes | `helper_client`, `engine_binaries`, `prestarted_helper` |
//! | native code | `code_source`, `sealed_module`, `cache_slot`, `compile`, `compiler_limit` |
//! | what is on disk | `bundle_layout`, `state_file`, `recover` |

mod about;
mod application;
mod bundle_layout;
mod cache_slot;
mod code_source;
pub mod command;
mod compile;
mod compiler_limit;
mod container;
mod context;
mod create;
mod device_rules;
mod engine_binaries;
mod error;
mod exec;
mod helper_client;
mod hooks;
mod image_layers;
mod libcontainer_text;
mod live_container;
mod manager;
mod module;
mod mounts;
mod planned_cgroup;
mod prepare;
mod prepared_exec;
mod prestarted_helper;
mod reaper;
mod recorded_process;
mod recover;
mod resctrl;
pub mod rootfs;
pub mod sandbox;
mod sealed_module;
mod settings;
mod state_file;
mod status;
mod streams;
mod terminal;
mod unfinished;
mod user_namespace;

pub use code_source::WarmOutcome;
pub use compiler_limit::{MAX_COMPILERS, default_compilers};
pub use container::Container;
pub use engine_binaries::EngineBinary;
pub use error::Error;
pub use exec::{Exec, ExecRequest};
pub use image_layers::ImageModules;
pub use live_container::LiveContainer;
pub use manager::ContainerManager;
pub use reaper::reap_orphans;
pub use recover::remove_after_crash;
pub use settings::{CreateRequest, Settings};
