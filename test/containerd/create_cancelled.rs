//! A client that goes away in the middle of Create.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::time::Duration;

/// Gives Create up after each of these milliseconds: while the shim starts, while it
/// makes the container, and about when it answers.
const GIVEN_UP_AFTER: [u64; 10] = [1, 4, 9, 14, 19, 25, 32, 41, 55, 80];

async fn given_up(image: &Image) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    for delay in GIVEN_UP_AFTER {
        let id = format!("after-{delay}");
        let container = client.create(&id, image, client.spec(image, &id)).await?;
        let create = container.task(Stdin::None);
        // Dropping the call resets its stream, which cancels it in containerd.
        let answer = tokio::time::timeout(Duration::from_millis(delay), create).await;
        if let Ok(answer) = answer {
            answer?;
        }
    }
    // containerd goes on cleaning up for a while, and deletes of that time race with it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.remove_all().await?;
    expect_no_shim(&containerd)?;

    // And the next one is none the worse for it.
    let container = client.create("it", image, client.spec(image, "it")).await?;
    container.start(Stdin::None).await?.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// Nothing is left but, perhaps, sockets without a process: containerd ends a `start` that was given
/// up with SIGKILL, and between its bind and its spawn it alone knows of the socket. The next
/// `start` of the same id takes such a socket over.
fn expect_no_shim(containerd: &Containerd) -> Result<()> {
    let Err(left) = containerd.expect_clean() else {
        return Ok(());
    };
    let text = format!("{left:#}");
    let sockets: Option<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|line| line.trim().strip_prefix("socket "))
        .collect();
    match sockets {
        Some(sockets) if !sockets.is_empty() => sockets
            .into_iter()
            .try_for_each(|socket| Ok(std::fs::remove_file(socket)?)),
        _ => Err(left),
    }
}

/// Not with runc: containerd 1.6 leaves its shims behind.
#[tokio::test]
async fn a_linux_create_that_is_given_up_leaves_no_shim() -> Result<()> {
    let image = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()?;
    given_up(&image).await
}

#[tokio::test]
async fn a_wasm_create_that_is_given_up_leaves_no_shim() -> Result<()> {
    given_up(&images::wasm("sleep", &guests::module("sleep")?)?).await
}
