//! A fault of libcontainer's, as a user reads it.

use std::fmt;
use std::io;

use medley_types::quoted::Quoted;
use rustix::io::Errno;

/// What libcontainer could not do.
#[derive(Debug)]
pub struct Fault {
    pub(in super::super) step: Step,
    /// What failed, and on what.
    pub(super) what: String,
    /// The system's word, if it is known.
    pub(super) cause: Option<Errno>,
    /// What would help.
    pub(super) cure: String,
}

/// The kinds of faults about which the container's spec says more than libcontainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Step {
    WorkingDir,
    /// A `createContainer` hook.
    Hook,
    /// A sysctl that the kernel does not have.
    UnknownSysctl,
    /// A bind mount, whose source init may know by another path than the spec.
    Bind,
    Other,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, cause: Option<Errno>, cure: &str) -> Self {
        Self {
            step: Step::Other,
            what: what.into(),
            cause,
            cure: cure.to_owned(),
        }
    }

    /// A fault of a step about which the spec says more.
    pub(super) fn of(step: Step, what: impl Into<String>, cause: Option<Errno>) -> Self {
        Self {
            step,
            ..Self::new(what, cause, "")
        }
    }

    /// The system's word.
    pub(in super::super) fn into_cause(self) -> io::Error {
        self.cause
            .map_or_else(|| io::Error::other(self.what), io::Error::from)
    }

    /// The same, with what a program wrote.
    pub(super) fn saying(mut self, words: Option<&str>) -> Self {
        if let Some(words) = words {
            self.what = format!("{}, saying {}", self.what, shown(words));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(errno) = self.cause {
            write!(f, ": {}", io::Error::from(errno))?;
        }
        if !self.cure.is_empty() {
            write!(f, "; {}", self.cure)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// A text of the spec in a sentence.
pub(super) fn shown(text: &str) -> String {
    Quoted::text(text).to_string()
}
