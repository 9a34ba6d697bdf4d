//! The controller on a real API server: `make test-controller`.
//!
//! The installer's part, a Pod and a label, is played by the test: there is no kubelet here.

mod cluster;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, LONG, NAMESPACE};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, NodeCondition, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

const NODE: &str = "node-1";
const INSTALL: &str = "medley.node/install";

/// What a test does with a node.
struct Bench {
    cluster: Cluster,
    client: Client,
    nodes: Api<Node>,
}

impl Bench {
    /// A cluster with one node, as a kubelet and KWasm's operator have left it.
    async fn new() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let client = cluster.client().await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let node = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": NODE, "labels": { "kwasm.sh/kwasm-provisioned": NODE } },
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
        let ready = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting" },
        ] } });
        let patch = Patch::Strategic(&ready);
        nodes
            .patch_status(NODE, &PatchParams::default(), &patch)
            .await?;
        Ok(Self {
            cluster,
            client,
            nodes,
        })
    }

    async fn patch(&self, metadata: Value) -> Result<()> {
        let patch = json!({ "metadata": metadata });
        let patch = Patch::Merge(&patch);
        self.nodes
            .patch(NODE, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn annotate(&self, value: Value) -> Result<()> {
        self.patch(json!({ "annotations": { "kwasm.sh/kwasm-node": value } }))
            .await
    }

    /// As the installer does it.
    async fn note_failure(&self, text: Value) -> Result<()> {
        self.patch(json!({ "annotations": { "medley.node/failure": text } }))
            .await
    }

    async fn label(&self, name: &str, value: Value) -> Result<()> {
        self.patch(json!({ "labels": { name: value } })).await
    }

    /// Waits for the node to be as `is` says.
    async fn until(&self, what: &str, is: impl Fn(&Node) -> bool) -> Result<Node> {
        let wait = await_condition(self.nodes.clone(), NODE, |node: Option<&Node>| {
            node.is_some_and(&is)
        });
        match tokio::time::timeout(LONG, wait).await {
            Ok(node) => node?.context("the node is gone"),
            Err(_) => {
                let said = self.cluster.said("one")?;
                anyhow::bail!("not {what}: {:?}; {said}", self.nodes.get(NODE).await?)
            }
        }
    }

    async fn until_said(&self, reason: &str) -> Result<NodeCondition> {
        let is =
            |node: &Node| said(node).is_some_and(|said| said.reason.as_deref() == Some(reason));
        let node = self.until(reason, is).await?;
        said(&node).cloned().context("no condition")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// A Pod of the installer on the node, in a state of its container.
    async fn installer(&self, state: Value) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "installer", "labels": { "app.kubernetes.io/name": "medley-installer" },
            },
            "spec": { "nodeName": NODE, "containers": [{ "name": "installer", "image": "i" }] },
        });
        let params = PatchParams::apply("test");
        self.pods()
            .patch("installer", &params, &Patch::Apply(&pod))
            .await?;
        let status = json!({ "status": { "containerStatuses": [{
            "name": "installer", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "state": state,
        }] } });
        let patch = Patch::Merge(&status);
        self.pods()
            .patch_status("installer", &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// The reasons of the events that `kubectl describe node` finds, in their order.
    async fn events(&self) -> Result<Vec<String>> {
        let api: Api<Event> = Api::all(self.client.clone());
        let of_node = format!(
            "involvedObject.kind=Node,involvedObject.name={NODE},involvedObject.uid={NODE},\
             involvedObject.namespace="
        );
        let found = api.list(&ListParams::default().fields(&of_node)).await?;
        let mut events = found.items;
        // Their names end with the time at which they were made, to the nanosecond.
        events.sort_by_key(|event| event.name_any());
        Ok(events
            .into_iter()
            .filter_map(|event| event.reason)
            .collect())
    }

    async fn holder(&self, is: impl Fn(&str) -> bool) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let held = |lease: Option<&Lease>| {
            let spec = lease.and_then(|lease| lease.spec.as_ref());
            is(spec
                .and_then(|spec| spec.holder_identity.as_deref())
                .unwrap_or_default())
        };
        let wait = await_condition(leases, "medley-controller", held);
        tokio::time::timeout(LONG, wait).await??;
        Ok(())
    }
}

