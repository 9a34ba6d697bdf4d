//! `containerd-shim-wasm-v1 cache`, as people and those who build node images use it.

use std::path::Path;
use std::process::{Command, Output};

use medley_test::*;
use serde_json::Value;

/// Runs the command on the cache in `dir`.
fn cache(dir: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(runtime::shim_path()?)
        .arg("cache")
        .args(args)
        .env("CONTAINERD_SHIM_WASM_CACHE", dir)
        .output()?)
}

/// What it printed, having done what it should.
fn done(dir: &Path, args: &[&str]) -> Result<String> {
    let done = cache(dir, args)?;
    assert!(done.status.success(), "{args:?}: {done:?}");
    assert!(done.stderr.is_empty(), "{args:?}: {done:?}");
    Ok(String::from_utf8(done.stdout)?)
}

fn json(dir: &Path, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&done(dir, args)?)?)
}

#[tokio::test]
async fn a_module_that_was_warmed_is_not_compiled_when_it_starts() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let dir = containerd.dir().join("cache");
    let module = containerd.dir().join("app.wasm");
    std::fs::write(&module, guests::module("hello")?)?;
    let path = module.to_string_lossy();
    let first = done(&dir, &["warm", &path])?;
    assert_eq!(first, format!("{path}: compiled, wasmtime\n"));
    let second = done(&dir, &["warm", &path])?;
    assert_eq!(second, format!("{path}: there already, wasmtime\n"));

    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let ran = containerd.client().await?.run_image("x", &image).await?;
    assert_eq!(ran.stdout, "hello\n");
    assert!(!containerd.log().contains("compiled engine="));

    let listed = json(&dir, &["ls", "--json"])?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let entry = &listed[0];
    assert_eq!(entry["inUse"], false);
    assert_eq!(entry["modules"][0]["engine"], "wasmtime");
    assert_eq!(entry["modules"][0]["name"], *path);
    let digest = entry["modules"][0]["digest"].as_str().unwrap_or_default();
    assert!(digest.starts_with("sha256:"), "{digest}");
    let table = done(&dir, &["ls"])?;
    assert!(table.starts_with("MODULE"), "{table}");
    assert!(table.contains(&digest["sha256:".len()..][..12]), "{table}");
    let stat = json(&dir, &["stat", "--json"])?;
    assert_eq!((&stat["entries"], &stat["inUse"]), (&1.into(), &0.into()));
    assert_eq!(stat["size"], entry["size"]);
    assert!(done(&dir, &["stat"])?.contains("of 1.0 GiB"));

    assert!(done(&dir, &["prune", "--older-than", "1d"])?.starts_with("removed 0 entries"));
    let pruned = json(&dir, &["prune", "--all", "--json"])?;
    assert_eq!(pruned["removed"][0]["code"], entry["code"]);
    assert_eq!(json(&dir, &["ls", "--json"])?, serde_json::json!([]));
    containerd.close().await
}

