//! Native code, compiled once for a node.
//!
//! ```text
//! <dir>/               root's alone
//!   keys/<key>         what the entry is: which module by which engine, and the digest of its code
//!   code/<digest>      native code, by the digest of its own content
//!   used/<digest>      when the code was last used, and that it was found whole since the boot
//!   failed/<digest>    why there can be no code for a key (`failures`)
//!   locks/<key>        held while the key's code is compiled
//!   layers/<digest>    what is in a layer of an image (`layer_index`)
//!   sizes/<bytes>      there if an entry's module has this size (`sizes`)
//!   slots/<number>     held while a compiler runs
//!   limit              how much it may hold, such as 4G, where that is not the default
//! ```
//!
//! **Only the shim writes here,** and only what its own compiler made: no byte of an image is ever
//! taken for native code. An entry is found by a key that names everything it depends on, and is
//! used only if its content has the digest that the key's file says; both appear by `rename`, so
//! that a crash leaves an entry whole or not at all. A bad entry is removed and counts as missing.
//! A cache that can't be used costs time, never a start.
//!
//! The digest is fs-verity's. An entry is read once for each boot (`used`), as the common start is
//! not to pay by size; on a file system that has fs-verity the kernel goes on checking every page
//! that it reads.
//!
//! A process that maps an entry holds a lock on it (`flock`, which lasts as long as the mapping does),
//! and what is locked is never removed to make room: all replicas of a module share one copy.

mod error;
mod eviction;
mod failures;
pub(crate) mod files;
mod key;
mod last_use;
mod limits;
mod lock;
mod lookup;
pub(crate) mod open;
pub(crate) mod permissions;
mod sizes;
mod slots;
mod write;

pub use error::Error;
pub use eviction::{Entry, Policy, Pruned};
pub use failures::Failure;
pub use key::{Key, ModuleInfo, Record, size};
pub use limits::{DEFAULT_LIMIT, MAX_MODULE, parse_size};
pub use lock::{CompileLock, Lock};
pub use lookup::Found;
pub use open::Cache;
pub use slots::{Slot, Slots};

#[cfg(test)]
mod tests;
