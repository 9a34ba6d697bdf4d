//! Further processes of a task.

use super::{Error, Listed, Test, idle};
use crate::status::Status;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_execs_life_is_told_as_added_started_exit() {
    let mut test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    assert_eq!(test.service.exec_state("a", "e").unwrap().pid, 0);
    assert_eq!(test.service.start_exec("a", "e").await.unwrap(), 43);
    test.exec_exits(5);
    assert_eq!(test.service.wait("a", "e").await.unwrap().status, 5);
    let (pid, exit) = test.service.delete_exec("a", "e").await.unwrap();
    assert_eq!((pid, exit.status), (43, 5));
    assert_eq!(
        test.next(3).await,
        ["exec-added", "exec-started", "exec-exit"]
    );
    assert!(matches!(
        test.service.exec_state("a", "e"),
        Err(Error::NotFound { .. })
    ));
    test.exec("a", "e").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn inits_exit_is_told_after_those_of_its_execs() {
    let mut test = Test::running("a").await;
    test.exec("a", "never-started").await.unwrap();
    test.exec("a", "e").await.unwrap();
    test.service.start_exec("a", "e").await.unwrap();
    assert_eq!(
        test.next(3).await,
        ["exec-added", "exec-added", "exec-started"]
    );
    test.exit(137);
    idle().await;
    assert!(test.events.try_next().is_none(), "init's exit came first");
    test.exec_exits(137);
    assert_eq!(test.next(2).await, ["exec-exit", "exit"]);
}

#[tokio::test(start_paused = true)]
async fn an_exec_holds_inits_exit_up_for_ten_seconds_at_most() {
    let mut test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    test.service.start_exec("a", "e").await.unwrap();
    test.next(2).await;
    let before = Instant::now();
    test.exit(137);
    assert_eq!(test.service.wait("a", "").await.unwrap().status, 137);
    assert_eq!(before.elapsed().as_secs(), 10);
    assert_eq!(test.next(1).await, ["exit"]);
}

#[tokio::test(start_paused = true)]
async fn an_exec_id_is_in_use_until_the_exec_is_deleted() {
    let test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    let error = test.exec("a", "e").await.unwrap_err();
    assert_eq!(error.sentence(), "exec \"e\" of task \"a\" already exists");
    test.service.delete_exec("a", "e").await.unwrap();
    test.exec("a", "e").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_exec_that_the_runtime_refuses_frees_its_id() {
    let mut test = Test::running("a").await;
    let error = test.exec("a", "refused").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    assert_eq!(error.sentence(), "no such user");
    assert!(test.events.try_next().is_none());
    assert!(matches!(
        test.service.exec_state("a", "refused"),
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn only_a_running_task_takes_an_exec() {
    let test = Test::new();
    test.create("a").await.unwrap();
    let error = test.exec("a", "e").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot exec in task \"a\": it is created");
    test.service.start("a").await.unwrap();
    test.service.pause("a").await.unwrap();
    let error = test.exec("a", "e").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot exec in task \"a\": it is paused");
    test.service.resume("a").await.unwrap();
    test.exit(0);
    test.service.wait("a", "").await.unwrap();
    let error = test.exec("a", "e").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot exec in task \"a\": it is stopped");
}

#[tokio::test(start_paused = true)]
async fn an_exec_that_cannot_start_has_ended_and_tells_no_exit() {
    let mut test = Test::running("a").await;
    test.exec("a", "broken").await.unwrap();
    let error = test.service.start_exec("a", "broken").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot start exec \"broken\" of task \"a\": cannot execute"
    );
    assert_eq!(test.service.wait("a", "broken").await.unwrap().status, 255);
    test.service.delete_exec("a", "broken").await.unwrap();
    assert_eq!(test.next(1).await, ["exec-added"]);
    assert!(test.events.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_running_exec_is_not_deleted_and_a_dead_one_not_signalled() {
    let test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    assert!(matches!(
        test.service.kill_exec("a", "e", 15).await,
        Err(Error::IllegalState { .. })
    ));
    test.service.start_exec("a", "e").await.unwrap();
    let error = test.service.delete_exec("a", "e").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot delete exec \"e\" of task \"a\": it is running"
    );
    test.service.kill_exec("a", "e", 15).await.unwrap();
    assert_eq!(test.service.wait("a", "e").await.unwrap().status, 143);
    assert!(matches!(
        test.service.kill_exec("a", "e", 15).await,
        Err(Error::Finished { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_process_is_listed_with_the_exec_that_began_it() {
    let test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    test.service.start_exec("a", "e").await.unwrap();
    let listed = |pid, exec_id: Option<&str>| Listed {
        pid,
        exec_id: exec_id.map(str::to_owned),
    };
    assert_eq!(
        test.service.pids("a").await.unwrap(),
        [listed(42, None), listed(43, Some("e"))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_task_takes_its_execs_along() {
    let test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    test.exit(0);
    test.service.wait("a", "").await.unwrap();
    test.service.delete("a").await.unwrap();
    let calls = test.fake.calls.lock().unwrap().clone();
    assert!(calls.contains(&"delete exec".to_owned()), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_reaches_the_exec_that_is_named() {
    let test = Test::running("a").await;
    test.exec("a", "e").await.unwrap();
    test.service.close_stdin("a", "e").unwrap();
    assert!(test.service.close_stdin("a", "other").is_err());
    let calls = test.fake.calls.lock().unwrap().clone();
    assert_eq!(calls.last().unwrap(), "close exec's stdin");
    assert_eq!(
        test.service.exec_state("a", "e").unwrap().status,
        Status::Created
    );
}
