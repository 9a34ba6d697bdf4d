//! The socket that clients connect to, and how it is closed without losing a client.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::connection;
use super::listen::Listen;
use super::request::{DrainToken, Handlers};
use super::settings::Settings;
use super::stream::Stream;
use super::watched::Watched;

/// How long connections that were being made when the server is to end may take to be there: their
/// clients have heard yes from the kernel, and may have sent their requests.
const LAST_ARRIVALS: Duration = Duration::from_millis(50);

/// Pause before the next attempt when the process has too many open files.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// How often the log is told that no connection can be accepted.
const TELL: Duration = Duration::from_secs(10);

/// After which silence of an open connection, and how often, the kernel asks whether the client is
/// still there: of one whose machine is gone, nothing else would be heard.
const PROBES: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(6);

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
    #[error(
        "cannot listen on {address}: there is no IPv6 in the pod; set \
         WASMTIME_HTTP_PROXY_SOCKET_ADDR to an address of IPv4"
    )]
    NoFamily { address: SocketAddr },
    #[error(
        "cannot listen on {listen}: the pod finds no address for this name; set \
         WASMTIME_HTTP_PROXY_SOCKET_ADDR to an address such as [::]:8080"
    )]
    NoSuchName {
        listen: Listen,
        source: Option<io::Error>,
    },
    #[error("cannot listen on {address}: {source}")]
    Other {
        address: SocketAddr,
        source: io::Error,
    },
}

impl Error {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::Privileged { address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            _ if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => Self::NoFamily { address },
            _ => Self::Other { address, source },
        }
    }

    /// Whether the pod does not have the address, and may have another.
    fn is_absence(&self) -> bool {
        matches!(self, Self::NoSuchAddress { .. } | Self::NoFamily { .. })
    }
}

/// Listens, of a name on every address that the pod has. Must be called within a runtime.
pub(super) async fn bind(settings: &Settings) -> Result<Vec<TcpListener>, Error> {
    let backlog = settings.backlog;
    let (name, port) = match &settings.listen {
        Listen::At(address) => return Ok(vec![bind_to(*address, backlog)?]),
        Listen::All(port) => {
            return match bind_to((Ipv6Addr::UNSPECIFIED, *port).into(), backlog) {
                Err(error) if error.is_absence() => Ok(vec![bind_to(
                    (Ipv4Addr::UNSPECIFIED, *port).into(),
                    backlog,
                )?]),
                bound => Ok(vec![bound?]),
            };
        }
        Listen::Name(name, port) => (name, *port),
    };
    let unknown = |source| Error::NoSuchName {
        listen: settings.listen.clone(),
        source,
    };
    let found = match tokio::net::lookup_host((name.as_str(), port)).await {
        Ok(found) => found.collect(),
        // What everybody means by it, in an image that has no /etc/hosts.
        Err(_) if name.eq_ignore_ascii_case("localhost") => vec![
            (Ipv6Addr::LOCALHOST, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
        ],
        Err(error) => return Err(unknown(Some(error))),
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut listeners = Vec::new();
    let mut absent = None;
    for address in addresses {
        match bind_to(address, backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.is_absence() => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        return Err(absent.unwrap_or_else(|| unknown(None)));
    }
    Ok(listeners)
}

fn bind_to(address: SocketAddr, backlog: u32) -> Result<TcpListener, Error> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // Or a container that is started anew would have to wait for its old connections.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            // Every address means those of IPv4 too, also where the node's default is another.
            SockRef::from(&socket).set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections inherit it.
        SockRef::from(&socket).set_tcp_keepalive(&PROBES)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    bound().map_err(|source| Error::new(address, source))
}

/// Accepts clients until `drain` says so, and then those that are on their way.
pub(super) async fn accept(
    listener: TcpListener,
    handlers: Arc<Handlers>,
    drain: watch::Receiver<bool>,
    alive: DrainToken,
) {
    let mut told: Option<Instant> = None;
    let mut serve = async |last: bool| {
        loop {
            // Before a client is let in: this may be given up at any time.
            if !last {
                handlers.clients.room().await;
            }
            match listener.accept().await {
                Ok((stream, peer)) => start((stream, peer), &handlers, &drain, &alive),
                // Of a client that is gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Of too many files, as a rule: fewer clients have fewer.
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() > TELL) {
                        told = Some(Instant::now());
                        handlers.say(&format!("cannot accept a connection: {error}"));
                    }
                    handlers.clients.evict();
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    };
    let mut ending = drain.clone();
    tokio::select! {
        () = serve(false) => {}
        ended = ending.wait_for(|drain| *drain) => drop(ended),
    }
    // To close the socket now would reset clients that the kernel has let in and we have not.
    // From here on the kernel lets no client in: one that tries again finds the port closed.
    if let Err(error) = refuse_new(&listener) {
        handlers.say(&format!("new connections are let in to the end: {error}"));
    }
    drop(tokio::time::timeout(LAST_ARRIVALS, serve(true)).await);
}

/// Serves a client.
fn start(
    (stream, peer): (TcpStream, SocketAddr),
    handlers: &Arc<Handlers>,
    drain: &watch::Receiver<bool>,
    alive: &DrainToken,
) {
    // Answers are small: each is sent at once.
    drop(stream.set_nodelay(true));
    // One that is gone already has no address, and needs none.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let watched = Arc::new(Watched::new(local, peer));
    let place = handlers.clients.let_in(&watched);
    let stream = Stream::new(stream, watched.clone(), place);
    let (handlers, drain, alive) = (handlers.clone(), drain.clone(), alive.clone());
    tokio::spawn(connection::serve(stream, watched, handlers, drain, alive));
}

/// Has the kernel refuse every new connection, as if nothing listened. Those that are being made keep
/// what they found, and come to be. Needs no capability, unlike a filter on the socket, and counts
/// for both families.
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    // A network interface by which nothing comes.
    const NONE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX.unsigned_abs());
    SockRef::from(listener).bind_device_by_index_v4(NONE)
}
