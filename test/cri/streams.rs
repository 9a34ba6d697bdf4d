//! The streaming server: `kubectl attach`, `kubectl port-forward`, and terminals.

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

/// Answers a line, tells when its terminal is 101 wide and 37 high, and goes on until Ctrl-C.
const ON_A_TERMINAL: &str = "trap 'exit 130' INT; tty; read line; echo answer $line; \
    until [ \"$(stty size)\" = '37 101' ]; do sleep 0.05; done; echo sized; \
    while true; do sleep 0.05; done";

/// Talks to [`ON_A_TERMINAL`], and ends it.
async fn typed_to_a_program(streams: &mut Streams) -> Result<()> {
    streams.send(b"hello\r").await?;
    streams.expect(Streams::STDOUT, "answer hello\r\n").await?;
    streams.resize(101, 37).await?;
    streams.expect(Streams::STDOUT, "sized\r\n").await?;
    streams.send(b"\x03").await
}

/// Talks to `cat`, and ends it. The terminal shows what is typed, and the guest says it again.
async fn typed_to_a_guest(streams: &mut Streams) -> Result<()> {
    streams.send(b"a line\r").await?;
    streams
        .expect(Streams::STDOUT, "a line\r\na line\r\n")
        .await?;
    streams.send(b"\x03").await
}

async fn kubectl_exec_it_is_a_terminal_with_lines_a_size_and_ctrl_c(node: &Node) -> Result<()> {
    let pod = node.pod("exec-terminal").await?;
    let it = pod.run(node.sleeper("it")).await?;
    let mut streams = it.exec_on_a_terminal(&["sh", "-c", ON_A_TERMINAL]).await?;
    typed_to_a_program(&mut streams).await?;
    streams.expect(Streams::STATUS, "130").await?;
    streams.close().await;
    pod.remove().await
}

async fn kubectl_run_it_is_a_terminal_with_lines_a_size_and_ctrl_c(node: &Node) -> Result<()> {
    let pod = node.pod("terminal").await?;
    let it = pod.run(node.shell("it", ON_A_TERMINAL).terminal()).await?;
    let mut streams = it.attach_to_its_terminal().await?;
    typed_to_a_program(&mut streams).await?;
    it.ends_with(130).await?;
    streams.close().await;
    it.wait_for_log("answer hello").await?;
    pod.remove().await
}

/// With lines and Ctrl-C.
async fn kubectl_exec_it_of_a_guest_is_a_terminal(node: &Node) -> Result<()> {
    let pod = node.pod("exec-guest-terminal").await?;
    let it = pod.run(node.guest("it", &["/sleep.wasm"])).await?;
    let mut streams = it.exec_on_a_terminal(&["/cat.wasm"]).await?;
    typed_to_a_guest(&mut streams).await?;
    streams.expect(Streams::STATUS, "130").await?;
    streams.close().await;
    pod.remove().await
}

/// With lines and Ctrl-C.
async fn kubectl_run_it_of_a_guest_is_a_terminal(node: &Node) -> Result<()> {
    let pod = node.pod("guest-terminal").await?;
    let it = pod.run(node.guest("it", &["/cat.wasm"]).terminal()).await?;
    let mut streams = it.attach_to_its_terminal().await?;
    typed_to_a_guest(&mut streams).await?;
    it.ends_with(130).await?;
    streams.close().await;
    pod.remove().await
}

async fn a_port_of_a_pod_is_forwarded(node: &Node) -> Result<()> {
    let pod = node.pod("forward").await?;
    // On the pod's own loopback, where no other pod gets.
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
    // A port without a listener is an error of that stream.
    let mut nobody = pod.forward(8081).await?;
    nobody.expect(Streams::STDOUT, "refused").await?;
    nobody.close().await;
    pod.remove().await
}

features! {
    linux:
        a_port_of_a_pod_is_forwarded,
        kubectl_exec_it_is_a_terminal_with_lines_a_size_and_ctrl_c,
        kubectl_run_it_is_a_terminal_with_lines_a_size_and_ctrl_c,
        whoever_attaches_sees_what_a_container_says_by_itself,
        whoever_attaches_talks_to_the_container_and_may_come_again;
    wasm:
        a_guest_that_is_executed_answers_a_line_that_it_is_sent,
        kubectl_exec_it_of_a_guest_is_a_terminal,
        kubectl_run_it_of_a_guest_is_a_terminal,
        whoever_attaches_talks_to_a_guest_and_may_come_again,
}
