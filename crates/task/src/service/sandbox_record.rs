//! The sandbox of a shim, and how far its life has come.

use std::sync::Arc;
use std::time::SystemTime;

use medley_types::sandbox::SandboxRequest;
use tokio::sync::watch;

use crate::exit::Exit;
use crate::sandbox::Sandbox;

/// The shim's pod, if it has one.
#[derive(Default)]
pub(super) enum SandboxSlot {
    /// It serves the containers of one that has a container to stand for it, or of none.
    #[default]
    None,
    /// CreateSandbox is under way.
    Reserved,
    Sandbox(Arc<SandboxRecord>),
}

/// A sandbox and how far its life has come.
pub(super) struct SandboxRecord {
    pub(super) request: SandboxRequest,
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) created_at: SystemTime,
    pub(super) state: watch::Sender<SandboxState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SandboxState {
    Created,
    Ready,
    Stopped(Exit),
}

/// What SandboxStatus tells.
#[derive(Debug, Clone, Copy)]
pub struct SandboxSnapshot {
    /// The process whose namespaces are the pod's.
    pub pid: u32,
    /// Whether containers may be made in it.
    pub ready: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl SandboxRecord {
    pub(super) fn snapshot(&self) -> SandboxSnapshot {
        let state = *self.state.borrow();
        SandboxSnapshot {
            pid: self.sandbox.pid(),
            ready: state == SandboxState::Ready,
            created_at: self.created_at,
            exit: match state {
                SandboxState::Stopped(exit) => Some(exit),
                SandboxState::Created | SandboxState::Ready => None,
            },
        }
    }

    pub(super) fn stopped(&self, status: u32) {
        self.ended(Exit {
            status,
            at: SystemTime::now(),
        });
    }

    pub(super) fn ended(&self, exit: Exit) {
        self.state.send_if_modified(|state| {
            let lives = !matches!(state, SandboxState::Stopped(_));
            if lives {
                *state = SandboxState::Stopped(exit);
            }
            lives
        });
    }
}
