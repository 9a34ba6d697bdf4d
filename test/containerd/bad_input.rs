//! What cannot run is refused with a sentence that says why, and leaves nothing behind.

use medley_test::*;

/// Has Medley refuse a container of the image, and returns the sentence.
async fn refusal(image: ImageBuilder, change: impl FnOnce(Spec) -> Spec) -> Result<String> {
    let image = image.build()?;
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let containerd = Containerd::start_with(options).await?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let events = client.events().await?;
    let spec = change(client.spec(&image, "it"));
    let status = client.refused("it", &image, spec).await?;
    let topics = events.topics("it");
    assert!(!topics.contains(&"start".to_owned()), "{topics:?}");
    containerd.expect_clean()?;
    containerd.close().await?;
    Ok(status.message().to_owned())
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

fn scratch() -> ImageBuilder {
    ImageBuilder::scratch("bad")
}

#[tokio::test]
async fn no_entrypoint() -> Result<()> {
    let image = scratch().file("/something", "else", 0o644);
    let text = refusal(image, |spec| spec.args(Vec::<String>::new())).await?;
    assert_says(&text, &["args"]);
    Ok(())
}

#[tokio::test]
async fn an_empty_entrypoint() -> Result<()> {
    let image = scratch().file("/something", "else", 0o644);
    refusal(image, |spec| spec.args([""])).await?;
    Ok(())
}

#[tokio::test]
async fn an_entrypoint_that_is_not_there_is_named() -> Result<()> {
    let image = scratch().file("/something", "else", 0o644);
    let text = refusal(image, |spec| spec.args(["/no/such/program"])).await?;
    assert_says(&text, &["/no/such/program"]);
    Ok(())
}

#[tokio::test]
async fn an_entrypoint_that_is_not_in_path_is_named_with_path() -> Result<()> {
    let image = scratch().dir("/opt", 0o755).env("PATH=/opt:/opt/bin");
    let text = refusal(image, |spec| spec.args(["program"])).await?;
    assert_says(&text, &["program", "PATH", "/opt:/opt/bin"]);
    Ok(())
}

#[tokio::test]
async fn a_dir_as_entrypoint_is_named() -> Result<()> {
    let text = refusal(scratch().dir("/folder", 0o755), |spec| {
        spec.args(["/folder"])
    })
    .await?;
    assert_says(&text, &["/folder"]);
    Ok(())
}

/// It is neither ELF nor script nor Wasm.
#[tokio::test]
async fn the_first_bytes_of_an_unknown_program_are_shown() -> Result<()> {
    let image = scratch().file("/data.bin", b"\xca\xfe\xba\xbeJava?", 0o755);
    let text = refusal(image, |spec| spec.args(["/data.bin"])).await?;
    assert_says(&text.to_lowercase(), &["/data.bin", "elf", "ca"]);
    assert!(
        text.to_lowercase()
            .replace([' ', ':', '\\', 'x'], "")
            .contains("cafebabe"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn an_empty_file_is_refused() -> Result<()> {
    let text = refusal(scratch().file("/empty", "", 0o755), |spec| {
        spec.args(["/empty"])
    })
    .await?;
    assert_says(&text, &["/empty"]);
    Ok(())
}

#[tokio::test]
async fn an_elf_that_is_not_executable_is_refused() -> Result<()> {
    let busybox = std::fs::read("/bin/busybox")?;
    let image = scratch().file("/program", busybox, 0o644);
    let text = refusal(image, |spec| spec.args(["/program"])).await?;
    assert_says(&text, &["/program"]);
    Ok(())
}

#[tokio::test]
async fn an_elf_cut_short_is_refused() -> Result<()> {
    let image = scratch().file("/program", b"\x7fELF\x02\x01\x01", 0o755);
    let text = refusal(image, |spec| spec.args(["/program"])).await?;
    assert_says(&text, &["/program"]);
    Ok(())
}

#[tokio::test]
async fn a_module_cut_short_is_refused() -> Result<()> {
    let module = guests::module("hello")?;
    let image = scratch().file("/half.wasm", &module[..module.len() / 2], 0o644);
    let text = refusal(image, |spec| spec.args(["/half.wasm"])).await?;
    assert_says(&text, &["/half.wasm"]);
    Ok(())
}

#[tokio::test]
async fn a_module_cut_short_after_its_header_is_refused() -> Result<()> {
    let image = scratch().file("/head.wasm", b"\0asm\x01", 0o644);
    let text = refusal(image, |spec| spec.args(["/head.wasm"])).await?;
    assert_says(&text, &["/head.wasm"]);
    Ok(())
}

#[tokio::test]
async fn an_import_that_no_host_has_is_named() -> Result<()> {
    let image = scratch().file("/moon.wasm", guests::module("unknown-import")?, 0o644);
    let text = refusal(image, |spec| spec.args(["/moon.wasm"])).await?;
    assert_says(&text, &["moon", "base"]);
    Ok(())
}

#[tokio::test]
async fn wasi_nn_is_named_in_a_build_without_wasi_nn() -> Result<()> {
    let image = scratch().file("/nn.wasm", guests::of_world("nn", "nn")?, 0o644);
    let text = refusal(image, |spec| spec.args(["/nn.wasm"])).await?;
    assert_says(
        &text,
        &["imports wasi:nn/", "in a build with WASI_NN=on only"],
    );
    Ok(())
}

#[tokio::test]
async fn a_module_without_the_asked_for_export_is_refused() -> Result<()> {
    let image = scratch().file("/exports.wasm", guests::module("exports")?, 0o644);
    let text = refusal(image, |spec| spec.args(["/exports.wasm#nothing"])).await?;
    assert_says(&text, &["nothing"]);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_module_is_told_by_create_in_one_line() -> Result<()> {
    const FAULTS: &[(&str, &str, &[&str])] = &[
        (
            "no-start",
            r#"(module (func (export "add")))"#,
            &["no function", "_start", "it exports add"],
        ),
        (
            "start-takes",
            r#"(module (func (export "_start") (param i32)))"#,
            &["cannot be called at", "_start"],
        ),
        (
            "import",
            r#"(module (import "env" "secret" (func)) (func (export "_start")))"#,
            &["imports env::secret", "wasmtime"],
        ),
        (
            "import-takes",
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
                (func (export "_start")))"#,
            &["wasi_snapshot_preview1::proc_exit", "wasmtime"],
        ),
        (
            "wasix",
            r#"(module (import "wasix_32v1" "fd_dup" (func)) (func (export "_start")))"#,
            &[
                "needs the engine wasmer",
                "wasix_32v1",
                "fd_dup",
                "it has wasmtime",
            ],
        ),
        (
            "shared",
            r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#,
            &["a memory that threads share", "wasmtime", "wasmer"],
        ),
        (
            "interface",
            r#"(component (import "moon:base/door@1.0.0" (instance (export "open" (func)))))"#,
            &["imports moon:base/door@1.0.0", "wasmtime"],
        ),
        (
            "wasi-draft",
            r#"(component (import "wasi:cli/run@0.3.0-rc-2026-01-06"
                (instance (export "run" (func async (result (result)))))))"#,
            &[
                "is built for wasi:cli/run@0.3.0-rc-2026-01-06",
                "wasmtime has 0.2 and 0.3 of it",
            ],
        ),
        (
            "no-command",
            "(component)",
            &["no function", "wasi:cli/run"],
        ),
    ];
    let mut cut = guests::module("hello")?;
    let whole = cut.len();
    cut.truncate(whole / 2);
    let end = format!("of {}", whole / 2);
    let mut image = scratch().file("/cut.wasm", &cut, 0o644);
    for (name, wat, _) in FAULTS {
        image = image.file(&format!("/{name}.wasm"), wat::parse_str(wat)?, 0o644);
    }
    let image = image.build()?;
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let containerd = Containerd::start_with(options).await?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let cut: &[&str] = &["not valid Wasm", " at byte ", &end];
    let told = FAULTS.iter().map(|(name, _, words)| (*name, *words));
    for (name, words) in told.chain([("cut", cut)]) {
        let path = format!("/{name}.wasm");
        let spec = client.spec(&image, name).args([&path]);
        let status = client.refused(name, &image, spec).await?;
        assert_says(status.message(), &[&path]);
        assert_says(status.message(), words);
        assert!(!status.message().contains('\n'), "{}", status.message());
    }
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn text_that_is_not_wat_is_refused() -> Result<()> {
    let image = scratch().file("/bad.wat", "(module (func $f", 0o644);
    let text = refusal(image, |spec| spec.args(["/bad.wat"])).await?;
    assert_says(&text, &["/bad.wat", "line 1, column 17"]);
    assert!(!text.contains('\n'), "{text}");
    Ok(())
}

#[tokio::test]
async fn compat_on_an_elf_says_compat_smart() -> Result<()> {
    let image = images::linux_builder("linux")?;
    let text = refusal(image, |spec| {
        spec.args(["/bin/true"])
            .annotation("module.wasm.image/variant", "compat")
    });
    assert_says(&text.await?, &["compat-smart", "ELF", "/bin/true"]);
    Ok(())
}

#[tokio::test]
async fn an_engine_that_is_not_built_in_is_named() -> Result<()> {
    let image = scratch().file("/hello.wasm", guests::module("hello")?, 0o644);
    let text = refusal(image, |spec| {
        spec.args(["/hello.wasm"])
            .annotation("run.oci.handler", "wasmer")
    });
    assert_says(
        &text.await?,
        &["needs the engine wasmer", "run.oci.handler"],
    );
    Ok(())
}

/// A file of the host, with a module in it, that no container may reach.
fn secret(containerd: &Containerd) -> Result<String> {
    let path = containerd.dir().join("secret.wasm");
    std::fs::write(&path, guests::module("hello")?)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Points `/link` of a scratch image at a file of the host in a certain way.
async fn link_out(to: impl FnOnce(&str) -> String) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let host = secret(&containerd)?;
    let image = scratch()
        .symlink("/link.wasm", &to(&host))
        .entrypoint(["/link.wasm"])
        .build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let status = client
        .refused("it", &image, client.spec(&image, "it"))
        .await?;
    assert_says(status.message(), &["/link.wasm"]);
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn an_absolute_symlink_is_not_followed_to_the_host() -> Result<()> {
    link_out(str::to_owned).await
}

#[tokio::test]
async fn a_symlink_that_climbs_out_of_the_rootfs_does_not_get_there() -> Result<()> {
    link_out(|host| format!("{}{host}", "../".repeat(30).trim_end_matches('/'))).await
}

#[tokio::test]
async fn a_symlink_into_proc_of_the_host_is_not_followed_there() -> Result<()> {
    link_out(|host| format!("/proc/1/root{host}")).await
}

#[tokio::test]
async fn a_symlink_to_itself_is_refused() -> Result<()> {
    let image = scratch().symlink("/loop.wasm", "/loop.wasm");
    let text = refusal(image, |spec| spec.args(["/loop.wasm"])).await?;
    assert_says(&text, &["/loop.wasm"]);
    Ok(())
}

#[tokio::test]
async fn a_symlink_that_stays_inside_the_rootfs_is_followed() -> Result<()> {
    let image = scratch()
        .dir("/app", 0o755)
        .file("/app/hello.wasm", guests::module("hello")?, 0o644)
        .symlink("/absolute", "/app/hello.wasm")
        .symlink("/climbing", "../../../app/hello.wasm")
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    for link in ["absolute", "climbing"] {
        let spec = client.spec(&image, link).args([format!("/{link}")]);
        assert_eq!(
            client.run(link, &image, spec).await?.stdout,
            "hello\n",
            "{link}"
        );
    }
    containerd.close().await
}

each_runtime! {
    async fn a_program_that_is_not_there_leaves_nothing_behind(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        for number in 0..3 {
            let id = format!("it-{number}");
            let spec = client.spec(&image, &id).args(["/no/such/program"]);
            client.refused(&id, &image, spec).await?;
        }
        containerd.expect_clean()?;
        containerd.close().await
    }
}
