use super::{Listed, Service};
use crate::error::{Cause, Error};
use crate::events::{Event, Events};
use crate::metrics::Metrics;
use crate::pod::{Pod, PodRequest};
use crate::runtime::{
    CallError, Container, CreateRequest, ExecRequest, Exit, KillError, Process, Runtime, Size,
};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, watch};

/// A runtime whose containers do as the test says, and which records what was asked of them.
#[derive(Default)]
struct Fake {
    calls: Arc<Mutex<Vec<String>>>,
    refuse: AtomicBool,
    /// Held by a test to keep Create or Start under way.
    gate: Option<Arc<Notify>>,
    last: Mutex<Option<Arc<FakeContainer>>>,
}

struct FakeContainer {
    calls: Arc<Mutex<Vec<String>>>,
    exit: watch::Sender<Option<u32>>,
    gate: Option<Arc<Notify>>,
    broken: AtomicBool,
    stuck: AtomicBool,
    memory: Notify,
    oom: AtomicBool,
    execs: Mutex<Vec<Arc<FakeExec>>>,
}

#[async_trait]
impl Runtime for Fake {
    async fn create(&self, request: CreateRequest) -> Result<Arc<dyn Container>, Cause> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("create {}", request.id));
        if request.id == "slow" {
            self.gate.as_ref().unwrap().notified().await;
        }
        if self.refuse.load(Ordering::Relaxed) {
            return Err("entrypoint not found".into());
        }
        let container = Arc::new(FakeContainer {
            calls: Arc::clone(&self.calls),
            exit: watch::Sender::new(None),
            gate: self.gate.clone(),
            broken: AtomicBool::new(request.id == "broken"),
            stuck: AtomicBool::new(request.id == "stuck"),
            memory: Notify::new(),
            oom: AtomicBool::new(false),
            execs: Mutex::default(),
        });
        *self.last.lock().unwrap() = Some(Arc::clone(&container));
        Ok(container)
    }

    async fn create_pod(&self, request: PodRequest) -> Result<Arc<dyn Pod>, Cause> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("create pod {}", request.id));
        if self.refuse.load(Ordering::Relaxed) {
            return Err("no network namespace".into());
        }
        Ok(Arc::new(FakePod {
            calls: Arc::clone(&self.calls),
            gate: self.gate.clone(),
        }))
    }
}

struct FakePod {
    calls: Arc<Mutex<Vec<String>>>,
    /// Ends it by itself.
    gate: Option<Arc<Notify>>,
}

#[async_trait]
impl Pod for FakePod {
    fn pid(&self) -> u32 {
        7
    }

