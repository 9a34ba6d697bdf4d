//! What mounts meet in an image: links, dirs, and what others have mounted.

use medley_test::shim::Bench;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs a shell script in a container of an image with more files and a changed spec.
pub(crate) async fn shell(
    runtime: Runtime,
    files: impl FnOnce(ImageBuilder) -> ImageBuilder,
    script: &str,
    change: impl FnOnce(Spec, &std::path::Path) -> Spec,
) -> Result<String> {
    let image = files(images::linux_builder("mounts")?).build()?;
    let (containerd, client, image) = Containerd::with_image(runtime, image).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::write(volume.join("note"), "a note\n")?;
    let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
    let done = client.run("it", &image, change(spec, &volume)).await?;
    assert_eq!(done.code, 0, "{done:?}");
    containerd.close().await?;
    Ok(done.stdout)
}

/// The sentence that refuses a container of an image with more files, and what is in a dir of
/// the host, which a link of the image may lead to, after it.
pub(crate) async fn refused(
    runtime: Runtime,
    files: impl FnOnce(ImageBuilder, &str) -> ImageBuilder,
    change: impl FnOnce(Spec) -> Spec,
) -> Result<(String, Vec<String>)> {
    let containerd = Containerd::start(runtime).await?;
    let host = containerd.dir().join("host");
    std::fs::create_dir(&host)?;
    std::fs::write(host.join("ptmx"), "the host's\n")?;
    let path = host.display().to_string();
    let image = files(images::linux_builder("mounts")?, &path).build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/bin/true"]);
    let status = client.refused("it", &image, change(spec)).await?;
    let left = std::fs::read_dir(&host)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    containerd.close().await?;
    Ok((status.message().to_owned(), left))
}

#[tokio::test]
async fn an_image_whose_dev_is_a_link_changes_nothing_on_the_host() -> Result<()> {
    let without = |spec: Spec| {
        spec.edit(|json| {
            if let Some(mounts) = json["mounts"].as_array_mut() {
                mounts.retain(|mount| mount["destination"] != "/dev");
            }
        })
    };
    let (said, left) = refused(
        Runtime::Medley,
        |image, host| image.symlink("/dev", host),
        without,
    )
    .await?;
    assert!(said.contains("/dev of the image is a symlink"), "{said}");
    assert_eq!(left, ["ptmx"]);
    let (said, left) = refused(
        Runtime::Medley,
        |image, host| image.symlink("/dev", host),
        |spec| spec,
    )
    .await?;
    assert!(said.contains("/dev of the image is a symlink"), "{said}");
    assert_eq!(left, ["ptmx"]);
    Ok(())
}

