//! gRPC of guests: their calls to a server that Go's library makes, and calls of a client that Rust's
//! makes.

use crate::http::Server;
use crate::http_outgoing::{Askers, assert_said};
use crate::{http, wasi_0_3};
use futures_util::{StreamExt, stream};
use medley_test::peer::Peer;
use medley_test::*;
use std::net::{IpAddr, Ipv4Addr};
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const RPC: [&str; 4] = [
    "method=POST",
    "header=content-type:application/grpc",
    "header=te:trailers",
    "as=hex",
];

/// containerd's services on a port of this machine.
async fn services(containerd: &Containerd) -> Result<Peer> {
    let socket = containerd.socket();
    Peer::accepting(LOOPBACK, move |mut client| {
        let socket = socket.clone();
        async move {
            let mut server = UnixStream::connect(socket).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            Ok(())
        }
    })
    .await
}

#[tokio::test]
async fn a_guest_calls_a_server_and_converses_with_it() -> Result<()> {
    let askers = Askers::start().await?;
    let server = services(&askers.containerd).await?;
    let call = async |more: &[&str]| {
        let args = [RPC.as_slice(), more].concat();
        askers.ask(server.address(), &[], &args).await
    };
    // No variable says so: gRPC has no other form.
    let version = [
        "path=/containerd.services.version.v1.Version/Version",
        "hex=0000000000",
    ];
    let done = call(&version).await?;
    assert_said(
        &done,
        &["status 200", "header content-type: application/grpc"],
    );
    assert_said(&done, &["trailer grpc-status: 0"]);
    for done in &done {
        // The first field of the message, a text.
        assert!(
            done.stdout
                .lines()
                .any(|line| line.starts_with("body 00000000") && line[15..].starts_with("0a")),
            "{done:?}"
        );
    }

    // `WriteContentRequest` asks for the state of what is called x, twice, each time answered.
    let ask = "hex=0000000003120178";
    let path = "path=/containerd.services.content.v1.Content/Write";
    let namespace = "header=containerd-namespace:default";
    let done = call(&[path, namespace, ask, "receive=", ask, "receive="]).await?;
    assert_said(&done, &["status 200", "trailer grpc-status: 0"]);
    for done in &done {
        let answers = done
            .stdout
            .lines()
            .filter(|line| line.starts_with("body 0000"));
        // Once more at the end.
        assert_eq!(answers.count(), 3, "{done:?}");
    }

    // Refused in the head already.
    let done = call(&["path=/no.such.Service/Call", "hex=0000000000"]).await?;
    assert_said(&done, &["status 200", "header grpc-status: 12", "0 bytes"]);
    askers.containerd.close().await
}

type Message = prost_types::Duration;

fn message(number: i64) -> Message {
    Message {
        seconds: number,
        nanos: 7,
    }
}

async fn client(server: &Server) -> Result<(Grpc<Channel>, ProstCodec<Message, Message>)> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address))?;
    let mut client = Grpc::new(endpoint.connect().await?);
    client.ready().await?;
    Ok((client, ProstCodec::default()))
}

#[tokio::test]
async fn a_handler_is_called_and_conversed_with() -> Result<()> {
    for image in [http::image()?, wasi_0_3::handler()?] {
        let server = Server::of(&image, &[], |spec| spec).await?;
        let path = PathAndQuery::from_static("/medley.Echo/Echo");
        let (mut client, codec) = client(&server).await?;
        let request = tonic::Request::new(message(42));
        let answer = client.unary(request, path.clone(), codec).await?;
        assert_eq!(answer.into_inner(), message(42));

        // The next message is sent when the one before has come back.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let messages = stream::unfold(receiver, |mut receiver| async {
            let next = receiver.recv().await?;
            Some((next, receiver))
        });
        let request = tonic::Request::new(messages.boxed());
        sender.send(message(0)).await?;
        client.ready().await?;
        let codec = ProstCodec::<Message, Message>::default();
        let answer = client.streaming(request, path.clone(), codec).await?;
        let mut answers = answer.into_inner();
        for number in 0..100 {
            assert_eq!(answers.message().await?, Some(message(number)));
            sender.send(message(number + 1)).await?;
        }
        drop(sender);
        assert_eq!(answers.message().await?, Some(message(100)));
        assert_eq!(answers.message().await?, None);

        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn trailers_of_a_request_reach_its_handler() -> Result<()> {
    for image in [http::image()?, wasi_0_3::handler()?] {
        let server = Server::of(&image, &[], |spec| spec).await?;
        let trailers =
            medley_test::http::trailers(server.address, "/medley.Echo/Echo", "x-sum", "6").await?;
        assert_eq!(
            trailers.get("x-sum").map(String::as_str),
            Some("6"),
            "{trailers:?}"
        );
        assert_eq!(
            trailers.get("grpc-status").map(String::as_str),
            Some("0"),
            "{trailers:?}"
        );
        server.stop().await?;
    }
    Ok(())
}
