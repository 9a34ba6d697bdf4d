//! Brings events to containerd, in order.

use std::future::Future;
use std::time::Duration;

use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::r#async::transport::Socket;
use containerd_shim_protos::ttrpc::{self, context};
use tokio::net::UnixStream;

use crate::events::Queue;
use crate::wire::envelope;

/// How long containerd may take for one event before it is asked again, on another connection. Long:
/// one that stands still for a while hears what it was sent once it goes on, and would hear it twice.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// How often an event is tried that containerd answers with an error. One that it can't be asked for,
/// because it is not there, is tried until it is.
const ATTEMPTS: u32 = 8;

/// The pause after the first failure; doubled after each further one, up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause: how late an exit may come after a restart of containerd.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Forwards what `events` gives to containerd's ttrpc socket at `address`, one after the other,
/// until the queue is closed and empty.
pub async fn run(mut events: Queue, address: String, namespace: String) {
    let mut containerd = Containerd {
        address,
        client: None,
    };
    while let Some(event) = events.next().await {
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
        if let Err(error) = deliver(&mut containerd, &topic, &request).await {
            log::warn!(
                "event {topic} was refused by containerd at {}: {error}",
                containerd.address
            );
        }
    }
}

/// Takes events.
trait Receiver {
    /// Hands one event over.
    fn forward(
        &mut self,
        request: &ForwardRequest,
    ) -> impl Future<Output = ttrpc::Result<()>> + Send;
}

/// Hands an event over, however long that takes.
///
/// # Errors
/// containerd's own, as often as [`ATTEMPTS`].
async fn deliver(
    receiver: &mut impl Receiver,
    topic: &str,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let mut pause = BACKOFF;
    let mut refused = 0;
    let mut is_late = false;
    loop {
        match receiver.forward(request).await {
            Ok(()) => break,
            Err(error @ ttrpc::Error::RpcStatus(_)) => {
                refused += 1;
                if refused == ATTEMPTS {
                    return Err(error);
                }
            }
            Err(error) if !is_late => {
                log::warn!("event {topic} waits until containerd takes it: {error}");
                is_late = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
    if is_late {
        log::info!("containerd takes events again, {topic} first");
    }
    Ok(())
}

/// containerd, as its socket's path names it: after a restart that is another socket.
struct Containerd {
    address: String,
    client: Option<EventsClient>,
}

impl Containerd {
    async fn connect(&self) -> ttrpc::Result<EventsClient> {
        let path = self
            .address
            .strip_prefix("unix://")
            .unwrap_or(&self.address);
        // The library's own call would have this thread, the only one, wait for a containerd that
        // stands still.
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|error| ttrpc::Error::Socket(error.to_string()))?;
        Ok(EventsClient::new(Client::new(Socket::from(stream))))
    }

    async fn try_once(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let timeout = context::with_duration(DELIVERY_TIMEOUT);
        let answer = client.forward(timeout, request).await;
        if matches!(answer, Ok(_) | Err(ttrpc::Error::RpcStatus(_))) {
            self.client = Some(client);
        }
        answer.map(drop)
    }
}

impl Receiver for Containerd {
    async fn forward(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        self.try_once(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, BACKOFF_MAX, Receiver, deliver};
    use containerd_shim_protos::shim::events::ForwardRequest;
    use containerd_shim_protos::ttrpc;
    use std::time::Duration;
    use tokio::time::Instant;

    /// A containerd that is back at a certain time.
    struct Away {
        until: Instant,
        error: ttrpc::Error,
        tries: u32,
    }

    impl Away {
        fn new(duration: Duration, error: ttrpc::Error) -> Self {
            Self {
                until: Instant::now() + duration,
                error,
                tries: 0,
            }
        }
    }

    impl Receiver for Away {
        async fn forward(&mut self, _: &ForwardRequest) -> ttrpc::Result<()> {
            self.tries += 1;
            if Instant::now() < self.until {
                return Err(self.error.clone());
            }
            Ok(())
        }
    }

    async fn delivered(away: &mut Away) -> ttrpc::Result<()> {
        deliver(away, "/tasks/exit", &ForwardRequest::default()).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_for_a_containerd_that_is_away_for_an_hour() {
        let hour = Duration::from_secs(3_600);
        for error in [
            ttrpc::Error::Socket("connection refused".into()),
            ttrpc::Error::RemoteClosed,
            ttrpc::Error::Others("Request deadline elapsed".into()),
        ] {
            let mut away = Away::new(hour, error);
            delivered(&mut away).await.unwrap();
            let late = Instant::now() - away.until;
            assert!(late <= BACKOFF_MAX, "{late:?} late");
            assert!(away.tries < 2_000, "{} tries", away.tries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_refused_for_good_does_not_hold_up_the_rest() {
        let error = ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, "no such topic");
        let mut away = Away::new(Duration::from_secs(3_600), ttrpc::Error::RpcStatus(error));
        assert!(delivered(&mut away).await.is_err());
        assert_eq!(away.tries, ATTEMPTS);
    }
}
