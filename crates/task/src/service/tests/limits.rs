//! Pause, limits, memory, terminals.

use super::{Error, Size, Test};
use crate::status::Status;
use std::sync::atomic::Ordering;

#[tokio::test(start_paused = true)]
async fn a_task_is_paused_and_resumed_and_both_are_told() {
    let mut test = Test::running("a").await;
    test.service.pause("a").await.unwrap();
    assert_eq!(test.service.state("a").unwrap().status, Status::Paused);
    let error = test.service.pause("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot pause task \"a\": it is paused");
    test.service.resume("a").await.unwrap();
    assert_eq!(test.service.state("a").unwrap().status, Status::Running);
    let error = test.service.resume("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot resume task \"a\": it is running");
    assert_eq!(test.next(2).await, ["paused", "resumed"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_paused_runs_on() {
    let mut test = Test::running("stuck").await;
    let error = test.service.pause("stuck").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot pause task \"stuck\": cannot freeze"
    );
    assert_eq!(test.service.state("stuck").unwrap().status, Status::Running);
    assert!(test.events.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_paused_task_that_is_killed_thaws_and_ends() {
    let mut test = Test::running("a").await;
    test.service.pause("a").await.unwrap();
    test.service.kill("a", 9, false).await.unwrap();
    assert_eq!(test.service.wait("a", "").await.unwrap().status, 137);
    let calls = test.fake.calls.lock().unwrap().clone();
    assert_eq!(calls.last().unwrap(), "resume");
    assert_eq!(test.next(2).await, ["paused", "exit"]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_for_want_of_memory_is_told_before_the_exit() {
    let mut test = Test::running("a").await;
    let container = test.container();
    container.oom.store(true, Ordering::Relaxed);
    container.memory.notify_one();
    assert_eq!(test.next(1).await, ["oom"]);
    // And one that woke no waiter.
    container.oom.store(true, Ordering::Relaxed);
    test.exit(137);
    assert_eq!(test.next(2).await, ["oom", "exit"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_update_says_why() {
    let test = Test::running("a").await;
    let error = test.service.update("a", b"{}".to_vec()).await.unwrap_err();
    assert!(matches!(error, Error::Precondition { .. }));
    assert_eq!(
        error.sentence(),
        "cannot update task \"a\": 1 MiB is in use"
    );
    test.exit(0);
    test.service.wait("a", "").await.unwrap();
    let error = test.service.update("a", b"{}".to_vec()).await.unwrap_err();
    assert_eq!(error.sentence(), "cannot update task \"a\": it is stopped");
}

#[tokio::test(start_paused = true)]
async fn only_a_terminal_has_a_size() {
    let test = Test::running("a").await;
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let error = test.service.resize("a", "", size).await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot resize the terminal of task \"a\": it has no terminal"
    );
    test.exec("a", "e").await.unwrap();
    test.service.resize("a", "e", size).await.unwrap();
}
