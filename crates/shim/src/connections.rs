//! The connections to the shim: its last reply is read before they are closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::r#async::Server;
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// How long a peer may take to close its connection once it has its reply.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections are open.
#[derive(Debug)]
pub(crate) struct Connections {
    open: watch::Sender<usize>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        let (open, _) = watch::channel(0);
        Self { open }
    }

    /// What gives `listener`'s connections to a server, and counts them.
    pub(crate) fn listen(&self, listener: UnixListener) -> Listener {
        let state = (listener, self.open.clone());
        Listener::new(stream::unfold(state, |(listener, open)| async move {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(stream, _)| Connection::new(stream, &open));
            Some((accepted, (listener, open)))
        }))
    }

    /// Waits until the peers have closed their connections.
    ///
    /// If a connection ends right behind a reply, ttrpc's Go client may see the end and not the reply,
    /// and containerd fails the removal of the pod. It closes the connection itself once it has the
    /// reply.
    pub(crate) async fn closed_by_peers(&self) {
        let mut open = self.open.subscribe();
        let closed = open.wait_for(|open| *open == 0);
        if tokio::time::timeout(PEER_TIMEOUT, closed).await.is_err() {
            log::warn!("a client has not closed its connection within {PEER_TIMEOUT:?}");
        }
    }
}

/// Ends the server. It takes no more calls, and closes a connection once the calls on it have their
/// replies.
pub(crate) async fn close(mut server: Server) -> ttrpc::Result<()> {
    server.shutdown().await
}

/// A connection that is counted as long as it is open.
struct Connection {
    stream: UnixStream,
    open: watch::Sender<usize>,
}

impl Connection {
    fn new(stream: UnixStream, open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        let open = open.clone();
        Self { stream, open }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{Connections, close};
    use async_trait::async_trait;
    use containerd_shim_protos::ttrpc;
    use containerd_shim_protos::ttrpc::r#async::transport::Socket;
    use containerd_shim_protos::ttrpc::r#async::{
        Client, MethodHandler, Server, Service, TtrpcContext,
    };
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use tokio::net::{UnixListener, UnixStream};
    use tokio::sync::Notify;

    /// Ends the server, as Shutdown does, and replies afterwards.
    struct End(Arc<Notify>);

    #[async_trait]
    impl MethodHandler for End {
        async fn handler(
            &self,
            _: TtrpcContext,
            request: ttrpc::Request,
        ) -> ttrpc::Result<ttrpc::Response> {
            self.0.notify_one();
            tokio::task::yield_now().await;
            let mut response = ttrpc::Response::new();
            response.set_status(ttrpc::get_status(ttrpc::Code::OK, ""));
            response.payload = request.payload;
            Ok(response)
        }
    }

    struct Shim {
        path: PathBuf,
        server: Server,
        connections: Connections,
        ended: Arc<Notify>,
    }

    impl Shim {
        async fn new(name: &str) -> Self {
            let name = format!("medley-connections-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::remove_file(&path).ok();
            let connections = Connections::new();
            let listener = connections.listen(UnixListener::bind(&path).unwrap());
            let ended = Arc::new(Notify::new());
            let end: Box<dyn MethodHandler + Send + Sync> = Box::new(End(Arc::clone(&ended)));
            let service = Service {
                methods: HashMap::from([("End".to_owned(), end)]),
                streams: HashMap::new(),
            };
            let mut server = Server::new()
                .add_listener(listener)
                .register_service(HashMap::from([("Test".to_owned(), service)]));
            server.start().await.unwrap();
            Self {
                path,
                server,
                connections,
                ended,
            }
        }
    }

    impl Drop for Shim {
        fn drop(&mut self) {
            std::fs::remove_file(&self.path).unwrap();
        }
    }

    async fn connect(path: &Path) -> Client {
        Client::new(Socket::new(UnixStream::connect(path).await.unwrap()))
    }

    async fn call(client: &Client, payload: &[u8]) -> ttrpc::Result<ttrpc::Response> {
        let mut request = ttrpc::Request::new();
        request.service = "Test".to_owned();
        request.method = "End".to_owned();
        request.payload = payload.to_vec();
        client.request(request).await
    }

    #[tokio::test]
    async fn the_call_that_ends_the_shim_has_its_reply() {
        for _ in 0..100 {
            let mut shim = Shim::new("reply").await;
            let client = connect(&shim.path).await;
            let called = tokio::spawn(async move { call(&client, b"last").await });
            shim.ended.notified().await;
            close(std::mem::take(&mut shim.server)).await.unwrap();
            let reply = called.await.unwrap().unwrap();
            assert_eq!(reply.payload, b"last");
        }
    }

    #[tokio::test]
    async fn a_connection_stays_open_until_its_peer_closes_it() {
        let shim = Shim::new("peer").await;
        let peer = UnixStream::connect(&shim.path).await.unwrap();
        let mut open = shim.connections.open.subscribe();
        open.wait_for(|open| *open == 1).await.unwrap();
        let closed = shim.connections.closed_by_peers();
        tokio::pin!(closed);
        tokio::select! {
            biased;
            () = &mut closed => panic!("the peer has not closed it"),
            () = std::future::ready(()) => {}
        }
        drop(peer);
        closed.await;
        assert_eq!(*shim.connections.open.borrow(), 0);
    }
}