fn said(node: &Node) -> Option<&NodeCondition> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter()
        .find(|condition| condition.type_ == "MedleyReady")
}

/// A Job as KWasm's operator makes it.
fn kwasm_job(name: &str, node: &str) -> Result<Job> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "labels": { "kwasm.sh/job": "true" } },
        "spec": { "template": { "spec": {
            "nodeName": node, "restartPolicy": "Never",
            "containers": [{ "name": "kwasm-provision", "image": "i" }],
        } } },
    }))?)
}

/// It is told of and cleaned as well.
#[tokio::test]
async fn an_annotated_node_is_labelled_and_all_of_it_undone() -> Result<()> {
    let bench = Bench::new().await?;
    let jobs: Api<Job> = Api::namespaced(bench.client.clone(), "default");
    for (name, node) in [
        ("node-1-provision-kwasm", NODE),
        ("other-provision-kwasm", "other"),
    ] {
        jobs.create(&PostParams::default(), &kwasm_job(name, node)?)
            .await?;
    }
    let _controller = bench.cluster.controller("one")?;
    bench.annotate(json!("true")).await?;
    let labelled = |node: &Node| {
        node.labels()
            .get(INSTALL)
            .is_some_and(|value| value == "true")
    };
    bench.until("labelled", labelled).await?;
    bench.until_said("NoInstaller").await?;

    bench
        .installer(json!({ "waiting": { "reason": "ContainerCreating" } }))
        .await?;
    bench.until_said("Installing").await?;
    // One that can't run, and one that runs and can't install.
    let failed = json!({ "terminated": { "exitCode": 1, "message": "no such program" } });
    bench.installer(failed).await?;
    let condition = bench.until_said("InstallFailed").await?;
    assert_eq!(condition.message.as_deref(), Some("no such program"));
    bench.installer(json!({ "running": {} })).await?;
    bench.until_said("Installing").await?;
    bench.note_failure(json!("the disk is full")).await?;
    let condition = bench.until_said("InstallFailed").await?;
    assert_eq!(condition.message.as_deref(), Some("the disk is full"));
    assert_eq!(condition.status, "False");

    bench.note_failure(Value::Null).await?;
    bench.label("medley.node/ready", json!("true")).await?;
    let condition = bench.until_said("Installed").await?;
    assert_eq!(condition.status, "True");
    assert!(condition.last_transition_time.is_some());
    let unmarked = |node: &Node| !node.labels().contains_key("kwasm.sh/kwasm-provisioned");
    let node = bench.until("without KWasm's label", unmarked).await?;
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    assert!(
        ready
            .into_iter()
            .any(|condition| condition.type_ == "Ready"),
        "the kubelet's is gone"
    );
    let left = jobs.list(&ListParams::default()).await?.items;
    let left: Vec<_> = left
        .iter()
        .filter(|job| job.metadata.deletion_timestamp.is_none())
        .collect();
    assert_eq!(
        left.iter().map(|job| job.name_any()).collect::<Vec<_>>(),
        ["other-provision-kwasm"]
    );

    bench.annotate(Value::Null).await?;
    bench
        .until("without our label", |node| {
            !node.labels().contains_key(INSTALL)
        })
        .await?;
    bench.until_said("Removing").await?;
    bench.label("medley.node/ready", Value::Null).await?;
    bench
        .pods()
        .delete("installer", &DeleteParams::default().grace_period(0))
        .await?;
    bench
        .until("without a condition", |node| said(node).is_none())
        .await?;
    let events = bench.events().await?;
    let all = [
        "NoInstaller",
        "Installing",
        "InstallFailed",
        "Installing",
        "InstallFailed",
        "Installed",
        "Removing",
        "Removed",
    ];
    let mut rest = events.iter();
    for reason in all {
        ensure!(
            rest.any(|event| event == reason),
            "no event {reason} where it belongs: {events:?}; {}",
            bench.cluster.said("one")?
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_people_have_decided_stays() -> Result<()> {
    let bench = Bench::new().await?;
    let _controller = bench.cluster.controller("one")?;
    bench.label(INSTALL, json!("false")).await?;
    bench.annotate(json!("true")).await?;
    let condition = bench.until_said("LabelHeld").await?;
    assert_eq!(condition.status, "False");
    // Set by hand, and asked for by the annotation: the label is both's, and stays with the one.
    bench.label(INSTALL, json!("true")).await?;
    bench.until_said("NoInstaller").await?;
    let both = |node: &Node| {
        let managers = node.metadata.managed_fields.iter().flatten();
        managers.into_iter().any(|entry| {
            entry.manager.as_deref() == Some("medley-controller")
                && entry.operation.as_deref() == Some("Apply")
        })
    };
    bench.until("applied", both).await?;
    bench.annotate(Value::Null).await?;
    let node = bench.until("given up", |node| !both(node)).await?;
    assert_eq!(node.labels().get(INSTALL).map(String::as_str), Some("true"));
    Ok(())
}

#[tokio::test]
async fn nothing_is_begun_beside_kwasms_operator() -> Result<()> {
    let bench = Bench::new().await?;
    let operator = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "kwasm-operator", "labels": { "app.kubernetes.io/name": "kwasm-operator" } },
        "spec": {
            "selector": { "matchLabels": { "app": "it" } },
            "template": {
                "metadata": { "labels": { "app": "it" } },
                "spec": { "containers": [{ "name": "it", "image": "i" }] },
            },
        },
    }))?;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(bench.client.clone(), "default");
    deployments
        .create(&PostParams::default(), &operator)
        .await?;
    let _controller = bench.cluster.controller("one")?;
    bench.annotate(json!("true")).await?;
    let condition = bench.until_said("KWasmOperatorRuns").await?;
    let message = condition.message.unwrap_or_default();
    assert!(message.contains("default/kwasm-operator"), "{message}");
    let node = bench.nodes.get(NODE).await?;
    assert!(!node.labels().contains_key(INSTALL), "{:?}", node.labels());
    deployments
        .delete("kwasm-operator", &DeleteParams::background())
        .await?;
    // No event of the node's tells of it; any change has it looked at again.
    bench.label("touched", json!("yes")).await?;
    bench
        .until("labelled", |node| node.labels().contains_key(INSTALL))
        .await?;
    Ok(())
}

