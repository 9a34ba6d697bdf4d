//! `ctr run` itself.

use medley_test::*;

async fn ctr_run(runtime: Runtime, image: &Image, args: &[&str]) -> Result<(Option<i32>, String)> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    containerd.leftovers().expect_gone(containerd.name(), "x");
    let mut words = vec!["run", "--rm", "--runtime", runtime.name(), &image.name, "x"];
    words.extend(args);
    let done = containerd.ctr(&words).await?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(stderr, "");
    let answer = (done.status.code(), String::from_utf8(done.stdout)?);
    containerd.close().await?;
    Ok(answer)
}

each_runtime! {
    async fn ctr_run_rm_of_a_linux_image(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        let args = ["/bin/sh", "-c", "echo hello; exit 42"];
        assert_eq!(ctr_run(runtime, &image, &args).await?, (Some(42), "hello\n".to_owned()));
        Ok(())
    }
}

#[tokio::test]
async fn ctr_run_rm_of_a_module() -> Result<()> {
    let image = images::wasm("hello", &guests::module("hello")?)?;
    assert_eq!(
        ctr_run(Runtime::Medley, &image, &[]).await?,
        (Some(0), "hello\n".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn ctr_run_rm_of_a_component() -> Result<()> {
    let image = images::wasm("exit", &guests::module("exit-with-code")?)?;
    let args = ["/exit.wasm", "42"];
    assert_eq!(
        ctr_run(Runtime::Medley, &image, &args).await?,
        (Some(42), String::new())
    );
    Ok(())
}
