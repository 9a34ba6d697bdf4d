//! What a node is to have, and what is to be said of it: decided from what was seen alone.

use k8s_openapi::api::core::v1::{ContainerStatus, Node, NodeCondition, Pod};

use crate::names::{
    CONDITION, CONTROLLER, FAILURE, INSTALL, KWASM_ANNOTATION, KWASM_LABEL, READY, TRUE,
};

/// Longest text of an installer's that is passed on. Events take 1 kB.
const MAX_MESSAGE: usize = 700;

/// What the cluster has for a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) node: &'a Node,
    /// The installer's Pods on it.
    pub(crate) installers: &'a [Pod],
    /// KWasm's operator, as `namespace/name`, if it runs.
    pub(crate) operator: Option<&'a str>,
}

/// What is said of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_ready: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Whether a person has to do something.
    pub(crate) is_trouble: bool,
}

impl Verdict {
    fn good(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_ready: true,
            reason,
            message: message.into(),
            is_trouble: false,
        }
    }

    fn under_way(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_ready: false,
            ..Self::good(reason, message)
        }
    }

    pub(crate) fn trouble(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_trouble: true,
            ..Self::under_way(reason, message)
        }
    }
}

/// What the installer does on a node, as its Pods have it.
#[derive(Debug, PartialEq, Eq)]
enum Installer {
    Absent,
    Working,
    Failing(String),
}

/// Whether the node's annotation asks for Medley.
pub(crate) fn is_annotated(node: &Node) -> bool {
    annotation(node, KWASM_ANNOTATION) == Some(TRUE)
}

/// Whether KWasm's operator has marked the node.
pub(crate) fn is_marked_by_kwasm(node: &Node) -> bool {
    label(node, KWASM_LABEL).is_some()
}

/// Whether the node has Medley, as the installer says.
pub(crate) fn is_ready(node: &Node) -> bool {
    label(node, READY) == Some(TRUE)
}

/// Whether the label that asks for the installer is one that this controller has set. People may set
/// it too, and then it is theirs.
pub(crate) fn is_label_ours(node: &Node) -> bool {
    let key = format!("f:{INSTALL}");
    let managed = node.metadata.managed_fields.iter().flatten();
    managed
        .filter(|entry| {
            entry.manager.as_deref() == Some(CONTROLLER)
                && entry.operation.as_deref() == Some("Apply")
        })
        .filter_map(|entry| entry.fields_v1.as_ref())
        .any(|fields| fields.0["f:metadata"]["f:labels"].get(&key).is_some())
}

/// Whether this controller is to set the label that asks for the installer.
///
/// KWasm's operator would put its shims back, so a node is left alone while it runs; but one that has
/// Medley already is not undone for it.
pub(crate) fn wants_label(seen: Seen<'_>) -> bool {
    is_annotated(seen.node) && (seen.operator.is_none() || is_label_ours(seen.node))
}

/// What there is to say of a node, or nothing of one that has nothing to do with Medley.
pub(crate) fn verdict(seen: Seen<'_>) -> Option<Verdict> {
    let asked = label(seen.node, INSTALL) == Some(TRUE) || wants_label(seen);
    if !asked {
        return not_asked(seen);
    }
    let installer = installer(seen);
    Some(match (is_ready(seen.node), installer) {
        (true, Installer::Failing(said)) => Verdict {
            is_trouble: true,
            ..Verdict::good(
                "UpgradeFailed",
                format!("what was installed before is in place; the installer fails: {said}"),
            )
        },
        (true, _) => Verdict::good("Installed", "the handler is there, and asked for"),
        (false, Installer::Failing(said)) => Verdict::trouble("InstallFailed", said),
        (false, Installer::Working) => Verdict::under_way("Installing", "the installer is at work"),
        (false, Installer::Absent) => Verdict::under_way(
            "NoInstaller",
            "no installer has come yet: its DaemonSet has to be there, and to tolerate the node's taints",
        ),
    })
}

fn not_asked(seen: Seen<'_>) -> Option<Verdict> {
    if is_annotated(seen.node)
        && let Some(operator) = seen.operator
    {
        return Some(Verdict::trouble(
            "KWasmOperatorRuns",
            format!(
                "KWasm's operator, {operator}, would put its shims back: remove it first, with helm \
                 uninstall; {INSTALL} is set then"
            ),
        ));
    }
    match (is_ready(seen.node), installer(seen)) {
        (_, Installer::Failing(said)) => Some(Verdict::trouble("RemovalFailed", said)),
        (true, _) | (_, Installer::Working) => Some(Verdict::under_way(
            "Removing",
            "the installer takes Medley away",
        )),
        (false, Installer::Absent) => None,
    }
}

/// The node's condition as it is.
pub(crate) fn condition(node: &Node) -> Option<&NodeCondition> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|condition| condition.type_ == CONDITION)
}

/// Whether the node's condition says just this.
pub(crate) fn is_said(node: &Node, verdict: &Verdict) -> bool {
    condition(node).is_some_and(|said| {
        said.status == status(verdict.is_ready)
            && said.reason.as_deref() == Some(verdict.reason)
            && said.message.as_deref() == Some(&verdict.message)
    })
}

/// A condition's status.
pub(crate) fn status(is_ready: bool) -> &'static str {
    if is_ready { "True" } else { "False" }
}

fn label<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    let all = node.metadata.annotations.as_ref()?;
    all.get(key).map(String::as_str)
}

/// What the installer itself says on the node counts first: it runs on when it fails, for it has to be there
/// to undo what there is. Of one that can't even run its Pod tells.
fn installer(seen: Seen<'_>) -> Installer {
    let said = annotation(seen.node, FAILURE).map(|said| tail(said.trim()).to_owned());
    let said = said.filter(|said| !said.is_empty());
    if let Some(said) = said.or_else(|| seen.installers.iter().find_map(failure)) {
        return Installer::Failing(said);
    }
    if seen.installers.is_empty() {
        Installer::Absent
    } else {
        Installer::Working
    }
}

/// Why a Pod of the installer does not come to its end, if it doesn't.
fn failure(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().flatten();
    let all = all.chain(status.container_statuses.iter().flatten());
    all.filter_map(failure_of_container).next()
}

fn failure_of_container(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref();
    let failed = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        let ended = state?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| {
            let said = ended.message.as_deref().unwrap_or_default().trim();
            match said {
                "" => format!("{} ended with status {}", container.name, ended.exit_code),
                said => tail(said).to_owned(),
            }
        })
    };
    if let Some(said) = failed(state) {
        return Some(said);
    }
    let waiting = state?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    if reason == "CrashLoopBackOff" {
        return failed(container.last_state.as_ref());
    }
    // What a container waits for that has not begun: these two are no fault.
    if ["", "ContainerCreating", "PodInitializing"].contains(&reason) {
        return None;
    }
    let said = waiting.message.as_deref().unwrap_or_default();
    Some(tail(&format!("{reason}: {said}")).to_owned())
}

/// The end of a text, which tells most.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_MESSAGE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests;
