//! The sandbox that a shim serves.

use super::{Fake, Test};
use crate::error::Error;
use medley_types::sandbox::SandboxRequest;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;
use tokio::time::Instant;

async fn create(test: &Test, id: &str) -> Result<(), Error> {
    let request = SandboxRequest {
        id: id.into(),
        ..Default::default()
    };
    test.service.create_sandbox(request).await
}

/// All who wait for it are answered.
#[tokio::test(start_paused = true)]
async fn a_pod_is_made_started_and_stopped() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    assert!(!test.service.sandbox_status("pod").unwrap().ready);
    assert_eq!(test.service.start_sandbox("pod").unwrap().pid, 7);
    assert!(test.service.sandbox_status("pod").unwrap().ready);
    let service = test.service.clone();
    let waits = tokio::spawn(async move { service.wait_sandbox("pod").await });
    test.service.stop_sandbox("pod").await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap().status, 0);
    let status = test.service.sandbox_status("pod").unwrap();
    assert!(!status.ready && status.exit.is_some());
    // Again, as containerd does.
    test.service.stop_sandbox("pod").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shim_serves_one_sandbox_and_knows_no_other() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    assert!(matches!(
        create(&test, "pod").await,
        Err(Error::Exists { .. })
    ));
    assert!(matches!(
        create(&test, "other").await,
        Err(Error::Exists { .. })
    ));
    let unknown = test.service.sandbox_status("other").unwrap_err();
    assert_eq!(unknown.sentence(), "sandbox \"other\" not found");
    assert!(test.service.stop_sandbox("other").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_made_leaves_the_shim_free_to_end() {
    let test = Test::new();
    test.fake.refuse.store(true, Ordering::Relaxed);
    let error = create(&test, "pod").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot create sandbox \"pod\": no network namespace"
    );
    test.service.shutdown_sandbox("pod").await.unwrap();
    test.service.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_measured_says_why() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    let error = test.service.sandbox_metrics("pod").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot measure sandbox \"pod\": no cgroup"
    );
    let error = test.service.sandbox_metrics("other").await.unwrap_err();
    assert_eq!(error.sentence(), "sandbox \"other\" not found");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_ten_seconds_for_what_cannot_be_killed() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    test.create("immortal").await.unwrap();
    test.service.start("immortal").await.unwrap();
    let before = Instant::now();
    test.service.stop_sandbox("pod").await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 10);
    assert!(!test.service.sandbox_status("pod").unwrap().ready);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_started_once() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    test.service.start_sandbox("pod").unwrap();
    let error = test.service.start_sandbox("pod").unwrap_err();
    assert!(error.sentence().contains("started before"), "{error}");
    test.service.stop_sandbox("pod").await.unwrap();
    let error = test.service.start_sandbox("pod").unwrap_err();
    assert!(error.sentence().contains("stopped"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_task_apis_shutdown_does_not_end_a_pod_without_containers() {
    let test = Test::new();
    create(&test, "pod").await.unwrap();
    test.service.shutdown();
    // The shim goes on: it would take no task otherwise.
    test.create("web").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stop_kills_what_runs_and_shutdown_removes_it() {
    let mut test = Test::running("web").await;
    create(&test, "pod").await.unwrap();
    test.service.stop_sandbox("pod").await.unwrap();
    let calls = test.fake.calls.lock().unwrap().clone();
    assert_eq!(calls[calls.len() - 2..], ["kill all 9", "end pod"]);
    test.service.shutdown_sandbox("pod").await.unwrap();
    test.service.ended().await;
    assert!(test.service.is_idle());
    assert_eq!(test.next(2).await, ["exit", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_by_itself_is_no_longer_ready() {
    let gate = Arc::new(Notify::new());
    let test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    create(&test, "pod").await.unwrap();
    test.service.start_sandbox("pod").unwrap();
    gate.notify_one();
    assert_eq!(test.service.wait_sandbox("pod").await.unwrap().status, 137);
    assert!(!test.service.sandbox_status("pod").unwrap().ready);
}
