//! Where a server listens in a pod without IPv6, and what it does without files.

use crate::http::{self, Server};
use medley_test::http::get;
use medley_test::proc;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpStream;

/// In a new network namespace it is down.
fn bring_up_loopback(pid: u32) -> Result<()> {
    let target = pid.to_string();
    let done = Command::new("nsenter")
        .args(["-t", &target, "-n", "ip", "link", "set", "lo", "up"])
        .output()
        .context("cannot run nsenter")?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

/// What a server in another network namespace answers.
fn ask_inside(pid: u32, address: SocketAddr) -> Result<String> {
    let asked = std::thread::spawn(move || {
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        // The thread ends with it.
        setns(network, CloneFlags::CLONE_NEWNET)?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(containerd::PATIENCE))?;
        stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::Ok(answer)
    });
    asked.join().map_err(|_| anyhow!("it panicked"))?
}

#[tokio::test]
async fn without_ipv6_a_server_listens_on_every_address_of_ipv4() -> Result<()> {
    let image = http::image()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], 8080));
    for listen in ["", "[::]:8080", ":8080"] {
        let mut spec = client.spec(&image, "it").edit(|json| {
            for name in ["all", "default", "lo"] {
                json["linux"]["sysctl"][format!("net.ipv6.conf.{name}.disable_ipv6")] = "1".into();
            }
        });
        if !listen.is_empty() {
            spec = spec.env(&format!("WASMTIME_HTTP_PROXY_SOCKET_ADDR={listen}"));
        }
        let container = client.create("it", &image, spec).await?;
        let mut task = container.start(Stdin::None).await?;
        bring_up_loopback(task.pid)?;
        let answer = ask_inside(task.pid, address)?;
        assert!(answer.ends_with("hello\n"), "{listen:?}: {answer}");
        task.kill(15, false).await?;
        assert_eq!(task.wait().await?, 143);
        let (_, stderr) = task.output().await?;
        assert_eq!(stderr, "", "{listen:?}");
        task.delete().await?;
        container.delete().await?;
    }
    // One that is named, and is not there, is told.
    let spec = client
        .spec(&image, "it")
        .env("WASMTIME_HTTP_PROXY_SOCKET_ADDR=[::1]:8080")
        .edit(|json| {
            json["linux"]["sysctl"]["net.ipv6.conf.all.disable_ipv6"] = "1".into();
        });
    let status = client.refused("it", &image, spec).await?;
    let expected = "cannot listen on [::1]:8080: the pod has no such address";
    assert!(status.message().contains(expected), "{}", status.message());
    containerd.close().await
}

/// Sets how many files a process may have open.
fn limit_files(pid: u32, count: usize) -> Result<()> {
    let done = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={count}:")])
        .output()
        .context("cannot run prlimit")?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_files_waits_for_some_and_goes_on() -> Result<()> {
    let server = Server::start(&[]).await?;
    let pid = server.task.pid;
    assert_eq!(get(server.address, "/hello").await?.status, 200);
    let open = || anyhow::Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count());
    let before = open()?;
    limit_files(pid, 3)?;
    let waiting = TcpStream::connect(server.address).await?;
    let address = server.address;
    let asking = tokio::spawn(async move { get(address, "/hello").await });
    let used = proc::ticks(pid);
    // What is tested is what it does in this time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = proc::ticks(pid) - used;
    assert!(used < 40, "{used} of 200 ticks");
    assert!(!asking.is_finished(), "it is answered without a file");
    limit_files(pid, 1024)?;
    assert_eq!(asking.await??.body, "hello\n");
    drop(waiting);
    proc::until("its files are closed again", || {
        open().is_ok_and(|count| count <= before)
    })
    .await?;
    let (_, stderr) = server.stop().await?;
    let lines = stderr
        .lines()
        .filter(|line| line.contains("cannot accept a connection: "));
    assert_eq!(lines.count(), 1, "{stderr}");
    Ok(())
}
