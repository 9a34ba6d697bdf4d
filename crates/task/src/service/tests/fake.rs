//! A runtime for tests, and a service on it.

use crate::error::{Cause, Error};
use crate::events::{Event, Events, Queue};
use crate::exit::Exit;
use crate::runtime::{
    CallError, Container, CreateRequest, ExecRequest, KillError, Process, Runtime, Size,
};
use crate::sandbox::Sandbox;
use crate::service::Service;
use async_trait::async_trait;
use medley_types::metrics::Metrics;
use medley_types::sandbox::SandboxRequest;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};

/// A runtime whose containers do as the test says, and which records what was asked of them.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) calls: Arc<Mutex<Vec<String>>>,
    pub(super) refuse: AtomicBool,
    /// Held by a test to keep Create or Start under way.
    pub(super) gate: Option<Arc<Notify>>,
    pub(super) last: Mutex<Option<Arc<FakeContainer>>>,
}

pub(super) struct FakeContainer {
    pub(super) calls: Arc<Mutex<Vec<String>>>,
    pub(super) exit: watch::Sender<Option<u32>>,
    pub(super) gate: Option<Arc<Notify>>,
    pub(super) broken: AtomicBool,
    pub(super) stuck: AtomicBool,
    /// Whether no signal ends it, as with a process that waits in the kernel.
    pub(super) immortal: bool,
    pub(super) memory: Notify,
    pub(super) oom: AtomicBool,
    pub(super) execs: Mutex<Vec<Arc<FakeExec>>>,
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
        if request.id == "hung" {
            let stopped = Arc::new(Notify::new());
            let stop = Arc::clone(&stopped);
            if request.cancel.begin(move || stop.notify_one()) {
                stopped.notified().await;
            }
            return Err("given up".into());
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
            immortal: request.id == "immortal",
            memory: Notify::new(),
            oom: AtomicBool::new(false),
            execs: Mutex::default(),
        });
        *self.last.lock().unwrap() = Some(Arc::clone(&container));
        Ok(container)
    }

    async fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<dyn Sandbox>, Cause> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("create pod {}", request.id));
        if self.refuse.load(Ordering::Relaxed) {
            return Err("no network namespace".into());
        }
        Ok(Arc::new(FakeSandbox {
            calls: Arc::clone(&self.calls),
            gate: self.gate.clone(),
        }))
    }
}

pub(super) struct FakeSandbox {
    pub(super) calls: Arc<Mutex<Vec<String>>>,
    /// Ends it by itself.
    pub(super) gate: Option<Arc<Notify>>,
}

#[async_trait]
impl Sandbox for FakeSandbox {
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
    pub(super) fn called(&self, call: impl Into<String>) {
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

    async fn start(&self) -> Result<(), CallError> {
        if self.broken.load(Ordering::Relaxed) {
            self.exit.send_replace(Some(255));
            return Err(CallError::Failed("cannot execute".into()));
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
        if !self.immortal {
            self.exit.send_replace(Some(128 + signal));
        }
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
pub(super) struct FakeExec {
    pub(super) calls: Arc<Mutex<Vec<String>>>,
    pub(super) exit: watch::Sender<Option<u32>>,
    pub(super) pid: AtomicU32,
    pub(super) broken: bool,
}

#[async_trait]
impl Process for FakeExec {
    fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    async fn start(&self) -> Result<(), CallError> {
        if self.broken {
            return Err(CallError::Failed("cannot execute".into()));
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

/// Waits until every other task waits: tests have a clock that goes on only then.
pub(super) async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Begins a call, and gives it up once all wait.
pub(super) async fn give_up<T>(call: impl Future<Output = T>) {
    let given_up = tokio::time::timeout(Duration::from_millis(1), call).await;
    assert!(given_up.is_err(), "it did not wait");
}

pub(super) struct Test {
    pub(super) fake: Arc<Fake>,
    pub(super) service: Service,
    pub(super) events: Queue,
}

impl Test {
    pub(super) fn new() -> Self {
        Self::with(Fake::default())
    }

    pub(super) fn with(fake: Fake) -> Self {
        let fake = Arc::new(fake);
        let (events, receiver) = Events::channel();
        let service = Service::new(Arc::clone(&fake) as Arc<dyn Runtime>, events);
        Self {
            fake,
            service,
            events: receiver,
        }
    }

    pub(super) async fn create(&self, id: &str) -> Result<u32, Error> {
        self.service
            .create(CreateRequest {
                id: id.into(),
                ..Default::default()
            })
            .await
    }

    /// The container that was made last.
    pub(super) fn container(&self) -> Arc<FakeContainer> {
        Arc::clone(self.fake.last.lock().unwrap().as_ref().unwrap())
    }

    pub(super) fn exit(&self, status: u32) {
        self.container().exit.send_replace(Some(status));
    }

    /// A task that runs, whose events are read.
    pub(super) async fn running(id: &str) -> Self {
        let mut test = Self::new();
        test.create(id).await.unwrap();
        test.service.start(id).await.unwrap();
        test.next(2).await;
        test
    }

    pub(super) async fn exec(&self, id: &str, exec_id: &str) -> Result<(), Error> {
        self.service
            .exec(ExecRequest {
                id: id.into(),
                exec_id: exec_id.into(),
                ..Default::default()
            })
            .await
    }

    pub(super) fn exec_exits(&self, status: u32) {
        let container = self.container();
        let execs = container.execs.lock().unwrap();
        execs.last().unwrap().exit.send_replace(Some(status));
    }

    /// The names of the next `count` events.
    pub(super) async fn next(&mut self, count: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for _ in 0..count {
            let event = tokio::time::timeout(Duration::from_secs(60), self.events.next()).await;
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
