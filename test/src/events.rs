//! containerd's events, recorded from the moment of subscription.

use anyhow::{Context, Result, bail};
use containerd_client::events as wire;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::tonic::{Request, transport::Channel};
use prost::Message;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One event of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `/tasks/create`, `/tasks/start`, `/tasks/exit`, `/tasks/delete`, …
    pub topic: String,
    /// The container.
    pub container: String,
    /// The process: the container's id for init, the exec id for others. Empty in
    /// events that have none.
    pub id: String,
    /// Its pid.
    pub pid: u32,
    /// Its exit status, in events that have one.
    pub status: Option<u32>,
}

/// A subscription.
#[derive(Debug)]
pub struct Events {
    /// Guards what was received, in order.
    seen: Arc<Mutex<Vec<Event>>>,
    task: tokio::task::JoinHandle<()>,
}

/// The topic of the event that proves that the subscription is live.
const READY: &str = "/medley-test/ready";

impl Events {
    /// Subscribes to what happens in `namespace` and returns once that is in force.
    ///
    /// # Errors
    /// containerd does not deliver an event of our own in time.
    pub async fn subscribe(channel: Channel, namespace: &str) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let filters = vec![format!("namespace=={namespace}")];
        let mut client = EventsClient::new(channel.clone());
        let task = tokio::spawn(async move {
            let Ok(stream) = client.subscribe(SubscribeRequest { filters }).await else {
                return;
            };
            let mut stream = stream.into_inner();
            while let Ok(Some(envelope)) = stream.message().await {
                let value = envelope.event.map(|any| any.value).unwrap_or_default();
                let event = decode(&envelope.topic, &value);
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        let this = Self { seen, task };
        let mut publisher = EventsClient::new(channel);
        let deadline = Instant::now() + Duration::from_secs(10);
        // The server answers a subscription only with its first event.
        while !this.all().iter().any(|event| event.topic == READY) {
            if Instant::now() > deadline {
                bail!("the subscription to events delivers nothing");
            }
            let any = prost_types::Any {
                type_url: "google.protobuf.Empty".into(),
                value: vec![],
            };
            let publish = PublishRequest {
                topic: READY.into(),
                event: Some(any),
            };
            let mut request = Request::new(publish);
            request
                .metadata_mut()
                .insert("containerd-namespace", namespace.parse()?);
            publisher
                .publish(request)
                .await
                .context("cannot publish an event")?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(this)
    }

    fn all(&self) -> Vec<Event> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The events of tasks so far, in order; of all containers.
    pub fn tasks(&self) -> Vec<Event> {
        let all = self.all().into_iter();
        all.filter(|event| event.topic.starts_with("/tasks/"))
            .collect()
    }

    /// The topics of one container's task so far, without `/tasks/`.
    pub fn topics(&self, container: &str) -> Vec<String> {
        let of_it = self
            .tasks()
            .into_iter()
            .filter(|event| event.container == container);
        of_it
            .map(|event| event.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }

    /// Waits until an event with `topic` (without `/tasks/`) has come for the container.
    ///
    /// # Errors
    /// It does not come within 10 seconds; says what came instead.
    pub async fn wait_for(&self, container: &str, topic: &str) -> Result<Event> {
        let full = format!("/tasks/{topic}");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let tasks = self.tasks();
            let hit = tasks
                .iter()
                .find(|e| e.container == container && e.topic == full);
            if let Some(event) = hit {
                return Ok(event.clone());
            }
            if Instant::now() > deadline {
                bail!("no event {full} of `{container}`; seen: {tasks:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn decode(topic: &str, value: &[u8]) -> Event {
    let mut event = Event {
        topic: topic.to_owned(),
        container: String::new(),
        id: String::new(),
        pid: 0,
        status: None,
    };
    // An event that does not parse keeps its topic and stands out by its empty container.
    match topic {
        "/tasks/create" => {
            let wire = wire::TaskCreate::decode(value).unwrap_or_default();
            (event.container, event.pid) = (wire.container_id, wire.pid);
        }
        "/tasks/start" => {
            let wire = wire::TaskStart::decode(value).unwrap_or_default();
            (event.container, event.pid) = (wire.container_id, wire.pid);
        }
        "/tasks/exit" => {
            let wire = wire::TaskExit::decode(value).unwrap_or_default();
            (event.container, event.pid) = (wire.container_id, wire.pid);
            (event.id, event.status) = (wire.id, Some(wire.exit_status));
        }
        "/tasks/delete" => {
            let wire = wire::TaskDelete::decode(value).unwrap_or_default();
            (event.container, event.pid) = (wire.container_id, wire.pid);
            (event.id, event.status) = (wire.id, Some(wire.exit_status));
        }
        "/tasks/oom" => {
            event.container = wire::TaskOom::decode(value)
                .unwrap_or_default()
                .container_id;
        }
        "/tasks/exec-added" => {
            let wire = wire::TaskExecAdded::decode(value).unwrap_or_default();
            (event.container, event.id) = (wire.container_id, wire.exec_id);
        }
        "/tasks/exec-started" => {
            let wire = wire::TaskExecStarted::decode(value).unwrap_or_default();
            (event.container, event.id) = (wire.container_id, wire.exec_id);
            event.pid = wire.pid;
        }
        _ => {}
    }
    event
}
