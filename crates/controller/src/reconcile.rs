//! A node, brought nearer to what it is to be: labels, condition, events, and what KWasm left.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::names::{
    CONDITION, CONTROLLER, INSTALL, INSTALLER, KWASM_JOBS, KWASM_LABEL, KWASM_OPERATOR, TRUE,
};
use crate::state::{self, Seen, Verdict};

/// How soon is looked again at what no event tells of: KWasm's operator.
const AGAIN: Duration = Duration::from_secs(60);

/// After how long a node that could not be brought on is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The namespace of the events of nodes.
const OF_NODES: &str = "default";

/// Why a node could not be brought on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub(crate) struct Error {
    what: &'static str,
    source: kube::Error,
}

fn cannot(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error { what, source }
}

/// What all nodes are brought on with.
pub(crate) struct Context {
    client: Client,
    namespace: String,
    identity: String,
}

impl Context {
    pub(crate) fn new(client: Client, namespace: String, identity: String) -> Self {
        Self {
            client,
            namespace,
            identity,
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}

/// Brings one node on.
pub(crate) async fn reconcile(node: Arc<Node>, context: Arc<Context>) -> Result<Action, Error> {
    let name = node.name_any();
    let operator = operator(&context, &node).await?;
    let installers = installers(&context, &node).await?;
    let seen = Seen {
        node: &node,
        installers: &installers,
        operator: operator.as_deref(),
    };
    let held = label(&context, seen).await?;
    let verdict = held.or_else(|| state::verdict(seen));
    say(&context, &node, verdict.as_ref()).await?;
    let is_there = verdict.is_some_and(|verdict| verdict.is_ready);
    if is_there && operator.is_none() && state::is_marked_by_kwasm(&node) {
        clean(&context, &name).await?;
    }
    Ok(match operator {
        Some(_) => Action::requeue(AGAIN),
        None => Action::await_change(),
    })
}

/// What to do after a failure.
pub(crate) fn failed(node: Arc<Node>, error: &Error, _: Arc<Context>) -> Action {
    eprintln!("node {}: {error}", node.name_any());
    Action::requeue(RETRY)
}

/// KWasm's operator, where it may matter: for a node that is annotated.
async fn operator(context: &Context, node: &Node) -> Result<Option<String>, Error> {
    let is_settled = state::is_label_ours(node) && !state::is_marked_by_kwasm(node);
    if !state::is_annotated(node) || is_settled {
        return Ok(None);
    }
    let api: Api<Deployment> = Api::all(context.client.clone());
    let found = api
        .list(&ListParams::default().labels(KWASM_OPERATOR))
        .await
        .map_err(cannot("look for KWasm's operator"))?;
    let running = found.items.into_iter().find(|deployment| {
        let spec = deployment.spec.as_ref();
        spec.and_then(|spec| spec.replicas) != Some(0)
    });
    Ok(running.map(|deployment| {
        let namespace = deployment.namespace().unwrap_or_default();
        format!("{namespace}/{}", deployment.name_any())
    }))
}

/// The installer's Pods on a node that is or was asked for.
async fn installers(context: &Context, node: &Node) -> Result<Vec<Pod>, Error> {
    let is_concerned = state::is_annotated(node)
        || state::is_ready(node)
        || state::condition(node).is_some()
        || node.labels().contains_key(INSTALL);
    if !is_concerned {
        return Ok(Vec::new());
    }
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let which = ListParams::default()
        .labels(INSTALLER)
        .fields(&format!("spec.nodeName={}", node.name_any()));
    let found = api.list(&which).await;
    Ok(found.map_err(cannot("list the installer's Pods"))?.items)
}

/// Sets the label, or gives it up. By server-side apply: what others have set is not touched, and
/// the API server keeps who set what. Says it if a person has decided against it.
async fn label(context: &Context, seen: Seen<'_>) -> Result<Option<Verdict>, Error> {
    let wanted = state::wants_label(seen);
    if wanted == state::is_label_ours(seen.node) {
        return Ok(None);
    }
    let name = seen.node.name_any();
    let labels = if wanted {
        json!({ INSTALL: TRUE })
    } else {
        json!({})
    };
    let patch = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
    });
    let params = PatchParams::apply(CONTROLLER);
    match context
        .nodes()
        .patch(&name, &params, &Patch::Apply(&patch))
        .await
    {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(Verdict::trouble(
            "LabelHeld",
            format!(
                "the label {INSTALL} has another value, by another hand, which is left so; take the \
                 label away to have Medley installed"
            ),
        ))),
        Err(error) => Err(cannot("label the node")(error)),
    }
}

