//! WasmEdge: its program, its plugins, and what else only it has.

use crate::engine_guests;
use medley_test::containerd::{Options, PATIENCE};
use medley_test::runtime::shim_path;
use medley_test::stdio::Stdin;
use medley_test::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

const HANDLER: &str = "run.oci.handler";
const ENGINES: [&str; 2] = ["wasmtime", "wasmedge"];

/// What containerd's environment calls the engine of modules that ask for none.
const DEFAULT: &str = "CONTAINERD_SHIM_WASM_ENGINE";
/// What it calls the program with WasmEdge.
const PROGRAM: &str = "CONTAINERD_SHIM_WASM_WASMEDGE";

/// A containerd with the zoo.
async fn with_guests(options: Options) -> Result<(Containerd, Image)> {
    engine_guests::with_guests(Engine::WasmEdge, options).await
}

/// Its engine is in another program, which is asked for what names the native code too.
#[tokio::test]
async fn a_module_that_was_warmed_is_not_compiled_when_it_starts() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let module = containerd.dir().join("app.wasm");
    std::fs::write(&module, guests::module("hello")?)?;
    let warmed = std::process::Command::new(shim_path()?)
        .args(["cache", "warm", "--engine", "wasmedge"])
        .arg(&module)
        .env("CONTAINERD_SHIM_WASM_CACHE", containerd.dir().join("cache"))
        .output()?;
    assert!(warmed.status.success(), "{warmed:?}");
    let said = String::from_utf8_lossy(&warmed.stdout);
    assert!(said.ends_with(": compiled, wasmedge\n"), "{said}");
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").annotation(HANDLER, "wasmedge");
    assert_eq!(client.run("it", &image, spec).await?.code, 0);
    assert!(!containerd.log().contains("compiled engine="));
    containerd.close().await
}

/// Waits until a file has these words.
async fn has(file: &std::path::Path, words: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(file).is_ok_and(|text| text.contains(words)) {
        anyhow::ensure!(
            Instant::now() < deadline,
            "no {words:?} in {}",
            file.display()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_guest_writes_to_a_volume_is_there_and_its_users() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o777))?;
    for engine in ENGINES {
        let name = format!("/vol/{engine}");
        let args = ["/files.wasm", "write", &name, "words"];
        let spec = client.spec(&image, engine).args(args);
        let spec = spec
            .annotation(HANDLER, engine)
            .bind(&volume, "/vol", false);
        let done = client.run(engine, &image, spec.user(1234, 1234)).await?;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{engine}");
        let file = volume.join(engine);
        assert_eq!(std::fs::read_to_string(&file)?, "words\n");
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file)?);
        assert_eq!(owner, 1234, "{engine}");
    }
    containerd.close().await
}

#[tokio::test]
async fn native_code_of_wasmedge_is_kept_and_is_not_wasmtimes() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let entries =
        || -> Result<usize> { Ok(std::fs::read_dir(containerd.dir().join("cache/code"))?.count()) };
    for (number, (engine, expected)) in [("wasmedge", 1), ("wasmedge", 1), ("wasmtime", 2)]
        .into_iter()
        .enumerate()
    {
        let id = format!("it-{number}");
        let spec = client.spec(&image, &id).annotation(HANDLER, engine);
        let done = client.run(&id, &image, spec).await?;
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "hello\n"),
            "{done:?}"
        );
        assert_eq!(entries()?, expected, "{engine}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_wasm_file_is_executed_in_a_container_of_wasmedge() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client
        .spec(&image, "it")
        .args(["/tick.wasm", "100", "10000"]);
    let container = client
        .create("it", &image, spec.annotation(HANDLER, "wasmedge"))
        .await?;
    let task = container.start(Stdin::None).await?;
    let ran = task
        .run_exec("a", client::process(&["/exit.wasm", "9"]))
        .await?;
    assert_eq!(ran, (9, String::new(), String::new()));
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_component_is_refused_where_wasmedge_is_asked_for() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/component.wasm"]);
    let spec = spec.annotation(HANDLER, "wasmedge");
    let status = client.refused("it", &image, spec).await?;
    let text = status.message();
    assert!(text.contains("components need wasmtime"), "{text}");
    containerd.close().await
}

