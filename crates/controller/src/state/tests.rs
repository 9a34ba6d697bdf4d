use super::{Seen, condition, is_label_ours, is_said, verdict, wants_label};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

fn node(annotations: Value, labels: Value, managed: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {
            "name": "n1", "annotations": annotations, "labels": labels, "managedFields": managed,
        },
    }))
    .unwrap()
}

fn annotated(labels: Value) -> Node {
    node(json!({"kwasm.sh/kwasm-node": "true"}), labels, json!([]))
}

/// What the API server notes of a label that this controller has applied.
fn ours() -> Value {
    json!([{
        "manager": "medley-controller", "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:medley.node/install": {}}}},
    }])
}

fn pod(state: Value, last: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "installer-x"},
        "status": {"containerStatuses": [{
            "name": "install", "image": "i", "imageID": "i", "ready": false, "restartCount": 1,
            "state": state, "lastState": last,
        }]},
    }))
    .unwrap()
}

fn seen<'a>(node: &'a Node, installers: &'a [Pod]) -> Seen<'a> {
    Seen {
        node,
        installers,
        operator: None,
    }
}

fn reason(seen: Seen<'_>) -> Option<(&'static str, bool, bool)> {
    verdict(seen).map(|said| (said.reason, said.is_ready, said.is_trouble))
}

#[test]
fn a_node_that_nothing_asks_for_is_left_alone() {
    for annotations in [json!({}), json!({"kwasm.sh/kwasm-node": "false"})] {
        let plain = node(annotations, json!({}), json!([]));
        assert!(!wants_label(seen(&plain, &[])));
        assert_eq!(verdict(seen(&plain, &[])), None);
    }
}

#[test]
fn an_annotated_node_is_labelled_and_told_of_until_it_is_ready() {
    let fresh = annotated(json!({}));
    assert!(wants_label(seen(&fresh, &[])));
    assert_eq!(
        reason(seen(&fresh, &[])),
        Some(("NoInstaller", false, false))
    );
    let labelled = annotated(json!({"medley.node/install": "true"}));
    let creating = pod(
        json!({"waiting": {"reason": "ContainerCreating"}}),
        json!({}),
    );
    assert_eq!(
        reason(seen(&labelled, &[creating])),
        Some(("Installing", false, false))
    );
    let ready = annotated(json!({"medley.node/install": "true", "medley.node/ready": "true"}));
    let running = pod(json!({"running": {}}), json!({}));
    assert_eq!(
        reason(seen(&ready, &[running])),
        Some(("Installed", true, false))
    );
}

/// Without an annotation too.
#[test]
fn a_label_that_people_set_counts_and_stays_theirs() {
    let theirs = node(json!({}), json!({"medley.node/install": "true"}), json!([]));
    assert!(!wants_label(seen(&theirs, &[])));
    assert!(!is_label_ours(&theirs));
    assert_eq!(
        reason(seen(&theirs, &[])),
        Some(("NoInstaller", false, false))
    );
}

#[test]
fn what_the_installer_said_last_is_passed_on() {
    let labelled = annotated(json!({"medley.node/install": "true"}));
    let said = "the handler wasm runs io.containerd.other.v1 already\n";
    let terminated = json!({"terminated": {"exitCode": 1, "message": said}});
    let crashing = pod(
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        terminated.clone(),
    );
    for failing in [crashing, pod(terminated, json!({}))] {
        let said = verdict(seen(&labelled, std::slice::from_ref(&failing))).unwrap();
        assert_eq!((said.reason, said.is_trouble), ("InstallFailed", true));
        assert_eq!(
            said.message,
            "the handler wasm runs io.containerd.other.v1 already"
        );
    }
    let pulling = pod(
        json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}),
        json!({}),
    );
    let said = verdict(seen(&labelled, &[pulling])).unwrap();
    assert_eq!(said.message, "ErrImagePull: no such image");
    let mute = pod(json!({"terminated": {"exitCode": 3}}), json!({}));
    assert_eq!(
        verdict(seen(&labelled, &[mute])).unwrap().message,
        "install ended with status 3"
    );
}

