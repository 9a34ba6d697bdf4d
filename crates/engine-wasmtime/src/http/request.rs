//! One request, from its first byte to its answer's last.

use std::fs::File;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::body::{Arrival, HandlerTask, OneWayFlag, ResponseBody, Taking};
use super::clients::Clients;
use super::handler::{Handler, say};
use super::protocol::Protocol;
use super::settings::Settings;
use super::site::Site;
use super::watched::{self, Watched};

/// How long a request waits for its turn before another handler's may end for it.
const STARVING: Duration = Duration::from_secs(1);

/// How often the log is told of what clients send.
const TELL: Duration = Duration::from_secs(1);

/// Held by everything that has to end before the server may: a connection, a handler.
pub(super) type DrainToken = mpsc::Sender<()>;

/// Has an instance answer each request.
pub(super) struct Handlers {
    site: Site,
    /// What stands before what the log is told.
    name: String,
    stderr: Arc<File>,
    request_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    max_body: Option<u64>,
    pub(super) protocol: Protocol,
    pub(super) clients: Arc<Clients>,
    /// When the log was last told of what a client sent.
    told: AtomicU64,
    /// One for each request that may be handled at the same time.
    permits: Arc<Semaphore>,
}

impl Handlers {
    pub(super) fn new(
        site: Site,
        (name, stderr): (String, Arc<File>),
        settings: &Settings,
        concurrency: usize,
        connections: usize,
    ) -> Self {
        Self {
            site,
            name,
            stderr,
            request_timeout: settings.request_timeout,
            write_timeout: settings.write_timeout,
            max_body: settings.max_body,
            protocol: Protocol::new(settings),
            clients: Clients::new(connections),
            told: AtomicU64::new(0),
            permits: Arc::new(Semaphore::new(concurrency)),
        }
    }