/// Nothing else is refused.
#[tokio::test]
async fn without_its_program_wasmedge_is_refused_by_name() -> Result<()> {
    let options = Options::new(Runtime::Medley).without(Engine::WasmEdge);
    let (containerd, image) = with_guests(options).await?;
    let client = containerd.client().await?;
    let spec = client
        .spec(&image, "it")
        .args(["/sockets.wasm", "8080", "0"]);
    let status = client.refused("it", &image, spec).await?;
    let text = status.message();
    for words in [
        "/sockets.wasm",
        "sock_open",
        "wasmedge",
        "containerd-shim-wasm-v1-wasmedge",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert_eq!(client.run_image("hello", &image).await?.stdout, "hello\n");
    containerd.close().await
}

#[tokio::test]
async fn a_program_that_is_none_is_named_in_the_error() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medley-broken-{}", leftovers::unique()));
    std::fs::create_dir(&dir)?;
    let broken = dir.join("broken");
    std::fs::write(&broken, "neither ELF nor script")?;
    std::fs::set_permissions(&broken, PermissionsExt::from_mode(0o755))?;
    let options = Options::new(Runtime::Medley).env(PROGRAM, &broken.display().to_string());
    let (containerd, image) = with_guests(options).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").annotation(HANDLER, "wasmedge");
    let status = client.refused("it", &image, spec).await?;
    std::fs::remove_dir_all(&dir)?;
    let text = status.message();
    assert!(
        text.contains(&broken.display().to_string()) && text.contains("engine wasmedge"),
        "{text}"
    );
    containerd.close().await
}

/// Compiles the plugin of test/plugins into the dir.
fn plugin(dir: &std::path::Path) -> Result<()> {
    let source = guests::source_dir()
        .with_file_name("plugins")
        .join("answer.c");
    let done = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(dir.join("libwasmedgePluginAnswer.so"))
        .arg(&source)
        .output()
        .context("cannot run cc: install build-essential")?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn a_plugin_answers_a_guest_and_a_missing_one_is_named() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medley-plugins-{}", leftovers::unique()));
    std::fs::create_dir(&dir)?;
    plugin(&dir)?;
    let path = dir.display().to_string();
    let options = Options::new(Runtime::Medley).env("WASMEDGE_PLUGIN_PATH", &path);
    let (containerd, image) = with_guests(options).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/answer.wasm"]);
    let done = client.run("it", &image, spec).await?;
    assert_eq!((done.code, done.stderr.as_str()), (42, ""));
    containerd.close().await?;
    std::fs::remove_dir_all(&dir)?;

    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    for (file, import) in [
        ("/answer.wasm", "wasmedge_answer::answer"),
        ("/nn.wasm", "wasi_nn::load"),
    ] {
        let spec = client.spec(&image, "it").args([file]);
        let status = client.refused("it", &image, spec).await?;
        let text = status.message();
        for words in [file, import, "WASMEDGE_PLUGIN_PATH"] {
            assert!(text.contains(words), "no {words} in {text}");
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn the_engine_of_modules_that_ask_for_none_is_configured() -> Result<()> {
    let options = Options::new(Runtime::Medley).env(DEFAULT, "wasmedge");
    let (containerd, image) = with_guests(options).await?;
    let client = containerd.client().await?;
    let done = client.run_image("module", &image).await?;
    assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
    let spec = client.spec(&image, "component").args(["/component.wasm"]);
    let done = client.run("component", &image, spec).await?;
    assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
    let log = containerd.dir().join("log");
    for engine in ENGINES {
        has(&log, &format!("engine={engine} ")).await?;
    }
    containerd.close().await
}

#[test]
fn the_shim_says_which_engines_it_has_and_from_where() -> Result<()> {
    let program = Engine::WasmEdge.program()?;
    let done = std::process::Command::new(shim_path()?)
        .arg("-v")
        .output()?;
    let text = String::from_utf8(done.stdout)?;
    let engines: Vec<_> = text.split_whitespace().collect();
    let told = engines.windows(2).find(|words| words[0] == "wasmtime");
    let version = told.map_or("", |words| words[1]);
    assert!(
        version.starts_with(|letter: char| letter.is_ascii_digit()),
        "{text}"
    );
    assert!(text.contains("(built in)"), "{text}");
    assert!(text.contains("wasmedge 0.14"), "{text}");
    assert!(text.contains(&program.display().to_string()), "{text}");
    Ok(())
}