#[tokio::test]
async fn an_image_whose_proc_or_sys_is_a_link_is_refused() -> Result<()> {
    for at in ["/proc", "/sys"] {
        let (said, _) = refused(
            Runtime::Medley,
            |image, _| image.symlink(at, "/"),
            |spec| spec,
        )
        .await?;
        assert!(
            said.contains(&format!("{at} of the image is a symlink")),
            "{said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_mount_behind_links_in_a_ring_is_refused() -> Result<()> {
    let files = |image: ImageBuilder, _: &str| image.symlink("/a", "b").symlink("/b", "/a");
    let mount = |spec: Spec| spec.bind(std::path::Path::new("/etc/hosts"), "/a/c", true);
    let (said, _) = refused(Runtime::Medley, files, mount).await?;
    assert!(said.contains("the mount destination /a/c"), "{said}");
    Ok(())
}

each_runtime! {
    async fn a_mount_behind_a_link_to_nothing_is_made_in_the_rootfs(runtime: Runtime) -> Result<()> {
        let files = |image: ImageBuilder| image
            .symlink("/etc/resolv.conf", "../run-of-it/resolve/stub.conf")
            .symlink("/volume", "/mnt/volume")
            .symlink("/chain", "volume")
            .symlink("/out", "../../../outside");
        let script = "cat /etc/resolv.conf /run-of-it/resolve/stub.conf /mnt/volume/note \
            /mnt/volume/deeper/note /outside/note";
        let text = shell(runtime, files, script, |spec, volume| {
            std::fs::create_dir(volume.join("deeper")).ok();
            spec.bind(&volume.join("note"), "/etc/resolv.conf", true)
                .bind(volume, "/volume", false)
                .bind(volume, "/chain/deeper", false)
                .bind(volume, "/out", false)
        });
        assert_eq!(text.await?, "a note\n".repeat(5));
        Ok(())
    }

    async fn a_tmpfs_has_the_mode_of_the_dir_below_it(runtime: Runtime) -> Result<()> {
        let files = |image: ImageBuilder| image.dir("/private", 0o710);
        let script = "stat -c %a /private";
        let text = shell(runtime, files, script, |spec, _| spec.edit(|json| {
            if let Some(mounts) = json["mounts"].as_array_mut() {
                mounts.push(serde_json::json!({
                    "destination": "/private", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid"],
                }));
            }
        }));
        assert_eq!(text.await?, "710\n");
        Ok(())
    }
}

/// Mounts at `/t1` and `/t2`, paths that are hidden or kept from being written to, and a root that is too.
fn with_restrictions(json: &mut serde_json::Value) {
    let all = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"];
    for (at, options) in [("/t1", &all[..]), ("/t2", &["strictatime", "mode=700"])] {
        let tmpfs = serde_json::json!({
            "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options,
        });
        if let Some(mounts) = json["mounts"].as_array_mut() {
            mounts.push(tmpfs);
        }
    }
    json["root"]["readonly"] = true.into();
    json["linux"]["maskedPaths"] = serde_json::json!(["/hidden", "/secret", "/none"]);
    json["linux"]["readonlyPaths"] = serde_json::json!(["/kept", "/none"]);
}

each_runtime! {
    async fn a_container_has_mounts_and_paths_as_its_spec_says(runtime: Runtime) -> Result<()> {
        let files = |image: ImageBuilder| image
            .file("/hidden/file", "hidden", 0o644)
            .file("/secret", "hidden", 0o644)
            .dir("/kept", 0o777);
        let script = "while read _ _ _ _ at options _; do \
            case $at in /|/t1|/t2|/hidden|/secret) echo $at $options;; esac; \
            done < /proc/self/mountinfo | sort; \
            ls -A /hidden; cat /secret; touch /kept/x /x 2>/dev/null; ls /kept; stat -c %a /t2; \
            for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done; \
            stat -c '%n %F %t:%T %a' /dev/null /dev/tty /dev/urandom";
        let text = shell(runtime, files, script, |spec, _| spec.edit(with_restrictions)).await?;
        let expected = [
            "/ ro,relatime",
            "/hidden ro,relatime",
            "/secret rw,nosuid",
            "/t1 ro,nosuid,nodev,noexec,noatime,nodiratime",
            "/t2 rw",
            "700",
            "/proc/self/fd",
            "/proc/self/fd/0",
            "/proc/self/fd/1",
            "/proc/self/fd/2",
            "pts/ptmx",
            "/dev/null character special file 1:3 666",
            "/dev/tty character special file 5:0 666",
            "/dev/urandom character special file 1:9 666",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        Ok(())
    }
}

/// runc leaves it private, whatever is asked for.
#[tokio::test]
async fn a_root_tells_of_mounts_if_its_spec_says_so() -> Result<()> {
    for (kind, tag) in [
        ("shared", "shared\n"),
        ("private", "-\n"),
        ("unbindable", "unbindable\n"),
    ] {
        let script = "while read _ _ _ _ at _ tag _; do [ $at != / ] || echo ${tag%%:*}; \
            done < /proc/self/mountinfo";
        let text = shell(
            Runtime::Medley,
            |image| image,
            script,
            |spec, _| spec.edit(|json| json["linux"]["rootfsPropagation"] = kind.into()),
        );
        assert_eq!(text.await?, tag, "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rootfs_that_was_mounted_before_stays_mounted() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "60"])
        .build()?;
    let rootfs = bench.bundle("rootfs", &image)?.join("rootfs");
    mount(
        Some(&rootfs),
        &rootfs,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    let mounted = mounted_twice(&bench, &rootfs).await;
    let left = umount2(&rootfs, MntFlags::MNT_DETACH);
    mounted?;
    left?;
    bench.close().await
}

/// Runs a container over `rootfs` whose shim is killed, twice as after a restart.
async fn mounted_twice(bench: &Bench, rootfs: &std::path::Path) -> Result<()> {
    let image = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "60"])
        .build()?;
    for id in ["first", "second"] {
        let bundle = bench.bundle(id, &image)?;
        let spec = Spec::of(&image, bench.namespace(), id);
        let spec = spec.edit(|json| json["root"]["path"] = serde_json::json!(rootfs));
        std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
        let shim = bench.start(id, &bundle).await?;
        let stdio = bench.stdio(id, Stdin::None)?;
        shim.create(id, &bundle, &stdio).await?;
        shim.start(id).await?;
        let (pid, _) = shim.pids(id).await?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        proc::until("the shim is dead", || !proc::is_alive(pid)).await?;
        let done = bench.command(id, &bundle, "delete").await?;
        assert!(done.status.success(), "{done:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let at = format!(" {} ", rootfs.display());
        assert_eq!(mounts.matches(&at).count(), 1, "{mounts}");
    }
    Ok(())
}

/// However many mounts the node has: what a container mounts from goes along, by whatever way it leads.
#[tokio::test]
async fn containers_begin_in_a_copy_of_one_empty_mount_namespace() -> Result<()> {
    let kept = std::path::Path::new("/run/containerd-shim-wasm/mounts/empty");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let script = "cat /data/note /note; wc -l < /proc/self/mountinfo";
        let said = shell(
            Runtime::Medley,
            |image| image,
            script,
            |spec, volume| {
                let link = volume.with_file_name("link");
                std::os::unix::fs::symlink(volume, &link).unwrap_or_default();
                spec.edit(|json| {
                    let bind = |from: &std::path::Path, at: &str| {
                        serde_json::json!({"destination": at, "type": "bind",
                            "source": from, "options": ["rbind", "ro"]})
                    };
                    if let Some(mounts) = json["mounts"].as_array_mut() {
                        mounts.push(bind(&link, "/data"));
                        mounts.push(bind(&link.join("note"), "/note"));
                    }
                })
            },
        )
        .await?;
        let count = said
            .strip_prefix("a note\na note\n")
            .context("both notes")?;
        let count: u32 = count.trim().parse()?;
        assert!(count < 40, "{count} mounts in a container");
        seen.push(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(
            kept,
        )?));
    }
    assert_eq!(seen[0], seen[1]);
    // A namespace, and not the file below it.
    let kind = nix::sys::statfs::statfs(kept)?.filesystem_type();
    assert_eq!(kind, nix::sys::statfs::NSFS_MAGIC);
    Ok(())
}

each_runtime! {
    /// As agents have it that look after a node. The second container finds what the first one left to it.
    async fn a_container_sees_all_of_the_node(runtime: Runtime) -> Result<()> {
        for from in ["/", "/run", "/", "/run"] {
            let said = shell(
                runtime,
                |image| image,
                "ls /node | wc -l",
                |spec, _| spec.bind(std::path::Path::new(from), "/node", true),
            )
            .await?;
            assert_ne!(said.trim(), "0", "{from}");
        }
        Ok(())
    }
}

each_runtime! {
    /// Its upper layer is mounted again at once, and has what was written to it until then.
    async fn a_container_that_starts_again_has_its_files(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let script = "touch /lines; wc -l < /lines; echo line >> /lines; rm -r /dir; \
            mkdir /dir && dd if=/dev/zero of=/dir/large bs=1M count=8";
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
        let container = client.create("it", &image, spec).await?;
        for lines in 0..4 {
            let mut task = container.start(Stdin::None).await?;
            assert_eq!(task.wait().await?, 0);
            let (said, errors) = task.output().await?;
            assert_eq!(said.trim(), lines.to_string(), "{errors}");
            task.delete().await?;
        }
        container.delete().await?;
        containerd.close().await
    }
}
