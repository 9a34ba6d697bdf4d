//! `install`: all of it or nothing, and back if it does not come up.

use crate::args::Settings;
use crate::check;
use crate::cri::Peer;
use crate::error::{Error, told};
use crate::node::Node;
use crate::plan::{self, Plan, libraries};
use crate::run::Runner;
use crate::service::{self, Moment};
use crate::transaction::{Committed, Step, Transaction};

/// Does it; says what was done.
pub(crate) fn install(settings: Settings) -> Result<String, Error> {
    let dry_run = settings.dry_run;
    let node = Node::open(settings, !dry_run)?;
    let plan = plan::install(&node)?;
    let notes: String = plan
        .notes
        .iter()
        .map(|note| format!("note: {note}\n"))
        .collect();
    let shown = plan.shown(&node);
    if plan.is_empty() {
        return Ok(format!(
            "{notes}{}: nothing to change\n",
            node.distribution.name()
        ));
    }
    if dry_run {
        return Ok(format!("{shown}{notes}"));
    }
    let stale = plan.stale.clone();
    let name = node.distribution.name();
    let mut said = notes;
    if !plan.planned.is_empty() {
        let done = apply(&node, plan)?;
        let shim = node.root.shown(&node.shim());
        said += &format!("{name}: installed {}\n{done}", shim.display());
    }
    said += &libraries::sweep(&node, &stale)?;
    Ok(said)
}

fn apply(node: &Node, plan: Plan) -> Result<String, Error> {
    let moment = Moment::of(node, plan.changes_configuration())?;
    let peer = node.peer(plan::effective(node)?.as_ref());
    let (candidate, handlers) = (plan.candidate.clone(), plan.handlers.clone());
    let is_configured = plan.changes_configuration();
    let (steps, _) = plan.steps(node)?;
    let change = Change {
        node,
        peer,
        requested: &handlers,
        removed: &[],
        moment,
    };
    let mut said = String::new();
    change.make(steps, |transaction| {
        let checked = check::check(node, &candidate, transaction, &handlers)?;
        if is_configured && !checked && node.runner != Runner::Nowhere {
            said += "the configuration was not checked: no containerd was found that could\n";
        }
        Ok(())
    })?;
    said += &format!("handlers: {}\n", handlers.join(", "));
    if is_configured && moment == Moment::Never {
        said += &format!("{}\n", service::advice(&node.root, node.distribution));
    }
    if moment == Moment::Last {
        service::restart(node)?;
    }
    Ok(said)
}

/// A change of the node, and how it is seen to be a good one.
pub(crate) struct Change<'n> {
    pub(crate) node: &'n Node,
    pub(crate) peer: Peer,
    /// The handlers that have to be there afterwards, and those that have not.
    pub(crate) requested: &'n [String],
    pub(crate) removed: &'n [String],
    pub(crate) moment: Moment,
}

impl Change<'_> {
    /// Makes it, or leaves everything as it was. `check` sees what waits beside its place.
    pub(crate) fn make(
        &self,
        steps: Vec<Step>,
        check: impl FnOnce(&Transaction<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let transaction = Transaction::stage(&self.node.root, steps)?;
        if let Err(error) = check(&transaction) {
            return Err(back(error, transaction.roll_back()));
        }
        let committed = transaction.commit()?;
        let shim = if self.requested.is_empty() {
            Ok(())
        } else {
            info(self.node)
        };
        if let Err(error) = shim {
            return Err(back(error, committed.roll_back()));
        }
        if self.moment == Moment::Within
            && let Err(error) = self.restart()
        {
            return Err(self.take_back(error, committed));
        }
        committed.keep()
    }

    /// Has the configuration taken over, and sees that it was.
    fn restart(&self) -> Result<(), Error> {
        service::restart(self.node)?;
        let (root, wait) = (&self.node.root, self.node.settings.wait);
        self.peer.wait(root, self.requested, self.removed, wait)
    }

    /// Puts everything back, and the runtime on its feet.
    fn take_back(&self, error: Error, committed: Committed<'_>) -> Error {
        let (root, wait) = (&self.node.root, self.node.settings.wait);
        let restored = committed.roll_back().and_then(|()| {
            service::restart(self.node)?;
            self.peer.wait(root, &[], &[], wait)
        });
        back(error, restored)
    }
}

/// The error behind which everything is as it was, or what is not.
fn back(error: Error, restored: Result<(), Error>) -> Error {
    match restored {
        Ok(()) => error,
        Err(back) => Error::HalfWay {
            what: told(&error),
            back: Box::new(back),
        },
    }
}

/// Has the shim say what it is, where it is now: its directory may not let programs run.
fn info(node: &Node) -> Result<(), Error> {
    let shim = node.shim();
    let wrong = |said: String| Error::Info {
        path: node.root.shown(&shim),
        said,
    };
    match node.runner.run(&shim, &["-info"], None) {
        Ok(None) => Ok(()),
        Ok(Some(said)) if is_runtime_info(&said) => Ok(()),
        Ok(Some(said)) => Err(wrong(format!("it printed {} bytes", said.len()))),
        Err(error) => Err(wrong(told(&error))),
    }
}

/// Whether it is a `RuntimeInfo` message: its first field is the runtime type.
fn is_runtime_info(said: &[u8]) -> bool {
    let name = crate::names::RUNTIME.as_bytes();
    said.windows(name.len()).any(|part| part == name)
}