#[tokio::test]
async fn one_controller_works_at_a_time_and_the_next_takes_over() -> Result<()> {
    let bench = Bench::new().await?;
    let mut one = bench.cluster.controller("one")?;
    bench.holder(|holder| holder == "one").await?;
    let two = bench.cluster.controller("two")?;
    // Killed, it leaves a lease that has to run out.
    one.0.kill()?;
    one.0.wait()?;
    bench.holder(|holder| holder == "two").await?;
    bench.annotate(json!("true")).await?;
    bench
        .until("labelled", |node| node.labels().contains_key(INSTALL))
        .await?;
    assert!(bench.cluster.said("two")?.contains("two has its lease"));
    // Told to stop, it gives the lease back.
    let mut two = two;
    let pid = two.0.id().to_string();
    let told = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()?;
    ensure!(told.success(), "kill: {told}");
    bench.holder(str::is_empty).await?;
    assert!(two.0.wait()?.success());
    Ok(())
}

#[tokio::test]
async fn a_controller_whose_lease_is_taken_ends() -> Result<()> {
    let bench = Bench::new().await?;
    let mut one = bench.cluster.controller("one")?;
    bench.holder(|holder| holder == "one").await?;
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), NAMESPACE);
    let taken = json!({ "spec": { "holderIdentity": "other" } });
    let patch = Patch::Merge(&taken);
    leases
        .patch("medley-controller", &PatchParams::default(), &patch)
        .await?;
    let ended = tokio::task::spawn_blocking(move || one.0.wait());
    assert!(!tokio::time::timeout(LONG, ended).await???.success());
    let said = bench.cluster.said("one")?;
    assert!(said.contains("has another holder"), "{said}");
    Ok(())
}
