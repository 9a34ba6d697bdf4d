//! The part of an OCI spec that dispatch needs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use medley_types::DEFAULT_PATH;
use oci_spec::runtime::{Mount, Spec};

use crate::error::Error;

static NO_ANNOTATIONS: LazyLock<HashMap<String, String>> = LazyLock::new(HashMap::new);

/// What dispatch reads of the spec, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `process.args`; empty when the spec has none.
    pub args: &'a [String],
    /// `process.env`, `NAME=value` each.
    pub env: &'a [String],
    /// `process.cwd`.
    pub cwd: &'a Path,
    /// `annotations`.
    pub annotations: &'a HashMap<String, String>,
    /// `process.user.uid`.
    pub uid: u32,
    /// `process.user.gid`.
    pub gid: u32,
    /// `mounts`, in the order in which they are made.
    pub mounts: &'a [Mount],
}

impl<'a> Request<'a> {
    /// Takes what dispatch needs from `spec`.
    ///
    /// # Errors
    /// [`Error::NoProcess`] if the spec has no `process`.
    pub fn from_spec(spec: &'a Spec) -> Result<Self, Error> {
        let process = spec.process().as_ref().ok_or(Error::NoProcess)?;
        Ok(Self {
            args: process.args().as_deref().unwrap_or_default(),
            env: process.env().as_deref().unwrap_or_default(),
            cwd: process.cwd(),
            annotations: spec.annotations().as_ref().unwrap_or(&NO_ANNOTATIONS),
            uid: process.user().uid(),
            gid: process.user().gid(),
            mounts: spec.mounts().as_deref().unwrap_or_default(),
        })
    }

    /// The annotation's value; an empty one counts as none.
    pub(crate) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// `PATH` of the container's environment. The last of several wins, as in runc.
    pub(crate) fn path(&self) -> &'a str {
        self.env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .filter(|path| !path.is_empty())
            .unwrap_or(DEFAULT_PATH)
    }
}