/// The arguments that warm what is called so.
fn warm<'a>(names: &[&'a str], asked: &[&'a str]) -> Vec<&'a str> {
    [&["warm"], names, asked].concat()
}

/// An artifact's layers and the file that an ordinary image starts with, as containerd has them.
#[tokio::test]
async fn images_are_warmed_by_their_names() -> Result<()> {
    const WASM: &str = "application/wasm";
    let containerd = Containerd::start(Runtime::Medley).await?;
    let dir = containerd.dir().join("cache");
    let artifact = ArtifactBuilder::new("artifact")
        .layer(WASM, guests::component("hello")?)
        .titled("hello.wasm")
        .layer(WASM, guests::module("exit-with-code")?)
        .titled("exit.wasm")
        .entrypoint(["hello.wasm"])
        .build()?;
    let rootfs = ImageBuilder::scratch("rootfs")
        .file("/opt/app.wasm", guests::module("hello")?, 0o644)
        .entrypoint(["/opt/app.wasm"])
        .build()?;
    let text = ImageBuilder::scratch("text")
        .file("/run.txt", "hello", 0o755)
        .entrypoint(["/run.txt"])
        .build()?;
    containerd.import_packed(&[&artifact]).await?;
    containerd.import(&[&rootfs, &text]).await?;
    let socket = containerd.socket().to_string_lossy().into_owned();
    let asked = ["--address", &socket, "--namespace", containerd.name()];
    let warmed = done(&dir, &warm(&[&artifact.name, &rootfs.name], &asked))?;
    let lines = |how: &str| {
        let modules = [
            (&artifact, "hello.wasm"),
            (&artifact, "exit.wasm"),
            (&rootfs, "/opt/app.wasm"),
        ];
        modules
            .map(|(image, module)| format!("{} {module}: {how}, wasmtime\n", image.name))
            .concat()
    };
    assert_eq!(warmed, lines("compiled"));
    let again = done(&dir, &warm(&[&artifact.name, &rootfs.name], &asked))?;
    assert_eq!(again, lines("there already"));

    let client = containerd.client().await?;
    for image in [&artifact, &rootfs] {
        let ran = client.run_image("x", image).await?;
        assert_eq!(ran.stdout, "hello\n", "{}", image.name);
    }
    assert!(!containerd.log().contains("compiled engine="));

    let nobody = ["warm", &rootfs.name, "--address", "/nonexistent/c.sock"];
    for (args, words) in [
        (
            warm(&[&text.name], &asked),
            "cannot run /run.txt of the image",
        ),
        (
            warm(&["medley.test/none:1"], &asked),
            "there is no such file, and of an image: containerd has no image \"medley.test/none:1\"",
        ),
        (
            nobody.to_vec(),
            "cannot connect to containerd at /nonexistent/c.sock",
        ),
    ] {
        let ran = cache(&dir, &args)?;
        assert_eq!(ran.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(said.contains(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    containerd.close().await
}

#[test]
fn what_cannot_be_warmed_is_said_and_the_rest_is_warmed() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medley-{}", leftovers::unique()));
    std::fs::create_dir(&dir)?;
    let store = dir.join("cache");
    let file = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, content)?;
        anyhow::Ok(path.to_string_lossy().into_owned())
    };
    let good = file("good.wasm", &guests::component("hello")?)?;
    let bad = file("bad.wasm", b"\0asm\x01\0\0\0\xff")?;
    let text = file("text.txt", b"hello")?;
    let missing = dir.join("missing.wasm").to_string_lossy().into_owned();
    let ran = cache(&store, &["warm", &bad, &text, &missing, &good])?;
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr);
    for (name, part) in [
        (&bad, "is not valid Wasm"),
        (&text, "text.txt"),
        (&missing, "not found"),
    ] {
        let line = said.lines().find(|line| line.contains(&**name));
        let line = line.with_context(|| format!("nothing of {name} in {said}"))?;
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        format!("{good}: compiled, wasmtime\n")
    );
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

#[test]
fn wrong_usage_is_told_from_failure_and_nothing_is_made() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medley-{}", leftovers::unique()));
    let help = done(&dir, &["--help"])?;
    for verb in ["ls", "stat", "prune", "warm"] {
        assert!(help.contains(verb), "{help}");
    }
    assert_eq!(cache(&dir, &["clean"])?.status.code(), Some(2));
    assert_eq!(cache(&dir, &["ls", "--all"])?.status.code(), Some(2));
    assert_eq!(json(&dir, &["ls", "--json"])?, serde_json::json!([]));
    assert!(done(&dir, &["prune", "--all"])?.starts_with("removed 0 entries"));
    assert!(!dir.exists(), "a cache was made by looking at it");
    let off = cache(Path::new("off"), &["ls"])?;
    assert_eq!(off.status.code(), Some(1));
    let said = String::from_utf8_lossy(&off.stderr);
    assert!(said.contains("--dir"), "{said}");
    Ok(())
}