    /// Answers a request. Dropped in the middle, as when its client goes away, it takes the
    /// handler with it.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
        watched: &Arc<Watched>,
        alive: &DrainToken,
    ) -> Response<ResponseBody> {
        let arrival = (!request.body().is_end_stream())
            .then(|| Arrival::new(watched.clone(), request.version()));
        let answered = match self.refused(&mut request, watched.local) {
            Some(status) => Err(own(status)),
            None => match self.site.find(&mut request, watched.peer) {
                Ok(handler) => {
                    let handled = self.handle(handler, request, arrival.as_ref(), alive);
                    let answered = self.in_time(handled, arrival.as_deref()).await;
                    answered.map_err(own)
                }
                Err(reply) => Err(*reply),
            },
        };
        match answered {
            Ok(response) => {
                if let Some(arrival) = arrival {
                    arrival.answered();
                }
                response
            }
            Err(reply) => {
                // It may still send its body, and is not to lose the answer by that.
                if arrival.is_some() {
                    watched.linger.store(true, Ordering::Relaxed);
                }
                reply
            }
        }
    }

    /// With what a request is answered that no handler is to see.
    fn refused(&self, request: &mut Request<Incoming>, local: SocketAddr) -> Option<StatusCode> {
        // It asks for a tunnel, which a proxy has.
        if request.method() == Method::CONNECT {
            return Some(StatusCode::METHOD_NOT_ALLOWED);
        }
        let large = |limit| length(request).is_some_and(|length| length > limit);
        if self.max_body.is_some_and(large) {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        address(request, local).err()
    }

    /// What a handler answers in time. An upload that goes on gives it more.
    async fn in_time(
        &self,
        handled: impl Future<Output = Result<Response<ResponseBody>, StatusCode>>,
        arrival: Option<&Arrival>,
    ) -> Result<Response<ResponseBody>, StatusCode> {
        let mut handled = pin!(handled);
        let late = async {
            match arrival {
                Some(arrival) => arrival.late().await,
                None => std::future::pending().await,
            }
        };
        let mut late = pin!(late);
        let timeout = async {
            let Some(time) = self.request_timeout else {
                return std::future::pending().await;
            };
            let mut since = Instant::now();
            loop {
                tokio::time::sleep_until(since + time).await;
                match arrival {
                    Some(arrival) if arrival.last() > since => since = arrival.last(),
                    _ => return time,
                }
            }
        };
        let mut timeout = pin!(timeout);
        tokio::select! {
            biased;
            answered = handled.as_mut() => answered.map_err(|status| match arrival {
                Some(arrival) if arrival.is_late() => StatusCode::REQUEST_TIMEOUT,
                _ => status,
            }),
            () = late.as_mut() => Err(StatusCode::REQUEST_TIMEOUT),
            time = timeout.as_mut() => {
                self.say(&format!("no answer after {} s", time.as_secs_f64()));
                Err(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }

    /// Waits for a request's turn. One that waits for long takes the turn of a handler whose client
    /// keeps it waiting for longer.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, StatusCode> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let mut permit = pin!(self.permits.clone().acquire_owned());
        loop {
            tokio::select! {
                permit = permit.as_mut() => {
                    return permit.map_err(|_| StatusCode::SERVICE_UNAVAILABLE);
                }
                () = tokio::time::sleep(STARVING) => self.clients.evict_stalled(),
            }
        }
    }

    async fn handle(
        &self,
        handler: &Arc<Handler>,
        request: Request<Incoming>,
        arrival: Option<&Arc<Arrival>>,
        alive: &DrainToken,
    ) -> Result<Response<ResponseBody>, StatusCode> {
        let permit = self.permit().await?;
        let to_head = request.method() == Method::HEAD;
        let (sender, mut receiver) = oneshot::channel();
        let (failed, overflowed) = (OneWayFlag::default(), OneWayFlag::default());
        let mut running = handler.begin(request, arrival, &overflowed, sender, permit, &failed)?;

        // Most handlers are done when they first pause, and never need a task of their own.
        let (said, ended) = poll_fn(|cx| {
            let ended = match running.as_mut().poll(cx) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            };
            match Pin::new(&mut receiver).poll(cx) {
                Poll::Ready(Ok(said)) => Poll::Ready((Some(said), ended)),
                _ if ended.is_some() => Poll::Ready((None, ended)),
                _ => Poll::Pending,
            }
        })
        .await;
        let rest = match ended {
            // Nothing of its answer is on its way.
            Some(Err(error)) => return Err(handler.failed(&error, &overflowed)),
            Some(Ok(())) => None,
            None => {
                let (handler, alive) = (handler.clone(), alive.clone());
                let (failed, taking) = (failed.clone(), Taking::default());
                let write_timeout = self.write_timeout;
                let taken = taking.clone();
                let task = tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        ended = running.as_mut() => if let Err(error) = ended {
                            handler.failed(&error, &OneWayFlag::default());
                        },
                        // Its client has had enough, and does not say so.
                        () = taken.stalled(write_timeout) => failed.set(),
                    }
                    drop((running, alive));
                });
                Some(HandlerTask::new(task.abort_handle(), taking))
            }
        };
        match said {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                let body = ResponseBody::of_handler(
                    head.status,
                    &head.headers,
                    to_head,
                    body,
                    rest,
                    failed,
                );
                Ok(Response::from_parts(head, body))
            }
            Some(Err(code)) => {
                handler.say(&format!("the handler gave up: {code}"));
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
            None => {
                handler.say("the handler returned without an answer");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Writes to the container's log.
    pub(super) fn say(&self, text: &str) {
        say(&self.stderr, &self.name, text);
    }

    /// It, of what clients send: at most once a second, or they could fill the log.
    pub(super) fn say_of_clients(&self, text: &str) {
        let now = watched::now();
        let told = self.told.load(Ordering::Relaxed);
        let due = told == 0 || now.saturating_sub(told) >= watched::millis(TELL);
        let first = |told| {
            let order = Ordering::Relaxed;
            self.told.compare_exchange(told, now, order, order).is_ok()
        };
        if due && first(told) {
            self.say(text);
        }
    }
}

/// Sees to it that a request names whom it was sent to: without `Host`, which HTTP/1.0 does not
/// have, that is the address at which it arrived. What names more than one, or none in HTTP/1.1, is
/// no request.
fn address<B>(request: &mut Request<B>, local: SocketAddr) -> Result<(), StatusCode> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if request.uri().authority().is_some() {
        return Ok(());
    }
    match host {
        Some(host) if !host.is_empty() => match Authority::try_from(host.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(StatusCode::BAD_REQUEST),
        },
        _ => {
            let local = SocketAddr::new(local.ip().to_canonical(), local.port());
            let host = HeaderValue::try_from(local.to_string());
            let host = host.map_err(|_| StatusCode::BAD_REQUEST)?;
            request.headers_mut().insert(header::HOST, host);
            Ok(())
        }
    }
}

fn length(request: &Request<Incoming>) -> Option<u64> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The server's own answer.
pub(super) fn own(status: StatusCode) -> Response<ResponseBody> {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = Full::new(Bytes::from(format!("{reason}\n")));
    let mut response = Response::new(ResponseBody::Own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
