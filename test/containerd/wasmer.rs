//! Wasmer: its program, and what only it has, WASIX.

use crate::engine_guests;
use medley_test::containerd::Options;
use medley_test::runtime::shim_path;
use medley_test::stdio::Stdin;
use medley_test::*;
use std::os::unix::fs::symlink;

/// A containerd with the zoo.
async fn with_guests(options: Options) -> Result<(Containerd, Image)> {
    engine_guests::with_guests(Engine::Wasmer, options).await
}

/// Its imports decide: there is no annotation.
#[tokio::test]
async fn a_guest_of_wasix_has_arguments_environment_files_and_a_code() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let args = ["/wasix.wasm", "42", "two words", "", "ü"];
    let spec = client.spec(&image, "it").args(args).cwd("/data");
    let done = client.run("it", &image, spec).await?;
    assert_eq!((done.code, done.stderr.as_str()), (42, ""), "{done:?}");
    let said: Vec<_> = done.stdout.lines().collect();
    assert_eq!(
        said,
        [
            "argument two words",
            "argument ",
            "argument ü",
            "COLOUR is blue",
            "works in /data",
            "note: a note of data",
            "works in /etc",
            "note: a note",
            "through a pipe: words",
        ]
    );
    containerd.close().await
}

#[tokio::test]
async fn a_trap_in_a_guest_of_wasix_is_134_and_says_what_it_was() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/wasix.wasm", "trap"]);
    let done = client.run("it", &image, spec).await?;
    assert_eq!((done.code, done.stdout.as_str()), (134, ""), "{done:?}");
    let words = "/wasix.wasm: wasm trap: unreachable";
    assert!(done.stderr.lines().any(|line| line == words), "{done:?}");
    containerd.close().await
}

#[tokio::test]
async fn the_threads_of_a_guest_share_its_memory() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/wasix-threads.wasm"]);
    let done = client.run("it", &image, spec).await?;
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (42, "", "")
    );
    containerd.close().await
}

/// A guest whose threads wait for ever is one process.
#[tokio::test]
async fn a_signal_ends_a_guest_with_threads() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client
        .spec(&image, "it")
        .args(["/wasix-threads.wasm", "wait"]);
    let container = client.create("it", &image, spec).await?;
    let mut task = container.start(Stdin::None).await?;
    proc::until("its threads are there", || {
        // Four of the guest's, beside those of the engine: the first one, and one that waits for files.
        proc::field(task.pid, "Threads").is_ok_and(|count| count.parse().is_ok_and(|n: u32| n >= 6))
    })
    .await?;
    task.kill(15, false).await?;
    assert_eq!(task.wait().await?, 143);
    task.output().await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

/// Its paths are the container's: a dir is no bound for them, and the container is.
#[tokio::test]
async fn a_path_leads_anywhere_in_the_container_and_not_out_of_it() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let secret = containerd.dir().join("secret");
    std::fs::write(&secret, "a secret\n")?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    symlink("../secret", volume.join("beside"))?;
    symlink(&secret, volume.join("absolute"))?;
    symlink("../../etc/note", volume.join("inside"))?;
    for (number, (path, read)) in [
        ("/vol/../etc/note", "a note\n"),
        ("/../../etc/note", "a note\n"),
        // A link leads anywhere in its dir, and not out of it.
        ("/vol/inside", ""),
        ("/vol/../secret", ""),
        ("/vol/beside", ""),
        ("/vol/absolute", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{number}");
        let spec = client.spec(&image, &id).args(["/files.wasm", "read", path]);
        let spec = Engine::Wasmer.runs(spec.bind(&volume, "/vol", false));
        let done = client.run(&id, &image, spec).await?;
        assert_eq!(done.stdout, read, "{path}: {done:?}");
        assert_eq!(done.code, u32::from(read.is_empty()), "{path}: {done:?}");
    }
    containerd.close().await
}

#[tokio::test]
async fn native_code_in_an_image_is_never_run_by_wasmer() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/wasix-threads.wasm"]);
    assert_eq!(client.run("it", &image, spec).await?.code, 42);
    let mut entries = std::fs::read_dir(containerd.dir().join("cache/code"))?;
    let native = std::fs::read(entries.next().context("nothing was kept")??.path())?;
    // What Wasmer itself would load.
    assert!(native.starts_with(b"wasmer-universal"));
    let forged = ImageBuilder::scratch("forged")
        .file("/forged.wasm", &native, 0o755)
        .build()?;
    containerd.import(&[&forged]).await?;
    let spec = client.spec(&forged, "forged").args(["/forged.wasm"]);
    let spec = Engine::Wasmer.runs(spec);
    let status = client.refused("forged", &forged, spec).await?;
    assert!(
        status.message().contains("/forged.wasm"),
        "{}",
        status.message()
    );
    containerd.close().await
}

#[tokio::test]
async fn native_code_of_wasmer_is_kept() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    for id in ["first", "second"] {
        let spec = client.spec(&image, id).args(["/wasix.wasm", "7"]);
        let spec = spec.cwd("/data");
        let done = client.run(id, &image, spec).await?;
        assert_eq!(done.code, 7, "{done:?}");
        let entries = std::fs::read_dir(containerd.dir().join("cache/code"))?;
        assert_eq!(entries.count(), 1, "{id}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_wasix_file_is_executed_beside_a_guest_of_another_engine() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    let spec = client
        .spec(&image, "it")
        .args(["/tick.wasm", "100", "10000"]);
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let mut process = client::process(&["/wasix.wasm", "9"]);
    process["cwd"] = "/data".into();
    let (code, stdout, stderr) = task.run_exec("a", process).await?;
    assert_eq!((code, stderr.as_str()), (9, ""), "{stdout}");
    assert!(stdout.contains("through a pipe: words\n"), "{stdout}");
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn what_wasmer_cannot_run_is_refused_by_name() -> Result<()> {
    let (containerd, image) = with_guests(Options::new(Runtime::Medley)).await?;
    let client = containerd.client().await?;
    for (file, words) in [
        ("/component.wasm", "components need wasmtime"),
        (
            "/answer.wasm",
            "imports wasmedge_answer::answer, which wasmer does not provide",
        ),
    ] {
        let spec = client.spec(&image, "it").args([file]);
        let spec = Engine::Wasmer.runs(spec);
        let status = client.refused("it", &image, spec).await?;
        let text = status.message();
        assert!(text.contains(file) && text.contains(words), "{text}");
    }
    containerd.close().await
}

#[tokio::test]
async fn without_its_program_wasmer_is_refused_with_what_brings_it() -> Result<()> {
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let (containerd, image) = with_guests(options).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/wasix.wasm", "0"]);
    let status = client.refused("it", &image, spec).await?;
    let text = status.message();
    for words in [
        "/wasix.wasm",
        "wasix_32v1",
        "containerd-shim-wasm-v1-wasmer",
        "WASMER=on",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    containerd.close().await
}

#[test]
fn the_shim_says_that_there_is_wasmer_and_where() -> Result<()> {
    let program = Engine::Wasmer.program()?;
    let done = std::process::Command::new(shim_path()?)
        .arg("-v")
        .output()?;
    let text = String::from_utf8(done.stdout)?;
    assert!(text.contains("wasmer 7."), "{text}");
    assert!(text.contains(&program.display().to_string()), "{text}");
    Ok(())
}
