//! The streaming server: `kubectl attach` and `kubectl port-forward`.

use crate::node::{Node, asked, features};
use medley_test::cri::Streams;
use medley_test::*;

/// Two who attach one after the other, to a container that repeats what it reads.
async fn attached_twice(container: &CriContainer) -> Result<()> {
    for line in ["one", "two"] {
        let mut streams = container.attach().await?;
        streams.send(format!("{line}\n").as_bytes()).await?;
        streams.expect(Streams::STDOUT, line).await?;
        streams.close().await;
    }
    container.expect_stdout("one\ntwo\n").await
}

async fn whoever_attaches_talks_to_the_container_and_may_come_again(node: &Node) -> Result<()> {
    let pod = node.pod("attach").await?;
    let script = "while read line; do echo $line; echo read $line >&2; done; echo end; sleep 3600";
    let it = pod.run(node.shell("it", script).stdin()).await?;
    let mut both = it.attach().await?;
    both.send(b"zero\n").await?;
    both.expect(Streams::STDOUT, "zero").await?;
    both.expect(Streams::STDERR, "read zero").await?;
    both.close().await;
    it.rotate_log().await?;
    attached_twice(&it).await?;
    pod.remove().await
}

async fn whoever_attaches_sees_what_a_container_says_by_itself(node: &Node) -> Result<()> {
    let pod = node.pod("watch").await?;
    let script = "until [ -e /data/go ]; do sleep 0.05; done; echo by itself; sleep 3600";
    let it = pod.run(node.shell("it", script)).await?;
    let mut streams = it.attach().await?;
    assert_eq!(asked(&it, "touch /data/go").await?, "");
    streams.expect(Streams::STDOUT, "by itself").await?;
    streams.close().await;
    pod.remove().await
}

async fn whoever_attaches_talks_to_a_guest_and_may_come_again(node: &Node) -> Result<()> {
    let pod = node.pod("attach-guest").await?;
    let it = pod.run(node.guest("it", &["/cat.wasm"]).stdin()).await?;
    attached_twice(&it).await?;
    pod.remove().await
}

async fn a_guest_that_is_executed_answers_a_line_that_it_is_sent(node: &Node) -> Result<()> {
    let pod = node.pod("exec-guest").await?;
    let it = pod.run(node.guest("it", &["/sleep.wasm"])).await?;
    let mut streams = it.exec_streams(&["/cat.wasm"]).await?;
    streams.send(b"a line\n").await?;
    streams.expect(Streams::STDOUT, "a line\n").await?;
    streams.send(b"another\n").await?;
    streams.expect(Streams::STDOUT, "another\n").await?;
    streams.close().await;
    pod.remove().await
}

async fn a_port_of_a_pod_is_forwarded(node: &Node) -> Result<()> {
    let pod = node.pod("forward").await?;
    // On the pod's own loopback, where nobody else gets.
    let serve = "mkdir /www && echo served > /www/index.html && \
        exec httpd -f -p 127.0.0.1:8080 -h /www";
    let web = pod.run(node.shell("web", serve)).await?;
    let up = "until wget -qO- http://127.0.0.1:8080/ 2> /dev/null; do sleep 0.05; done";
    assert_eq!(asked(&web, up).await?, "served");
    for _ in 0..2 {
        let mut port = pod.forward(8080).await?;
        port.send(b"GET / HTTP/1.0\r\n\r\n").await?;
        port.expect(Streams::STDIN, "served\n").await?;
        port.close().await;
    }
    // A port that nobody listens on is an error of that stream.
    let mut nobody = pod.forward(8081).await?;
    nobody.expect(Streams::STDOUT, "refused").await?;
    nobody.close().await;
    pod.remove().await
}

features! {
    linux:
        a_port_of_a_pod_is_forwarded,
        whoever_attaches_sees_what_a_container_says_by_itself,
        whoever_attaches_talks_to_the_container_and_may_come_again;
    wasm:
        a_guest_that_is_executed_answers_a_line_that_it_is_sent,
        whoever_attaches_talks_to_a_guest_and_may_come_again,
}
