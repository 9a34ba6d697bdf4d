//! What a call can fail with, split by who is to blame.

use crate::state::Status;

/// An error from below, with its causes.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of the Task API failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such task.
    #[error("task {id:?} not found")]
    NoSuchTask {
        /// The id asked for.
        id: String,
    },
    /// The task has no such exec process.
    #[error("exec {exec_id:?} of task {id:?} not found")]
    NoSuchExec {
        /// The task.
        id: String,
        /// The exec id asked for.
        exec_id: String,
    },
    /// The process that a signal is meant for has ended.
    #[error("process of task {id:?} already finished")]
    Finished {
        /// The task.
        id: String,
    },
    /// The id is in use.
    #[error("task {id:?} already exists")]
    Exists {
        /// The id asked for.
        id: String,
    },
    /// The task's state does not allow the call.
    #[error("cannot {verb} task {id:?}: it is {status}")]
    IllegalState {
        /// The task.
        id: String,
        /// What was asked for.
        verb: &'static str,
        /// The state that it is in.
        status: Status,
    },
    /// The shim ends.
    #[error("task {id:?} came too late: the shim has no task left and ends; try again")]
    Ending {
        /// The id asked for.
        id: String,
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
    #[error("cannot {verb} task {id:?}")]
    Runtime {
        /// The task.
        id: String,
        /// What was asked for.
        verb: &'static str,
        /// Why it failed.
        source: Cause,
    },
    /// The call's work was cut off by a fault in the shim.
    #[error("the shim failed inside while it handled task {id:?}; its log says more")]
    Internal {
        /// The task.
        id: String,
    },
}

impl Error {
    /// The whole chain as one sentence, causes last.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}

/// An error and its causes as one sentence: `a: b: c`. A cause that its parent already quotes
/// is not repeated.
#[must_use]
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
