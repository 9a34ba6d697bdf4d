//! What the shim and its helpers say to each other: one request, one reply, as JSON, with
//! descriptors beside it.
//!
//! | file | holds |
//! |---|---|
//! | `socket` | how requests and replies go over the socket |
//! | `request` | each thing that a helper can be asked for, and the type of its reply |
//! | `container` | a container that the shim has prepared for the helper to make |
//! | `reply` | what helpers reply |
//! | `descriptors` | descriptors as named parts of a message |

mod container;
mod descriptors;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod reply;
mod request;
mod socket;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub use fuzz::request as fuzz_request;

pub(crate) use container::{
    BoundDev, CgroupMount, IdMappedMount, IdMappings, Node, NodeKind, PreparedContainer, Staged,
    TerminalRequest,
};
pub(crate) use reply::{
    CacheMiss, Compiled, Failure, FetchedApplication, FetchedEntrypoint, FetchedModule,
    MadeProcess, MakeReply, Namespace, Reply, SandboxNamespaces, UserNamespace,
};
pub(crate) use request::{
    Code, Compile, Component, Create, CreateFds, Exec, ExecFds, FetchApplication, FetchEntrypoint,
    FetchLayer, Fingerprint, Guest, HelperCall, ImageRef, ListLayers, MakeSandbox,
    MakeUserNamespace, Module, PreparedProcess, Program, Request, ResolveImage,
};
pub(crate) use socket::{ReceiveError, receive_reply, send_reply};

/// What init writes to the status pipe right before its program runs. A pipe that ends without it
/// belongs to an init that never came so far.
pub(crate) const STARTED: &[u8] = b"+";

/// The number that the first of a container's namespaces has in the helper, as its spec says. Far
/// above all that a helper opens; the others follow.
pub(crate) const FIRST_NAMESPACE: u32 = 900;
