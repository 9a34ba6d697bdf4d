//! Sockets and names of guests: a component finds another one by its pod's resolv.conf and hosts,
//! and talks to it.

use k8s_cri::v1;
use medley_test::dns::Dns;
use medley_test::*;
use std::net::Ipv4Addr;

const SERVER: &str = "/net.wasm";

/// A client of WASI 0.3.
const ASYNC: &str = "/async.wasm";

#[tokio::test]
async fn components_of_a_pod_talk_by_name_over_tcp_and_udp() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ImageBuilder::scratch("net")
        .file(SERVER, guests::of_world("net", "net")?, 0o644)
        .file(
            ASYNC,
            guests::of_world("async-command", "async-command")?,
            0o644,
        )
        .build()?;
    containerd.import_cri(&[&image]).await?;
    let options = PodOptions {
        dns: Some(v1::DnsConfig {
            servers: vec![Ipv4Addr::LOCALHOST.to_string()],
            searches: vec!["pod.test".into()],
            options: Vec::new(),
        }),
        ..Default::default()
    };
    let pod = containerd.cri().await?.run_pod("net", options).await?;
    // As a kubelet lays it.
    let hosts = containerd.dir().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} beside\n", pod.ip))?;
    let guest_of = |file: &str, name: &str, args: &[&str]| {
        PodContainer::new(name, &image)
            .command([file].into_iter().chain(args.iter().copied()))
            .volume(&hosts, "/etc/hosts", true)
    };
    let guest = |name: &str, args: &[&str]| guest_of(SERVER, name, args);
    let tcp = pod.run(guest("tcp", &["serve", "4", "8080"])).await?;
    tcp.wait_for_log("listening").await?;
    let second = pod.run(guest("second", &["serve", "4", "8081"])).await?;
    second.wait_for_log("listening").await?;
    let udp = pod.run(guest("udp", &["answer", "4", "5353"])).await?;
    udp.wait_for_log("listening").await?;
    let names = [("web.pod.test", Ipv4Addr::LOCALHOST)];
    let dns = Dns::serve(tcp.pid().await?, &names).await?;

    for (name, args, code, said) in [
        ("by-dns", ["resolve", "web", ""], 0, "127.0.0.1\n"),
        (
            "by-hosts",
            ["resolve", "beside", ""],
            0,
            &*format!("{}\n", pod.ip),
        ),
        ("by-none", ["resolve", "nobody", ""], 1, ""),
        ("get", ["get", "web", "8080"], 0, "you said: hello\n"),
        ("ask", ["ask", "beside", "5353"], 0, "you said: ping\n"),
        ("refused", ["get", "127.0.0.1", "9"], 1, ""),
    ] {
        let asks = pod.run(guest(name, &args)).await?;
        asks.ends_with(code).await.with_context(|| name)?;
        asks.expect_stdout(said).await.with_context(|| name)?;
    }
    for (name, args, code, said) in [
        ("async-dns", ["resolve", "web", ""], 0, "127.0.0.1\n"),
        ("async-none", ["resolve", "nobody", ""], 1, ""),
        ("async-get", ["get", "web", "8081"], 0, "you said: hello\n"),
    ] {
        let asks = pod.run(guest_of(ASYNC, name, &args)).await?;
        asks.ends_with(code).await.with_context(|| name)?;
        asks.expect_stdout(said).await.with_context(|| name)?;
    }
    tcp.ends_with(0).await?;
    second.ends_with(0).await?;
    udp.ends_with(0).await?;
    dns.close().await;
    pod.remove().await?;
    containerd.close().await
}
