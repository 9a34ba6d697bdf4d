//! One client: HTTP/1.1 or, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Version, header};
use hyper::service::service_fn;
use tokio::sync::watch;

use super::body::Opened;
use super::request::{DrainToken, Handlers};
use super::stream::Stream;
use super::watched::{Overdue, Watched, now};

/// Serves a client until it goes away or has used up its time, or `drain` says that the server is to
/// end.
pub(super) async fn serve(
    stream: Stream,
    watched: Arc<Watched>,
    handlers: Arc<Handlers>,
    mut drain: watch::Receiver<bool>,
    alive: DrainToken,
) {
    let service = service_fn({
        let (watched, drain, alive) = (watched.clone(), drain.clone(), alive.clone());
        let handlers = handlers.clone();
        move |request: http::Request<hyper::body::Incoming>| {
            let (watched, drain) = (watched.clone(), drain.clone());
            let (handlers, alive) = (handlers.clone(), alive.clone());
            async move {
                let version = request.version();
                let waiting = watched.begin(version);
                let open = watched.open();
                let mut response = handlers.answer(request, &watched, &alive).await;
                drop(waiting);
                if version < Version::HTTP_2 && *drain.borrow() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response.map(|answer| Opened::new(answer, open)))
            }
        }
    });
    let protocol = &handlers.protocol;
    let connection = protocol.builder.serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    let mut told = None;
    let mut closable = std::pin::pin!(async {
        // An error is a server that is gone, which is no reason to stay.
        drop(drain.wait_for(|drain| *drain).await);
        watched.closable().await;
    });
    loop {
        let overdue = tokio::select! {
            // In this order: a request that has arrived while this task had no turn is read before
            // the connection is found idle, or closing it would reset it.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    broken(&handlers, &watched, error.as_ref());
                }
                break;
            }
            () = closable.as_mut(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            overdue = watched.overdue(protocol.limits, told) => overdue,
            overdue = watched.evicted() => overdue,
        };
        if overdue == Overdue::Slow || told.is_some() {
            break;
        }
        told = Some(now());
        connection.as_mut().graceful_shutdown();
    }
    drop(alive);
}

/// How a client ends a connection is its own affair, and not for the log. One that sends what is no
/// request is told, and so is the log.
fn broken(handlers: &Handlers, watched: &Watched, error: &(dyn std::error::Error + 'static)) {
    let Some(error) = error.downcast_ref::<hyper::Error>() else {
        return;
    };
    if error.is_parse() || error.is_parse_too_large() {
        watched.linger.store(true, Ordering::Relaxed);
        handlers.say_of_clients(&format!("a client sent what is no request: {error}"));
    }
}
