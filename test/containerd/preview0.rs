//! Modules of `wasi_unstable`, what came before WASI preview 1.

use medley_test::*;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_module_of_preview_0_is_answered_as_it_expects() -> Result<()> {
    let image = images::wasm("preview0", &guests::module("preview0")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o777))?;
    let spec = client
        .spec(&image, "it")
        .args(["/preview0.wasm", "/vol", "two words"])
        .bind(&volume, "/vol", false);
    let done = client.run("it", &image, spec).await?;
    let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
    // A code that Wasmtime's own proc_exit would trap on.
    assert_eq!(said, (200, "/vol\ntwo words\n", ""));
    containerd.close().await
}

#[tokio::test]
async fn a_module_of_both_previews_has_both() -> Result<()> {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_unstable" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\05\00\00\00both\0a")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (call $exit (i32.const 3))))"#;
    let done = Scenario::of(
        Runtime::Medley,
        Ok(images::wasm("both", &wat::parse_str(wat)?)?),
    )
    .finished()
    .await?;
    assert_eq!((done.code, done.stdout.as_str()), (3, "both\n"), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn preview_0_goes_to_the_engine_that_has_it() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let wat = r#"(module (import "wasi_unstable" "sched_yield" (func (result i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    let image = images::wasm("old", &wat::parse_str(wat)?)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let client = client.with_toml_options("DefaultEngine = \"wasmedge\"");
    assert_eq!(client.run_image("it", &image).await?.code, 0);
    containerd.close().await
}
