//! The cache of native code: what it saves, and what it may never do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use medley_test::*;

/// The files of one folder of the cache.
fn files(containerd: &Containerd, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(containerd.dir().join("cache").join(folder));
    let mut files: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Runs the guest `hello`, by module or component, and says what it printed.
async fn hello(containerd: &Containerd, id: &str, image: &Image) -> Result<()> {
    let done = containerd.client().await?.run_image(id, image).await?;
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "hello\n", "")
    );
    Ok(())
}

#[tokio::test]
async fn a_module_is_compiled_once() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let module = images::wasm("module", &guests::module("hello")?)?;
    let component = images::wasm("component", &guests::component("hello")?)?;
    containerd.import(&[&module, &component]).await?;
    hello(&containerd, "first", &module).await?;
    let entries = files(&containerd, "code");
    assert_eq!(entries.len(), 1);
    let made = fs::metadata(&entries[0])?.ino();
    hello(&containerd, "second", &module).await?;
    assert_eq!(files(&containerd, "code"), entries);
    let now = fs::metadata(&entries[0])?.ino();
    assert_eq!(made, now, "the entry was written again");
    hello(&containerd, "third", &component).await?;
    hello(&containerd, "fourth", &component).await?;
    assert_eq!(files(&containerd, "code").len(), 2);
    containerd.close().await
}

#[tokio::test]
async fn many_first_starts_at_once_leave_one_entry() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let start = |id: &'static str| hello(&containerd, id, &image);
    tokio::try_join!(
        start("a"),
        start("b"),
        start("c"),
        start("d"),
        start("e"),
        start("f")
    )?;
    assert_eq!(files(&containerd, "code").len(), 1);
    assert_eq!(files(&containerd, "keys").len(), 1);
    containerd.close().await
}

#[tokio::test]
async fn a_damaged_entry_costs_a_compile_and_no_start() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    hello(&containerd, "first", &image).await?;
    let entry = files(&containerd, "code").remove(0);
    let mut code = fs::read(&entry)?;
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o600))?;
    fs::write(&entry, &code)?;
    hello(&containerd, "second", &image).await?;
    assert_ne!(fs::read(&entry)?, code, "the damaged entry is still there");
    hello(&containerd, "third", &image).await?;
    containerd.close().await
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_costs_no_start() -> Result<()> {
    for broken in ["a file", "somebody else's"] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let image = images::wasm("hello", &guests::module("hello")?)?;
        containerd.import(&[&image]).await?;
        let folder = containerd.dir().join("cache");
        if broken == "a file" {
            fs::write(&folder, "")?;
        } else {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        }
        hello(&containerd, "x", &image).await?;
        assert!(
            containerd.log().contains("not cached: "),
            "{broken}: nobody is told"
        );
        containerd.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn native_code_in_an_image_is_never_run() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let honest = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&honest]).await?;
    hello(&containerd, "honest", &honest).await?;
    let native = fs::read(files(&containerd, "code").remove(0))?;
    // What Wasmtime itself would load, as the entrypoint of an image.
    let forged = ImageBuilder::scratch("medley.test/forged:latest")
        .file("/hello.wasm", &native, 0o755)
        .entrypoint(["/hello.wasm"])
        .build()?;
    containerd.import(&[&forged]).await?;
    let client = containerd.client().await?;
    for handler in ["", "wasmtime"] {
        let spec = client
            .spec(&forged, "forged")
            .annotation("run.oci.handler", handler);
        let status = client.refused("forged", &forged, spec).await?;
        assert!(
            status.message().contains("/hello.wasm"),
            "{}",
            status.message()
        );
    }
    assert_eq!(files(&containerd, "code").len(), 1);
    containerd.close().await
}