/// Sets the node's condition if it is to change, and tells of it in an event.
async fn say(context: &Context, node: &Node, verdict: Option<&Verdict>) -> Result<(), Error> {
    let before = state::condition(node);
    let patch = match (before, verdict) {
        (None, None) => return Ok(()),
        (Some(_), None) => json!({ "$patch": "delete", "type": CONDITION }),
        (_, Some(verdict)) if state::is_said(node, verdict) => return Ok(()),
        (_, Some(verdict)) => written(node, verdict),
    };
    let patch = json!({ "status": { "conditions": [patch] } });
    context
        .nodes()
        .patch_status(
            &node.name_any(),
            &PatchParams::default(),
            &Patch::Strategic(&patch),
        )
        .await
        .map_err(cannot("set the node's condition"))?;
    let was = before.and_then(|condition| condition.reason.as_deref());
    let is_news = was != verdict.map(|verdict| verdict.reason);
    match verdict {
        Some(verdict) if is_news => tell(context, node, verdict).await,
        Some(_) => Ok(()),
        None => {
            let gone = Verdict {
                is_ready: false,
                reason: "Removed",
                message: "Medley is not on the node any more".to_owned(),
                is_trouble: false,
            };
            tell(context, node, &gone).await
        }
    }
}

/// A condition as it is to be written.
fn written(node: &Node, verdict: &Verdict) -> Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = state::status(verdict.is_ready);
    let before = state::condition(node).filter(|before| before.status == status);
    let since = before.and_then(|before| before.last_transition_time.as_ref());
    json!({
        "type": CONDITION,
        "status": status,
        "reason": verdict.reason,
        "message": verdict.message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since.map_or(json!(now), |since| json!(since)),
    })
}

/// Tells of it in an event, as the kubelet does of its node: an Event of the core group in the namespace
/// `default`, which `kubectl describe node` looks for. An event of `events.k8s.io` that refers to a node,
/// which has no namespace, is taken in another namespace, which depends on the version of Kubernetes.
async fn tell(context: &Context, node: &Node, verdict: &Verdict) -> Result<(), Error> {
    let name = node.name_any();
    println!("node {name}: {}: {}", verdict.reason, verdict.message);
    let now = Timestamp::now();
    let kind = if verdict.is_trouble {
        "Warning"
    } else {
        "Normal"
    };
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(OF_NODES.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            kind: Some("Node".to_owned()),
            uid: Some(name.clone()),
            name: Some(name),
            ..ObjectReference::default()
        },
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message.clone()),
        type_: Some(kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some(CONTROLLER.to_owned()),
            host: None,
        }),
        reporting_component: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(context.identity.clone()),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(context.client.clone(), OF_NODES);
    let created = api.create(&PostParams::default(), &event).await;
    created.map(drop).map_err(cannot("publish an event"))
}

/// Takes away what KWasm's operator has left in the cluster for a node: its Jobs, and at last its
/// label, so that a failure in between is tried again.
async fn clean(context: &Context, node: &str) -> Result<(), Error> {
    let api: Api<Job> = Api::all(context.client.clone());
    let jobs = api
        .list(&ListParams::default().labels(KWASM_JOBS))
        .await
        .map_err(cannot("list KWasm's Jobs"))?;
    let of_node = |job: &&Job| {
        let spec = job.spec.as_ref().and_then(|job| job.template.spec.as_ref());
        spec.and_then(|pod| pod.node_name.as_deref()) == Some(node)
    };
    for job in jobs.iter().filter(of_node) {
        let api: Api<Job> =
            Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
        match api
            .delete(&job.name_any(), &DeleteParams::background())
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted.map_err(cannot("delete a Job of KWasm's"))?),
        }
    }
    let patch = json!({ "metadata": { "labels": { KWASM_LABEL: null } } });
    let patched = context
        .nodes()
        .patch(node, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    patched
        .map(drop)
        .map_err(cannot("take KWasm's label from the node"))
}
