//! In init: the `startContainer` hooks, which run inside of the container, under its filter and with its
//! rights, right before its program.

use std::cell::RefCell;
use std::rc::Rc;

use oci_spec::runtime::{ContainerState, Hook, State};

use crate::hooks::{self, HookFailed, Moment};

/// Those of a container. Clones share them: they are known once init is about to be made.
#[derive(Clone, Default)]
pub(crate) struct StartHooks(Rc<RefCell<Option<Known>>>);

/// The hooks, and what they are told.
type Known = (Vec<Hook>, State);

impl StartHooks {
    /// Has them run, and told `state`.
    pub(crate) fn set(&self, hooks: Vec<Hook>, state: State) {
        *self.0.borrow_mut() = Some((hooks, state));
    }

    /// Runs them, those that bring no environment with that of the program.
    pub(crate) fn run(&self, env: &[String]) -> Result<(), HookFailed> {
        let Some((hooks, state)) = self.0.take() else {
            return Ok(());
        };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let moment = Moment {
            name: "startContainer",
            state: &hooks::told(&state, ContainerState::Created, own),
            cwd: None,
            env,
            in_container: true,
        };
        moment.run(Some(&hooks))
    }
}
