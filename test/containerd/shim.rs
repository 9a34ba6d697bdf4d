//! The shim without a containerd around it.

use medley_test::shim::{Bench, status};
use medley_test::stdio::Stdin;
use medley_test::*;

use containerd_shim_protos::api;

fn write_config(bench: &Bench, bundle: &std::path::Path, image: &Image, id: &str) -> Result<()> {
    let spec =
        Spec::of(image, bench.namespace(), id).args(["/bin/sh", "-c", "echo hello; exit 42"]);
    Ok(std::fs::write(
        bundle.join("config.json"),
        spec.json().to_string(),
    )?)
}

/// Starts a shim on a bundle that `spoil` has changed, and returns what Create says.
async fn create_of(spoil: impl FnOnce(&std::path::Path) -> Result<()>) -> Result<String> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    write_config(&bench, &bundle, &image, "it")?;
    spoil(&bundle)?;
    let text = match bench.start("it", &bundle).await {
        // It may say so at once.
        Err(error) => format!("{error:#}"),
        Ok(shim) => {
            let stdio = bench.stdio("it", Stdin::None)?;
            let error = shim
                .create("it", &bundle, &stdio)
                .await
                .expect_err("it is spoilt");
            shim.shutdown("it").await;
            status(&error).context("no answer of the shim")?.1
        }
    };
    assert_eq!(bench.topics("it"), Vec::<String>::new());
    bench.close().await?;
    Ok(text)
}

each_runtime! {
    async fn a_bundle_runs_without_containerd(runtime: Runtime) -> Result<()> {
        let bench = Bench::new(runtime).await?;
        let image = images::linux()?;
        let bundle = bench.bundle("it", &image)?;
        write_config(&bench, &bundle, &image, "it")?;
        let shim = bench.start("it", &bundle).await?;
        let mut stdio = bench.stdio("it", Stdin::None)?;
        let pid = shim.create("it", &bundle, &stdio).await?;
        assert_eq!(shim.pids("it").await?.1, pid);
        assert_eq!(shim.start("it").await?, pid);
        assert_eq!(shim.wait("it").await?, 42);
        assert_eq!(stdio.drain().await?.0, b"hello\n");
        assert_eq!(shim.delete("it").await?, 42);
        for _ in 0..100 {
            if bench.topics("it").len() == 4 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(bench.topics("it"), ["create", "start", "exit", "delete"]);
        shim.shutdown("it").await;
        bench.close().await
    }
}

/// A mount of the rootfs whose target is a link of the image: to a dir of the image's own, and to one
/// that only the node has.
/// Inside of the image, that is.
#[tokio::test]
async fn a_rootfs_mount_goes_where_a_link_of_the_image_leads() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let of_the_node = bench.bundle("node", &images::linux()?)?.join("rootfs");
    let image = images::linux_builder("linked")?
        .dir("/inside", 0o755)
        .symlink("/in", "/inside")
        .symlink("/out", &of_the_node.to_string_lossy())
        .build()?;
    for (id, link, is_made) in [("it", "/in", true), ("no", "/out", false)] {
        let bundle = bench.bundle(id, &image)?;
        let unpacked = bench.bundle(&format!("{id}-layer"), &image)?.join("rootfs");
        let spec = Spec::of(&image, bench.namespace(), id).args([
            "/bin/sh",
            "-c",
            "grep -c ' /inside .*tmpfs' /proc/self/mountinfo",
        ]);
        std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
        let mount = |kind: &str, source: String, target: &str, options: &[&str]| api::Mount {
            type_: kind.to_owned(),
            source,
            target: target.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Default::default()
        };
        let shim = bench.start(id, &bundle).await?;
        let mut stdio = bench.stdio(id, Stdin::None)?;
        let [stdin, stdout, stderr] = stdio.paths();
        let unpacked = unpacked.to_string_lossy().into_owned();
        let create = api::CreateTaskRequest {
            id: id.to_owned(),
            bundle: bundle.to_string_lossy().into_owned(),
            stdin,
            stdout,
            stderr,
            rootfs: vec![
                mount("bind", unpacked, "", &["rbind", "rw"]),
                mount("tmpfs", "tmpfs".to_owned(), link, &[]),
            ],
            ..Default::default()
        };
        let made = shim
            .call::<_, api::CreateTaskResponse>("Create", &create)
            .await;
        assert_eq!(made.is_ok(), is_made, "{made:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let node = of_the_node.to_string_lossy();
        assert!(!mounts.contains(&*node), "mounted on the node: {mounts}");
        if is_made {
            shim.start(id).await?;
            assert_eq!(shim.wait(id).await?, 0);
            assert_eq!(stdio.drain().await?.0, b"1\n");
            shim.delete(id).await?;
        }
        shim.shutdown(id).await;
    }
    bench.close().await
}

#[tokio::test]
async fn start_answers_version_2_to_a_containerd_without_one() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    write_config(&bench, &bundle, &image, "it")?;
    let shim = bench.start("it", &bundle).await?;
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&shim.answer) {
        assert_eq!(
            (&json["version"], &json["protocol"]),
            (&2.into(), &"ttrpc".into())
        );
    }
    assert!(shim.address.starts_with("unix:///"), "{}", shim.address);
    shim.shutdown("it").await;
    bench.close().await
}

#[tokio::test]
async fn a_missing_config_json_is_named() -> Result<()> {
    let text = create_of(|bundle| Ok(std::fs::remove_file(bundle.join("config.json"))?)).await?;
    assert!(text.contains("config.json"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_config_json_that_is_not_json_is_named() -> Result<()> {
    let text = create_of(|bundle| Ok(std::fs::write(bundle.join("config.json"), "{oops")?)).await?;
    assert!(text.contains("config.json"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_missing_rootfs_is_named() -> Result<()> {
    let text = create_of(|bundle| Ok(std::fs::remove_dir_all(bundle.join("rootfs"))?)).await?;
    assert!(text.contains("rootfs"), "{text}");
    Ok(())
}

#[tokio::test]
async fn delete_of_a_bundle_that_never_ran_succeeds() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    write_config(&bench, &bundle, &image, "it")?;
    let done = bench.command("it", &bundle, "delete").await?;
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    bench.close().await
}
