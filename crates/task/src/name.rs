//! How a process, or a pod, is called in messages.

use std::fmt;

/// A task's init, one of its further processes, or a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The task's id, or the pod's.
    pub id: String,
    /// The exec id, if it is not init.
    pub exec_id: Option<String>,
    /// Whether it is a pod.
    pub is_sandbox: bool,
}

impl Name {
    /// As the Task API names it: an empty `exec_id` is init.
    #[must_use]
    pub fn new(id: &str, exec_id: &str) -> Self {
        Self {
            id: id.to_owned(),
            exec_id: Some(exec_id.to_owned()).filter(|exec_id| !exec_id.is_empty()),
            is_sandbox: false,
        }
    }

    /// The sandbox that the shim serves.
    #[must_use]
    pub fn sandbox(id: &str) -> Self {
        Self {
            is_sandbox: true,
            ..Self::task(id)
        }
    }

    /// The task itself.
    #[must_use]
    pub fn task(id: &str) -> Self {
        Self::new(id, "")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec_id {
            Some(exec_id) => write!(f, "exec {exec_id:?} of task {:?}", self.id),
            None if self.is_sandbox => write!(f, "sandbox {:?}", self.id),
            None => write!(f, "task {:?}", self.id),
        }
    }
}
