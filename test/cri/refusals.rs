//! What `kubectl describe` shows of a container that cannot run.

use crate::node::{Node, features};
use medley_test::*;

async fn a_program_that_is_not_there_shows_in_the_status(node: &Node) -> Result<()> {
    let pod = node.pod("bad").await?;
    let bad = node.sleeper("bad").command(["/no/such/program"]);
    let bad = pod.create(bad).await?;
    let error = bad.start().await.expect_err("there is no such program");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let status = bad.status().await?;
    assert_eq!(status.reason, "StartError");
    assert!(
        status.message.contains("/no/such/program"),
        "{}",
        status.message
    );
    // The pod goes on.
    pod.run(node.shell("good", "true"))
        .await?
        .ends_with(0)
        .await?;
    assert!(pod.is_ready().await?);
    pod.remove().await
}

async fn an_import_that_no_host_has_shows_in_the_status(node: &Node) -> Result<()> {
    let pod = node.pod("moon").await?;
    let bad = pod
        .create(node.guest("moon", &["/unknown-import.wasm"]))
        .await?;
    bad.start().await.expect_err("there is no `moon`");
    let message = bad.status().await?.message;
    assert!(
        message.contains("moon") && message.contains("base"),
        "{message}"
    );
    assert!(pod.is_ready().await?);
    pod.remove().await
}

features! {
    linux:
        a_program_that_is_not_there_shows_in_the_status;
    wasm:
        an_import_that_no_host_has_shows_in_the_status,
}
