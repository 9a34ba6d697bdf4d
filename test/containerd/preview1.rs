//! WASI preview 1, call by call.

use medley_test::*;
use std::os::unix::fs::PermissionsExt;

async fn answers_rightly(engine: Engine, wasm: Vec<u8>) -> Result<()> {
    let image = ImageBuilder::scratch("preview1")
        .file("/preview1.wasm", wasm, 0o644)
        .env("COLOUR=blue")
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o777))?;
    let args = ["/preview1.wasm", "/vol", "one", "two words"];
    let spec = client
        .spec(&image, "it")
        .args(args)
        .bind(&volume, "/vol", false);
    let done = client.run("it", &image, engine.runs(spec)).await?;
    let (out, err) = (done.stdout.as_str(), done.stderr.as_str());
    assert_eq!((done.code, out, err), (0, "0 answers are wrong\n", ""));
    assert_eq!(std::fs::read_dir(&volume)?.count(), 0);
    containerd.close().await
}

each_engine_but_wasmer! {
    async fn each_call_of_a_module_is_answered_rightly(engine: Engine) -> Result<()> {
        answers_rightly(engine, guests::module("preview1")?).await
    }
}

#[tokio::test]
async fn each_call_of_a_component_is_answered_rightly() -> Result<()> {
    answers_rightly(Engine::Wasmtime, guests::component("preview1")?).await
}
