use super::Listed;
use crate::error::Error;
use crate::runtime::{CreateRequest, Size};
use fake::{Fake, Test, give_up, idle};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

#[tokio::test(start_paused = true)]
async fn a_life_is_told_as_create_start_exit_delete() {
    let mut test = Test::new();
    assert_eq!(test.create("a").await.unwrap(), 42);
    assert_eq!(test.service.start("a").await.unwrap(), 42);
    test.exit(3);
    assert_eq!(test.service.wait("a", "").await.unwrap().status, 3);
    let (pid, exit) = test.service.delete("a").await.unwrap();
    assert_eq!((pid, exit.status), (42, 3));
    assert_eq!(test.next(4).await, ["create", "start", "exit", "delete"]);
    assert!(matches!(
        test.service.state("a"),
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_exit_before_start_is_through_is_told_after_the_start() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    test.create("a").await.unwrap();
    let service = test.service.clone();
    let start = tokio::spawn(async move { service.start("a").await });
    idle().await;
    assert_eq!(test.next(1).await, ["create"]);
    assert!(
        test.events.try_next().is_none(),
        "the exit overtook the start"
    );
    gate.notify_one();
    start.await.unwrap().unwrap();
    assert_eq!(test.next(2).await, ["start", "exit"]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_tells_nothing_and_frees_the_id() {
    let mut test = Test::new();
    test.fake.refuse.store(true, Ordering::Relaxed);
    let error = test.create("a").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot create task \"a\": entrypoint not found"
    );
    assert!(test.events.try_next().is_none());
    test.fake.refuse.store(false, Ordering::Relaxed);
    test.create("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_tells_an_exit_and_no_start() {
    let mut test = Test::new();
    test.create("broken").await.unwrap();
    let error = test.service.start("broken").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot start task \"broken\": cannot execute"
    );
    assert_eq!(test.next(2).await, ["create", "exit"]);
    test.service.delete("broken").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_id_is_in_use_from_the_first_create_on() {
    let gate = Arc::new(Notify::new());
    let test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    let service = test.service.clone();
    let slow = tokio::spawn(async move {
        service
            .create(CreateRequest {
                id: "slow".into(),
                ..Default::default()
            })
            .await
    });
    idle().await;
    assert!(matches!(
        test.create("slow").await,
        Err(Error::Exists { .. })
    ));
    assert!(matches!(
        test.service.state("slow"),
        Err(Error::NotFound { .. })
    ));
    gate.notify_one();
    slow.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_create_does_not_delay_another_task() {
    let gate = Arc::new(Notify::new());
    let test = Test::with(Fake {
        gate: Some(gate),
        ..Fake::default()
    });
    let service = test.service.clone();
    tokio::spawn(async move {
        service
            .create(CreateRequest {
                id: "slow".into(),
                ..Default::default()
            })
            .await
    });
    idle().await;
    test.create("quick").await.unwrap();
    assert_eq!(test.service.pids("quick").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_a_whole_task() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    let create = test.create("slow");
    give_up(create).await;
    gate.notify_one();
    assert_eq!(test.next(1).await, ["create"]);
    test.service.state("slow").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_running_task_cannot_be_deleted() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    let error = test.service.delete("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot delete task \"a\": it is running");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_never_started_is_killed_and_deleted() {
    let mut test = Test::new();
    test.create("a").await.unwrap();
    let (_, exit) = test.service.delete("a").await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(test.next(3).await, ["create", "exit", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_failed_can_be_tried_again() {
    let test = Test::new();
    test.create("stuck").await.unwrap();
    test.service.start("stuck").await.unwrap();
    test.exit(0);
    test.service.wait("stuck", "").await.unwrap();
    let error = test.service.delete("stuck").await.unwrap_err();
    assert!(
        error.sentence().ends_with("device or resource busy"),
        "{error}"
    );
    test.service.delete("stuck").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_cannot_be_signalled_but_its_container_can() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    test.exit(0);
    test.service.wait("a", "").await.unwrap();
    assert!(matches!(
        test.service.kill("a", 15, false).await,
        Err(Error::Finished { .. })
    ));
    test.service.kill("a", 9, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_starts_once() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    let error = test.service.start("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot start task \"a\": it is running");
}

#[tokio::test(start_paused = true)]
async fn everyone_who_waits_hears_of_the_exit() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    let waits: Vec<_> = (0..8)
        .map(|_| {
            let service = test.service.clone();
            tokio::spawn(async move { service.wait("a", "").await })
        })
        .collect();
    test.exit(9);
    for wait in waits {
        assert_eq!(wait.await.unwrap().unwrap().status, 9);
    }
    assert_eq!(test.service.wait("a", "").await.unwrap().status, 9);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_ignored_while_a_task_is_left() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.shutdown();
    give_up(test.service.ended()).await;
    test.service.delete("a").await.unwrap();
    test.service.shutdown();
    test.service.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_ends_a_create_that_hangs() {
    let test = Test::with(Fake {
        gate: Some(Arc::new(Notify::new())),
        ..Fake::default()
    });
    let create = test.create("hung");
    give_up(create).await;
    let error = test.service.delete("hung").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(test.service.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_for_a_create_that_its_caller_gave_up() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    let create = test.create("slow");
    give_up(create).await;
    let service = test.service.clone();
    let delete = tokio::spawn(async move { service.delete("slow").await });
    idle().await;
    gate.notify_one();
    delete.await.unwrap().unwrap();
    assert_eq!(test.next(3).await, ["create", "exit", "delete"]);
    assert!(test.service.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_waited_for_a_create_that_failed_finds_nothing() {
    let gate = Arc::new(Notify::new());
    let test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    test.fake.refuse.store(true, Ordering::Relaxed);
    let create = test.create("slow");
    give_up(create).await;
    let service = test.service.clone();
    let delete = tokio::spawn(async move { service.delete("slow").await });
    idle().await;
    gate.notify_one();
    assert!(matches!(delete.await.unwrap(), Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_start_failed_can_be_deleted_at_once() {
    let test = Test::new();
    test.create("broken").await.unwrap();
    test.service.start("broken").await.unwrap_err();
    test.service.delete("broken").await.unwrap();
}

mod exec;
mod fake;
mod limits;
mod sandbox;
