//! Against a peer on a real socket that is no good containerd.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::{Address, Descriptor, Error, Store, digest_of};

/// What it answers to a call.
#[derive(Default)]
struct Reply {
    status: StatusCode,
    /// gRPC's status and message, before any message.
    refused: Option<(&'static str, &'static str)>,
    /// Its body, in frames.
    body: Vec<Vec<u8>>,
    /// gRPC's status at the end; the stream is reset without.
    end: Option<&'static str>,
}

/// A peer that answers one call, or none and hangs up.
struct Peer {
    _dir: TempDir,
    socket: PathBuf,
    runs: JoinHandle<io::Result<()>>,
}

impl Peer {
    fn replying(answer: Option<Reply>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("containerd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let runs = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(serve(listener, answer))
        });
        Self {
            _dir: dir,
            socket,
            runs,
        }
    }

    /// What `call` makes of it.
    fn heard<T>(self, call: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<T, Error> {
        let address = Address {
            socket: self.socket.clone(),
            namespace: "tests".to_owned(),
        };
        let heard = Store::connect(&address).and_then(|mut store| call(&mut store));
        self.runs.join().unwrap().unwrap();
        heard
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    answer: Option<Reply>,
) -> io::Result<()> {
    let (socket, _) = UnixListener::from_std(listener)?.accept().await?;
    let Some(answer) = answer else {
        return Ok(());
    };
    let mut connection = h2::server::handshake(socket)
        .await
        .map_err(io::Error::other)?;
    let mut answer = Some(answer);
    while let Some(call) = connection.accept().await {
        // A client that has enough may be gone by now.
        let Ok((_, respond)) = call else { break };
        if let Some(answer) = answer.take() {
            give(respond, answer).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn give(mut respond: SendResponse<Bytes>, answer: Reply) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    *head.status_mut() = answer.status;
    if let Some((code, message)) = answer.refused {
        let headers = head.headers_mut();
        headers.insert("grpc-status", HeaderValue::from_static(code));
        headers.insert("grpc-message", HeaderValue::from_static(message));
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut body = respond.send_response(head, false)?;
    for frame in answer.body {
        body.send_data(frame.into(), false)?;
    }
    match answer.end {
        Some(code) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(code));
            body.send_trailers(trailers)
        }
        None => body.send_data(Bytes::new(), true),
    }
}

/// One of gRPC's messages.
fn message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[0][..], &length, content].concat()
}

/// Some of a blob's content, as `Content/Read` answers.
fn data(content: &[u8]) -> Vec<u8> {
    let field = [&[2 << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat();
    message(&field)
}

/// A blob of this content, in a store that answers with those frames.
fn read(content: &[u8], body: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let mut hasher = Sha256::new();
    hasher.update(content);
    let blob = Descriptor {
        media_type: "application/wasm".to_owned(),
        digest: digest_of(hasher),
        size: content.len() as u64,
    };
    let answer = Reply {
        body,
        end: Some("0"),
        ..Reply::default()
    };
    Peer::replying(Some(answer)).heard(|store| {
        let mut kept = Vec::new();
        store.read(&blob, 1 << 20, |piece| {
            kept.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(kept)
    })
}

fn refusing(code: &'static str, message: &'static str) -> Peer {
    Peer::replying(Some(Reply {
        refused: Some((code, message)),
        ..Reply::default()
    }))
}

fn target(answer: Reply) -> String {
    let heard = Peer::replying(Some(answer)).heard(|store| store.target_of("an/image:1"));
    let mut text = String::new();
    let error = heard.unwrap_err();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

#[test]
fn content_in_pieces_is_what_its_digest_names() {
    let pieces = vec![[data(b"con"), data(b"")].concat(), data(b"tent")];
    assert_eq!(read(b"content", pieces).unwrap(), b"content");
    // However they are cut on their way.
    let bytes: Vec<_> = data(b"content").chunks(2).map(<[u8]>::to_vec).collect();
    assert_eq!(read(b"content", bytes).unwrap(), b"content");
}

#[test]
fn content_that_is_not_what_its_digest_names_is_refused() {
    for wrong in [&b"cOntent"[..], b"conten", b"contents", b""] {
        let error = read(b"content", vec![data(wrong)]).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{wrong:?}: {error}");
    }
}

#[test]
fn content_without_end_is_not_read_to_its_end() {
    let endless = vec![data(&[b'x'; 100]); 1000];
    let error = read(b"content", endless).unwrap_err();
    let Error::Damaged { size, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(size, 100);
}

#[test]
fn answers_that_are_not_grpc_say_what_they_are() {
    let missing = Reply {
        status: StatusCode::NOT_FOUND,
        ..Reply::default()
    };
    assert!(target(missing).contains("HTTP status 404"));
    let endless = Reply {
        body: vec![message(b"")],
        ..Reply::default()
    };
    assert!(target(endless).contains("it has no status"));
    let cut = Reply {
        body: vec![message(b"half of it")[..9].to_vec()],
        end: Some("0"),
        ..Reply::default()
    };
    assert!(target(cut).contains("it is cut"));
    let nonsense = Reply {
        body: vec![message(b"\xff\xff\xff\xff")],
        end: Some("0"),
        ..Reply::default()
    };
    let text = target(nonsense);
    assert!(
        text.contains("cannot read containerd's answer to an/image:1"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_told_from_what_is_refused() {
    let gone = refusing("5", "not found").heard(|store| store.image_of("a-container"));
    assert_eq!(gone.unwrap(), None);
    let gone = refusing("5", "not found").heard(|store| store.target_of("an/image:1"));
    assert!(matches!(gone, Err(Error::NoImage { .. })), "{gone:?}");
    let refused = refusing("7", "not%20yours").heard(|store| store.image_of("a-container"));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("not yours (code 7)"), "{text}");
}

#[test]
fn a_peer_that_hangs_up_is_no_hang() {
    let heard = Peer::replying(None).heard(|store| store.image_of("a-container"));
    assert!(matches!(heard, Err(Error::Call(_))), "{heard:?}");
}

#[test]
fn nobody_at_the_socket_is_named_with_its_path() {
    let address = Address {
        socket: PathBuf::from("unix:///nowhere/containerd.sock"),
        namespace: "tests".to_owned(),
    };
    let text = Store::connect(&address).unwrap_err().to_string();
    assert_eq!(
        text,
        "cannot connect to containerd at /nowhere/containerd.sock"
    );
}
