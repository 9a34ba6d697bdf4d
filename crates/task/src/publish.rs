//! Brings events to containerd, in order.

use std::time::Duration;

use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::{self, context};
use tokio::sync::mpsc;

use crate::events::Event;
use crate::wire::envelope;

/// How long containerd may take for one event before it counts as not delivered.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often one event is tried. With [`BACKOFF`] this rides out a restart of containerd, and
/// then gives up: containerd asks State of every task when it comes back.
const ATTEMPTS: u32 = 8;

/// The pause after the first failure; doubled after each further one, 12 s in all.
const BACKOFF: Duration = Duration::from_millis(100);

/// Forwards what `events` gives to containerd's ttrpc socket at `address`, one after the other,
/// until the queue is closed and empty.
pub async fn run(mut events: mpsc::UnboundedReceiver<Event>, address: String, namespace: String) {
    let mut publisher = Publisher {
        address,
        client: None,
    };
    while let Some(event) = events.recv().await {
        let envelope = match envelope(&namespace, &event) {
            Ok(envelope) => envelope,
            Err(error) => {
                log::error!("an event could not be encoded and is lost: {error}");
                continue;
            }
        };
        let topic = envelope.topic.clone();
        let request = ForwardRequest {
            envelope: MessageField::some(envelope),
            ..Default::default()
        };
        if let Err(error) = publisher.deliver(&request).await {
            log::warn!(
                "event {topic} was not delivered to {}: {error}",
                publisher.address
            );
        }
    }
}

struct Publisher {
    address: String,
    client: Option<EventsClient>,
}

impl Publisher {
    async fn deliver(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        let mut pause = BACKOFF;
        let mut attempt = 1;
        loop {
            match self.try_once(request).await {
                Ok(()) => return Ok(()),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => {}
            }
            self.client = None;
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn try_once(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        if self.client.is_none() {
            let address = if self.address.contains("://") {
                self.address.clone()
            } else {
                format!("unix://{}", self.address)
            };
            self.client = Some(EventsClient::new(Client::connect(&address).await?));
        }
        let Some(client) = &self.client else {
            return Err(ttrpc::Error::LocalClosed);
        };
        client
            .forward(context::with_duration(DELIVERY_TIMEOUT), request)
            .await
            .map(|_| ())
    }
}
