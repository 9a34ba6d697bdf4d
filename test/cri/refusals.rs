//! What `kubectl describe` shows of a container that cannot run.

use medley_test::*;

each_runtime! {
    async fn a_program_that_is_not_there_shows_in_the_status(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("bad", PodOptions::default()).await?;
        let bad = PodContainer::new("bad", &linux).command(["/no/such/program"]);
        let bad = pod.create(bad).await?;
        let error = bad.start().await.expect_err("there is no such program");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
        let status = bad.status().await?;
        assert_eq!(status.reason, "StartError");
        assert!(status.message.contains("/no/such/program"), "{}", status.message);
        // The pod goes on.
        let good = pod.run(PodContainer::new("good", &linux).command(["/bin/true"])).await?;
        assert_eq!(good.wait().await?.exit_code, 0);
        assert!(pod.is_ready().await?);
        pod.remove().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn an_import_that_no_host_has_shows_in_the_status() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let moon = images::wasm("moon", &guests::module("unknown-import")?)?;
    containerd.import_cri(&[&moon]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("bad", PodOptions::default())
        .await?;
    let bad = pod.create(PodContainer::new("moon", &moon)).await?;
    bad.start().await.expect_err("nobody has `moon`");
    let message = bad.status().await?.message;
    assert!(
        message.contains("moon") && message.contains("base"),
        "{message}"
    );
    assert!(pod.is_ready().await?);
    pod.remove().await?;
    containerd.close().await
}
