//! The socket that clients connect to, and how it is closed without losing anybody.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use super::connection;
use super::request::{Alive, Handlers};
use super::settings::Settings;

/// How long connections that were being made when the server is to end may take to be there: their
/// clients have heard yes from the kernel, and may have sent their requests.
const LAST_ARRIVALS: Duration = Duration::from_millis(50);

/// Pause before the next attempt when the process has too many open files.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot listen on {address}: something else in the pod uses this port; set PORT or \
         WASMTIME_HTTP_PROXY_SOCKET_ADDR to another one"
    )]
    InUse { address: SocketAddr },
    #[error(
        "cannot listen on {address}: a port below 1024 needs root or the capability \
         NET_BIND_SERVICE; set PORT or WASMTIME_HTTP_PROXY_SOCKET_ADDR to a higher one"
    )]
    Privileged { address: SocketAddr },
    #[error(
        "cannot listen on {address}: the pod has no such address; set \
         WASMTIME_HTTP_PROXY_SOCKET_ADDR to 0.0.0.0 or to one that it has"
    )]
    NoSuchAddress { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Other {
        address: SocketAddr,
        source: io::Error,
    },
}

/// Listens. Must be called within a runtime.
pub(super) fn bind(settings: &Settings) -> Result<TcpListener, Error> {
    let address = settings.address;
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // Or a container that is started anew would have to wait for its old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(settings.backlog)
    };
    bound().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address },
        io::ErrorKind::PermissionDenied => Error::Privileged { address },
        io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress { address },
        _ => Error::Other { address, source },
    })
}

/// Accepts clients until `drain` says so, and then those that are on their way.
pub(super) async fn accept(
    listener: TcpListener,
    handlers: Arc<Handlers>,
    drain: watch::Receiver<bool>,
    alive: Alive,
) {
    let serve = async || {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small, and nobody waits for more to come.
                    drop(stream.set_nodelay(true));
                    let serving =
                        connection::serve(stream, handlers.clone(), drain.clone(), alive.clone());
                    tokio::spawn(serving);
                }
                // Of a client that is gone again, or of too many files.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    handlers.say(&format!("cannot accept a connection: {error}"));
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    };
    let mut ending = drain.clone();
    tokio::select! {
        () = serve() => {}
        ended = ending.wait_for(|drain| *drain) => drop(ended),
    }
    // To close the socket now would reset whoever has been let in by the kernel and not by us.
    // From here on the kernel lets nobody in: a client that tries again finds the port closed.
    if let Err(error) = refuse_new(&listener) {
        handlers.say(&format!("new connections are let in to the end: {error}"));
    }
    drop(tokio::time::timeout(LAST_ARRIVALS, serve()).await);
}

/// Has the kernel refuse every new connection, as if nobody listened. Those that are being made keep
/// what they found, and come to be. Needs no capability, unlike a filter on the socket.
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    // A network interface by which nothing comes.
    const NONE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX.unsigned_abs());
    SockRef::from(listener).bind_device_by_index_v4(NONE)
}