/// The installer's container runs on when it fails, so that its Pod shows nothing.
#[test]
fn what_the_installer_notes_on_the_node_is_passed_on() {
    let running = pod(json!({"running": {}}), json!({}));
    let noted = |labels, text: &str| {
        let annotations = json!({"kwasm.sh/kwasm-node": "true", "medley.node/failure": text});
        node(annotations, labels, json!([]))
    };
    let install = json!({"medley.node/install": "true"});
    let both = json!({"medley.node/install": "true", "medley.node/ready": "true"});
    for (labels, expected) in [
        (install.clone(), ("InstallFailed", false, true)),
        (both, ("UpgradeFailed", true, true)),
    ] {
        let failing = noted(labels, "the disk is full");
        let pods = std::slice::from_ref(&running);
        assert_eq!(reason(seen(&failing, pods)), Some(expected));
        let said = verdict(seen(&failing, pods)).unwrap();
        assert!(said.message.ends_with("the disk is full"), "{said:?}");
    }
    let leaving = node(
        json!({"medley.node/failure": "pods run"}),
        json!({}),
        json!([]),
    );
    assert_eq!(
        reason(seen(&leaving, &[])),
        Some(("RemovalFailed", false, true))
    );
    let well = noted(install, "");
    assert_eq!(
        reason(seen(&well, &[running])),
        Some(("Installing", false, false))
    );
}

#[test]
fn a_node_keeps_what_it_has_when_an_upgrade_fails() {
    let ready = annotated(json!({"medley.node/install": "true", "medley.node/ready": "true"}));
    let failing = pod(
        json!({"terminated": {"exitCode": 1, "message": "no"}}),
        json!({}),
    );
    assert_eq!(
        reason(seen(&ready, &[failing])),
        Some(("UpgradeFailed", true, true))
    );
}

#[test]
fn a_long_text_is_cut_between_characters_and_its_end_is_kept() {
    let labelled = annotated(json!({"medley.node/install": "true"}));
    let said = format!("{}the end", "ü".repeat(2000));
    let failing = pod(
        json!({"terminated": {"exitCode": 1, "message": said}}),
        json!({}),
    );
    let said = verdict(seen(&labelled, &[failing])).unwrap().message;
    assert!(said.len() <= 700 && said.ends_with("the end"), "{said}");
}

#[test]
fn nothing_is_begun_or_undone_while_kwasms_operator_runs() {
    let fresh = annotated(json!({}));
    let beside = |node| Seen {
        node,
        installers: &[],
        operator: Some("kwasm/kwasm-operator"),
    };
    assert!(!wants_label(beside(&fresh)));
    let said = verdict(beside(&fresh)).unwrap();
    assert_eq!((said.reason, said.is_trouble), ("KWasmOperatorRuns", true));
    assert!(said.message.contains("kwasm/kwasm-operator"), "{said:?}");
    let labels = json!({"medley.node/install": "true", "medley.node/ready": "true"});
    let mine = node(json!({"kwasm.sh/kwasm-node": "true"}), labels, ours());
    assert!(wants_label(beside(&mine)));
    assert_eq!(reason(beside(&mine)), Some(("Installed", true, false)));
}

#[test]
fn a_node_not_asked_for_any_more_is_told_of_until_clean() {
    let leaving = node(json!({}), json!({"medley.node/ready": "true"}), ours());
    assert!(!wants_label(seen(&leaving, &[])));
    assert_eq!(
        reason(seen(&leaving, &[])),
        Some(("Removing", false, false))
    );
    let failing = pod(
        json!({"terminated": {"exitCode": 1, "message": "containers run"}}),
        json!({}),
    );
    assert_eq!(
        reason(seen(&leaving, &[failing])),
        Some(("RemovalFailed", false, true))
    );
    let clean = node(json!({}), json!({}), json!([]));
    assert_eq!(verdict(seen(&clean, &[])), None);
}

#[test]
fn the_label_is_ours_only_if_we_applied_it() {
    let with = |managed| node(json!({}), json!({"medley.node/install": "true"}), managed);
    assert!(is_label_ours(&with(ours())));
    let mut updated = ours();
    updated[0]["operation"] = json!("Update");
    assert!(!is_label_ours(&with(updated)));
    let mut other = ours();
    other[0]["manager"] = json!("kubectl");
    assert!(!is_label_ours(&with(other)));
    let mut without = ours();
    without[0]["fieldsV1"] = json!({});
    assert!(!is_label_ours(&with(without)));
}

#[test]
fn a_condition_is_written_only_where_it_would_change() {
    let mut node = annotated(json!({"medley.node/install": "true", "medley.node/ready": "true"}));
    let said = verdict(seen(&node, &[])).unwrap();
    assert!(condition(&node).is_none() && !is_said(&node, &said));
    node.status = serde_json::from_value(json!({"conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "MedleyReady", "status": "True", "reason": said.reason, "message": said.message},
    ]}))
    .unwrap();
    assert!(is_said(&node, &said));
    let other = super::Verdict {
        message: "other".to_owned(),
        ..said
    };
    assert!(!is_said(&node, &other));
}
