//! What a call can fail with, split by who is to blame.

use medley_types::sentence;

use crate::name::Name;
use crate::status::Status;

/// An error from below, with its causes.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of the Task API failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such task, or it has no such exec process.
    #[error("{name} not found")]
    NotFound {
        /// What was asked for.
        name: Name,
    },
    /// The process that a signal is meant for has ended.
    #[error("process of {name} already finished")]
    Finished {
        /// Whose.
        name: Name,
    },
    /// The id is in use.
    #[error("{name} already exists")]
    Exists {
        /// What was to be made.
        name: Name,
    },
    /// Its state does not allow the call.
    #[error("cannot {verb} {name}: it is {status}")]
    IllegalState {
        /// What was called.
        name: Name,
        /// What was asked for.
        verb: &'static str,
        /// The state that it is in.
        status: Status,
    },
    /// It is not of the kind, or not in the condition, that the call needs.
    #[error("cannot {verb} {name}")]
    Precondition {
        /// What was called.
        name: Name,
        /// What was asked for.
        verb: &'static str,
        /// What is missing.
        source: Cause,
    },
    /// The shim ends.
    #[error("{name} came too late: the shim has no task left and ends; try again")]
    Ending {
        /// What was to be made.
        name: Name,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(#[source] Cause),
    /// This version does not have the call.
    #[error("{call} is not implemented by this version of the shim")]
    Unimplemented {
        /// The RPC's name.
        call: &'static str,
    },
    /// The runtime below could not do it.
    #[error("cannot {verb} {name}")]
    Runtime {
        /// What was called.
        name: Name,
        /// What was asked for.
        verb: &'static str,
        /// Why it failed.
        source: Cause,
    },
    /// The call's work was cut off by a fault in the shim.
    #[error("the shim failed inside while it handled {name}; its log says more")]
    Internal {
        /// What was called.
        name: Name,
    },
}

impl Error {
    /// The whole chain as one sentence, causes last.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}
