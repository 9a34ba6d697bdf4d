//! Runtime options, as containerd hands them on.

use medley_test::*;

/// containerd's message for runtimes other than runc.
const GENERIC: &str = "runtimeoptions.v1.Options";

/// runc's own.
const RUNC: &str = "containerd.runc.v1.Options";

/// A field of bytes of a protobuf message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(value.len(), &mut bytes).expect("there is room");
    bytes.extend(value);
    bytes
}

fn body(toml: &str) -> Vec<u8> {
    field(3, toml.as_bytes())
}

fn path(path: &str) -> Vec<u8> {
    field(2, path.as_bytes())
}

/// Runs a Linux container with these options to its end.
async fn linux(containerd: &Containerd, kind: &str, options: Vec<u8>) -> Result<Finished> {
    let image = images::linux()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?.with_options(kind, options);
    let script = "echo hello; cat /proc/self/mountinfo >&2";
    let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
    client.run("it", &image, spec).await
}

/// The sentence with which a Linux container is refused.
async fn refusal(kind: &str, options: Vec<u8>) -> Result<String> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let error = linux(&containerd, kind, options)
        .await
        .err()
        .context("it runs, which it must not")?;
    containerd.expect_clean()?;
    containerd.close().await?;
    Ok(format!("{error:#}"))
}

#[tokio::test]
async fn the_cache_is_where_a_file_of_options_says() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let dir = containerd.dir().join("elsewhere");
    let file = containerd.dir().join("options.toml");
    std::fs::write(&file, format!("Cache = {:?}\n", dir.display().to_string()))?;
    let client = containerd
        .client()
        .await?
        .with_options(GENERIC, path(&file.to_string_lossy()));
    assert_eq!(client.run_image("it", &image).await?.stdout, "hello\n");
    assert_eq!(std::fs::read_dir(dir.join("code"))?.count(), 1);
    assert!(!containerd.dir().join("cache").exists());
    containerd.close().await
}

#[tokio::test]
async fn a_cache_that_is_off_keeps_nothing() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let client = containerd
        .client()
        .await?
        .with_options(GENERIC, body("Cache = \"off\""));
    assert_eq!(client.run_image("it", &image).await?.stdout, "hello\n");
    assert!(!containerd.dir().join("cache").exists());
    containerd.close().await
}

#[tokio::test]
async fn the_default_engine_runs_what_asks_for_none() -> Result<()> {
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let containerd = Containerd::start_with(options).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    // None that is built in can be told apart from outside, so one that is not.
    let client = containerd
        .client()
        .await?
        .with_options(GENERIC, body("DefaultEngine = \"wasmer\""));
    let spec = client.spec(&image, "it");
    let text = client
        .refused("it", &image, spec)
        .await?
        .message()
        .to_owned();
    assert!(text.contains("wasmer"), "{text}");
    containerd.close().await
}

/// Unknown ones are told of.
#[tokio::test]
async fn options_of_other_runtimes_are_no_obstacle() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let options = body("BinaryName = \"/no/such/runc\"\nSystemdCgroup = false\nMoonPhase = 3\n");
    let done = linux(&containerd, GENERIC, options).await?;
    assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
    let log = containerd.log();
    assert!(log.contains("MoonPhase"), "{log}");
    containerd.close().await
}

each_runtime! {
    async fn options_of_runcs_shim_are_taken(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        // no_pivot_root and no_new_keyring.
        let done = linux(&containerd, RUNC, vec![1 << 3, 1, 2 << 3, 1]).await?;
        assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
        containerd.close().await
    }

    async fn the_shim_is_put_into_the_cgroup_that_is_asked_for(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux()?;
        containerd.import(&[&image]).await?;
        let cgroup = format!("/{}/shims", containerd.name());
        containerd.leftovers().make_cgroup(&cgroup)?;
        let client = containerd.client().await?.with_options(RUNC, field(3, cgroup.as_bytes()));
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", &image, spec).await?;
        let task = container.start(stdio::Stdin::None).await?;
        let shims = containerd.shims();
        assert_eq!(shims.len(), 1, "{shims:?}");
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", shims[0].pid))?;
        assert!(text.contains(&cgroup), "{text}");
        task.destroy().await?;
        container.delete().await?;
        // A cgroup that is named for shims is removed by its owner.
        proc::until("the shim's cgroup is empty", || {
            containerd.leftovers().cgroups().iter().rev().all(|dir| std::fs::remove_dir(dir).is_ok())
        })
        .await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_in_one_sentence() -> Result<()> {
    for (options, words) in [
        (vec![0xff, 0xff], vec!["runtimeoptions.v1.Options"]),
        (body("a = "), vec!["ConfigBody", "TOML", "line 1"]),
        (
            path("/no/such/options"),
            vec!["/no/such/options", "No such file"],
        ),
        (body("Cache = 5"), vec!["Cache", "absolute path"]),
        (
            body("DefaultEngine = \"v8\""),
            vec!["DefaultEngine", "v8", "wasmtime"],
        ),
    ] {
        let text = refusal(GENERIC, options).await?;
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
    }
    let text = refusal(RUNC, vec![0xff]).await?;
    assert!(text.contains(RUNC), "{text}");
    Ok(())
}