    async fn ended(&self) -> Exit {
        match &self.gate {
            Some(gate) => gate.notified().await,
            None => std::future::pending().await,
        }
        Exit {
            status: 137,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Err("no cgroup".into())
    }

    async fn end(&self) -> Result<(), Cause> {
        self.calls.lock().unwrap().push("end pod".into());
        Ok(())
    }
}

impl FakeContainer {
    fn called(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

async fn ended(exit: &watch::Sender<Option<u32>>) -> Exit {
    let mut exit = exit.subscribe();
    let status = exit.wait_for(Option::is_some).await.unwrap().unwrap();
    Exit {
        status,
        at: SystemTime::UNIX_EPOCH,
    }
}

#[async_trait]
impl Process for FakeContainer {
    fn pid(&self) -> u32 {
        42
    }

    async fn start(&self) -> Result<(), Cause> {
        if self.broken.load(Ordering::Relaxed) {
            self.exit.send_replace(Some(255));
            return Err("cannot execute".into());
        }
        // The worst case for the order of events: init ends before Start is through.
        if let Some(gate) = &self.gate {
            self.exit.send_replace(Some(7));
            gate.notified().await;
        }
        Ok(())
    }

    async fn kill(&self, signal: u32) -> Result<(), KillError> {
        self.called(format!("kill {signal}"));
        self.exit.send_replace(Some(128 + signal));
        Ok(())
    }

    async fn exited(&self) -> Exit {
        ended(&self.exit).await
    }

    async fn resize(&self, size: Size) -> Result<(), CallError> {
        self.called(format!("resize {}x{}", size.columns, size.rows));
        Err(CallError::Precondition("it has no terminal".into()))
    }

    fn close_stdin(&self) {
        self.called("close stdin");
    }

    async fn delete(&self) -> Result<(), Cause> {
        self.called("delete");
        if self.stuck.swap(false, Ordering::Relaxed) {
            return Err("device or resource busy".into());
        }
        Ok(())
    }
}

#[async_trait]
impl Container for FakeContainer {
    async fn kill_all(&self, signal: u32) -> Result<(), KillError> {
        self.called(format!("kill all {signal}"));
        self.exit.send_replace(Some(128 + signal));
        Ok(())
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn Process>, CallError> {
        if request.exec_id == "refused" {
            return Err(CallError::Invalid("no such user".into()));
        }
        let exec = Arc::new(FakeExec {
            calls: Arc::clone(&self.calls),
            exit: watch::Sender::new(None),
            pid: AtomicU32::new(0),
            broken: request.exec_id == "broken",
        });
        self.execs.lock().unwrap().push(Arc::clone(&exec));
        Ok(exec)
    }

    async fn pause(&self) -> Result<(), Cause> {
        self.called("pause");
        if self.stuck.load(Ordering::Relaxed) {
            return Err("cannot freeze".into());
        }
        Ok(())
    }

    async fn resume(&self) -> Result<(), Cause> {
        self.called("resume");
        Ok(())
    }

    async fn update(&self, resources: Vec<u8>) -> Result<(), CallError> {
        self.called(format!("update {}", String::from_utf8_lossy(&resources)));
        Err(CallError::Precondition("1 MiB is in use".into()))
    }

    async fn pids(&self) -> Result<Vec<u32>, Cause> {
        Ok(vec![42, 43])
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Err("no cgroup".into())
    }

    async fn memory_event(&self) {
        self.memory.notified().await;
    }

    async fn oom_killed(&self) -> bool {
        self.oom.swap(false, Ordering::Relaxed)
    }
}

/// An exec, whose pid is 43.
struct FakeExec {
    calls: Arc<Mutex<Vec<String>>>,
    exit: watch::Sender<Option<u32>>,
    pid: AtomicU32,
    broken: bool,
}

#[async_trait]
impl Process for FakeExec {
    fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    async fn start(&self) -> Result<(), Cause> {
        if self.broken {
            return Err("cannot execute".into());
        }
        self.pid.store(43, Ordering::Relaxed);
        Ok(())
    }

    async fn kill(&self, signal: u32) -> Result<(), KillError> {
        self.exit.send_replace(Some(128 + signal));
        Ok(())
    }

    async fn exited(&self) -> Exit {
        ended(&self.exit).await
    }

    async fn resize(&self, _: Size) -> Result<(), CallError> {
        Ok(())
    }

    fn close_stdin(&self) {
        self.calls.lock().unwrap().push("close exec's stdin".into());
    }

    async fn delete(&self) -> Result<(), Cause> {
        self.calls.lock().unwrap().push("delete exec".into());
        Ok(())
    }
}

struct Test {
    fake: Arc<Fake>,
    service: Service,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Test {
    fn new() -> Self {
        Self::with(Fake::default())
    }

    fn with(fake: Fake) -> Self {
        let fake = Arc::new(fake);
        let (events, receiver) = Events::channel();
        let service = Service::new(Arc::clone(&fake) as Arc<dyn Runtime>, events);
        Self {
            fake,
            service,
            events: receiver,
        }
    }

    async fn create(&self, id: &str) -> Result<u32, Error> {
        self.service
            .create(CreateRequest {
                id: id.into(),
                ..Default::default()
            })
            .await
    }

    /// The container that was made last.
    fn container(&self) -> Arc<FakeContainer> {
        Arc::clone(self.fake.last.lock().unwrap().as_ref().unwrap())
    }

    fn exit(&self, status: u32) {
        self.container().exit.send_replace(Some(status));
    }

    /// A task that runs, whose events are read.
    async fn running(id: &str) -> Self {
        let mut test = Self::new();
        test.create(id).await.unwrap();
        test.service.start(id).await.unwrap();
        test.next(2).await;
        test
    }

    async fn exec(&self, id: &str, exec_id: &str) -> Result<(), Error> {
        self.service
            .exec(ExecRequest {
                id: id.into(),
                exec_id: exec_id.into(),
                ..Default::default()
            })
            .await
    }

    fn exec_exits(&self, status: u32) {
        let container = self.container();
        let execs = container.execs.lock().unwrap();
        execs.last().unwrap().exit.send_replace(Some(status));
    }

    /// The names of the next `count` events.
    async fn next(&mut self, count: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for _ in 0..count {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
            names.push(match event.expect("an event is missing").unwrap() {
                Event::Create { .. } => "create",
                Event::Start { .. } => "start",
                Event::ExecAdded { .. } => "exec-added",
                Event::ExecStarted { .. } => "exec-started",
                Event::Paused { .. } => "paused",
                Event::Resumed { .. } => "resumed",
                Event::Oom { .. } => "oom",
                Event::Exit { name, .. } if name.exec_id.is_some() => "exec-exit",
                Event::Exit { .. } => "exit",
                Event::Delete { .. } => "delete",
            });
        }
        names
    }
}

#[tokio::test]
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

#[tokio::test]
async fn an_exit_before_start_is_through_is_told_after_the_start() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    test.create("a").await.unwrap();
    let service = test.service.clone();
    let start = tokio::spawn(async move { service.start("a").await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(test.next(1).await, ["create"]);
    assert!(
        test.events.try_recv().is_err(),
        "the exit overtook the start"
    );
    gate.notify_one();
    start.await.unwrap().unwrap();
    assert_eq!(test.next(2).await, ["start", "exit"]);
}

#[tokio::test]
async fn a_create_that_fails_tells_nothing_and_frees_the_id() {
    let mut test = Test::new();
    test.fake.refuse.store(true, Ordering::Relaxed);
    let error = test.create("a").await.unwrap_err();
    assert_eq!(
        error.sentence(),
        "cannot create task \"a\": entrypoint not found"
    );
    assert!(test.events.try_recv().is_err());
    test.fake.refuse.store(false, Ordering::Relaxed);
    test.create("a").await.unwrap();
}

#[tokio::test]
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

#[tokio::test]
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
    tokio::time::sleep(Duration::from_millis(20)).await;
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

#[tokio::test]
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
    tokio::time::sleep(Duration::from_millis(20)).await;
    test.create("quick").await.unwrap();
    assert_eq!(test.service.pids("quick").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_a_whole_task() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    let create = test.create("slow");
    assert!(
        tokio::time::timeout(Duration::from_millis(20), create)
            .await
            .is_err()
    );
    gate.notify_one();
    assert_eq!(test.next(1).await, ["create"]);
    test.service.state("slow").unwrap();
}

#[tokio::test]
async fn a_running_task_cannot_be_deleted() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    let error = test.service.delete("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot delete task \"a\": it is running");
}

#[tokio::test]
async fn a_task_that_was_never_started_is_killed_and_deleted() {
    let mut test = Test::new();
    test.create("a").await.unwrap();
    let (_, exit) = test.service.delete("a").await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(test.next(3).await, ["create", "exit", "delete"]);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_task_starts_once() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.start("a").await.unwrap();
    let error = test.service.start("a").await.unwrap_err();
    assert_eq!(error.sentence(), "cannot start task \"a\": it is running");
}

#[tokio::test]
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

#[tokio::test]
async fn shutdown_is_ignored_while_a_task_is_left() {
    let test = Test::new();
    test.create("a").await.unwrap();
    test.service.shutdown();
    let ended = tokio::time::timeout(Duration::from_millis(20), test.service.ended()).await;
    assert!(ended.is_err());
    test.service.delete("a").await.unwrap();
    test.service.shutdown();
    tokio::time::timeout(Duration::from_secs(10), test.service.ended())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_delete_waits_for_a_create_that_its_caller_gave_up() {
    let gate = Arc::new(Notify::new());
    let mut test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    let create = test.create("slow");
    assert!(
        tokio::time::timeout(Duration::from_millis(20), create)
            .await
            .is_err()
    );
    let service = test.service.clone();
    let delete = tokio::spawn(async move { service.delete("slow").await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.notify_one();
    delete.await.unwrap().unwrap();
    assert_eq!(test.next(3).await, ["create", "exit", "delete"]);
    assert!(test.service.is_idle());
}

#[tokio::test]
async fn a_delete_that_waited_for_a_create_that_failed_finds_nothing() {
    let gate = Arc::new(Notify::new());
    let test = Test::with(Fake {
        gate: Some(Arc::clone(&gate)),
        ..Fake::default()
    });
    test.fake.refuse.store(true, Ordering::Relaxed);
    let create = test.create("slow");
    assert!(
        tokio::time::timeout(Duration::from_millis(20), create)
            .await
            .is_err()
    );
    let service = test.service.clone();
    let delete = tokio::spawn(async move { service.delete("slow").await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.notify_one();
    assert!(matches!(delete.await.unwrap(), Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_task_whose_start_failed_can_be_deleted_at_once() {
    let test = Test::new();
    test.create("broken").await.unwrap();
    test.service.start("broken").await.unwrap_err();
    test.service.delete("broken").await.unwrap();
}

mod exec;
mod limits;
mod sandbox;
