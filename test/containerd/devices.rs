//! Device nodes outside of `/dev`, and a `/dev` that is the node's.

use medley_test::*;
use serde_json::{Value, json};

/// A character device of a spec.
fn device(path: &str, minor: u32) -> Value {
    json!({"path": path, "type": "c", "major": 1, "minor": minor})
}

/// Runs a shell script in a container of an image with more files and with these devices.
async fn shell(
    runtime: Runtime,
    files: impl FnOnce(ImageBuilder, &std::path::Path) -> ImageBuilder,
    (devices, change): (Vec<Value>, impl FnOnce(&mut Value)),
    script: &str,
) -> Result<(String, Vec<String>)> {
    let containerd = Containerd::start(runtime).await?;
    let host = containerd.dir().join("host");
    std::fs::create_dir(&host)?;
    let image = files(images::linux_builder("devices")?, &host).build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
    let spec = spec.edit(|json| {
        json["linux"]["devices"] = json!(devices);
        change(json);
    });
    let done = client.run("it", &image, spec).await?;
    assert_eq!(done.code, 0, "{done:?}");
    let left = std::fs::read_dir(&host)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    containerd.close().await?;
    Ok((done.stdout, left))
}

const STAT: &str = "stat -c '%n %F %t:%T %a %u:%g'";

each_runtime! {
    async fn a_device_outside_of_dev_is_made_where_it_is_asked(runtime: Runtime) -> Result<()> {
        let mut owned = device("/opt/null", 3);
        owned["fileMode"] = json!(0o640);
        owned["uid"] = json!(5);
        owned["gid"] = json!(6);
        let block = json!({"path": "/data/blk", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600});
        let pipe = json!({"path": "/run/pipe", "type": "p", "fileMode": 0o622});
        let devices = vec![owned, device("/data/deep/er/zero", 5), block, pipe];
        let script = format!(
            "{STAT} /opt/null /data/deep/er/zero /data/blk /run/pipe; \
             echo gone > /opt/null && head -c 2 /data/deep/er/zero | od -An -tx1"
        );
        let (said, _) = shell(runtime, |image, _| image, (devices, |_| ()), &script).await?;
        assert_eq!(
            said,
            "/opt/null character special file 1:3 640 5:6\n\
             /data/deep/er/zero character special file 1:5 666 0:0\n\
             /data/blk block special file 7:c8 600 0:0\n\
             /run/pipe fifo 0:0 622 0:0\n 00 00\n"
        );
        Ok(())
    }

    async fn a_device_behind_a_link_of_the_image_is_made_in_the_rootfs(runtime: Runtime) -> Result<()> {
        let files = |image: ImageBuilder, host: &std::path::Path| image
            .symlink("/out", &host.display().to_string())
            .symlink("/to-dev", "/dev");
        let devices = vec![device("/out/null", 3), device("/to-dev/nought", 5)];
        let script = format!("{STAT} /out/null /dev/nought");
        let (said, left) = shell(runtime, files, (devices, |_| ()), &script).await?;
        assert_eq!(
            said,
            "/out/null character special file 1:3 666 0:0\n\
             /dev/nought character special file 1:5 666 0:0\n"
        );
        assert!(left.is_empty(), "{left:?}");
        Ok(())
    }

    async fn a_device_is_made_on_a_rootfs_that_is_read_only(runtime: Runtime) -> Result<()> {
        let read_only = |json: &mut Value| json["root"]["readonly"] = json!(true);
        let devices = vec![device("/opt/null", 3)];
        let script = format!("{STAT} /opt/null; echo gone > /opt/null; touch /opt/x 2>/dev/null || echo ro");
        let (said, _) = shell(runtime, |image, _| image, (devices, read_only), &script).await?;
        assert_eq!(said, "/opt/null character special file 1:3 666 0:0\nro\n");
        Ok(())
    }
}

// runc looks for the node's own device at the path that is the container's.
#[tokio::test]
async fn a_device_in_a_user_namespace_belongs_to_its_ids() -> Result<()> {
    let mut owned = device("/opt/null", 3);
    owned["fileMode"] = json!(0o600);
    owned["uid"] = json!(7);
    let user_namespace = |json: &mut Value| {
        let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        json["linux"]["uidMappings"] = ids.clone();
        json["linux"]["gidMappings"] = ids;
        if let Some(namespaces) = json["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({"type": "user"}));
        }
        json["process"]["user"] = json!({"uid": 7, "gid": 7});
    };
    let files = |image: ImageBuilder, _: &std::path::Path| {
        let dirs = ["/proc", "/dev", "/sys", "/run", "/opt"];
        let image = dirs.iter().fold(image, |image, at| image.dir(at, 0o755));
        image.file("/opt/null", "of the image", 0o644)
    };
    let script = format!("{STAT} /opt/null; echo gone > /opt/null && echo written");
    let given = (vec![owned], user_namespace);
    let (said, _) = shell(Runtime::Medley, files, given, &script).await?;
    assert_eq!(
        said,
        "/opt/null character special file 1:3 600 7:0\nwritten\n"
    );
    Ok(())
}

/// What is in a dir, each with what it is.
fn listing(dir: &std::path::Path) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stat = entry.metadata()?;
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let (ino, rdev, mode) = (stat.ino(), stat.rdev(), stat.mode());
        all.push(format!("{name} {ino} {rdev} {mode:o} {}", target.display()));
    }
    all.sort();
    Ok(all)
}

/// A dir to be mounted at `/dev`, with what a runtime needs there.
fn dev_dir(at: &std::path::Path) -> Result<std::path::PathBuf> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let dir = at.join("dev");
    std::fs::create_dir(&dir)?;
    std::fs::create_dir(dir.join("shm"))?;
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&dir.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3))?;
    Ok(dir)
}

each_runtime! {
    async fn the_nodes_dev_is_the_containers_and_stays_as_it_is(runtime: Runtime) -> Result<()> {
        let dev = std::path::Path::new("/dev");
        let before = listing(dev)?;
        let script = "ls -A /dev; echo gone > /dev/null; stat -c %t:%T /dev/null";
        let done = Scenario::of(runtime, images::linux())
            .args(["sh", "-c", script])
            .spec(|spec| spec.bind(dev, "/dev", false).edit(|json| json["linux"]["devices"] = json!([device("/dev/own", 5)])))
            .finished().await?;
        assert_eq!(done.code, 0, "{done:?}");
        let mut names: Vec<_> = before.iter().filter_map(|line| line.split(' ').next()).collect();
        names.sort_unstable();
        let (listed, rest) = done.stdout.rsplit_once("1:3\n").unwrap_or_default();
        let mut listed: Vec<_> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
        assert_eq!(rest, "");
        assert_eq!(listing(dev)?, before);
        Ok(())
    }

    async fn what_is_mounted_below_a_bound_dev_is_in_the_container_alone(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let dir = dev_dir(containerd.dir())?;
        let volume = containerd.dir().join("volume");
        std::fs::create_dir(&volume)?;
        std::fs::write(volume.join("word"), "of the volume\n")?;
        let image = images::linux()?;
        containerd.import(&[&image]).await?;
        let client = containerd.client().await?;
        let script = "cat /dev/shm/word /dev/note; ls -A /dev; echo more > /dev/shm/answer; \
            echo 1 > /dev/made; echo ready; exec sleep 3600";
        let spec = client.spec(&image, "it").args(["sh", "-c", script]);
        let spec = spec.bind(&dir, "/dev", false).bind(&volume, "/dev/shm", false)
            .bind(&volume.join("word"), "/dev/note", true);
        let container = client.create("it", &image, spec).await?;
        let task = container.start(medley_test::stdio::Stdin::None).await?;
        let said = task.until("ready\n").await?;
        assert_eq!(said, "of the volume\nof the volume\nnote\nnull\nshm\nready\n");
        assert!(dir.join("shm").read_dir()?.next().is_none(), "the node sees the mount");
        assert_eq!(std::fs::read_to_string(volume.join("answer"))?, "more\n");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        assert!(!mounts.contains(&format!("{}/", dir.display())), "{mounts}");
        task.destroy().await?;
        container.delete().await?;
        let left: Vec<_> = listing(&dir)?.iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
        assert_eq!(left, ["made", "note", "null", "shm"]);
        containerd.close().await
    }

    async fn a_terminal_is_there_with_the_nodes_dev(runtime: Runtime) -> Result<()> {
        let dev = std::path::Path::new("/dev");
        let before = listing(dev)?;
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let script = "test -t 0 && test -t 1 && echo terminal; echo by tty > /dev/tty; tty; \
            echo console > /dev/console; echo ready; exec sleep 3600";
        let spec = client.spec(&image, "it").args(["sh", "-c", script]).terminal();
        let container = client.create("it", &image, spec.bind(dev, "/dev", false)).await?;
        let task = container.start(medley_test::stdio::Stdin::Terminal).await?;
        let said = task.says("ready").await?;
        assert!(said.starts_with("terminal\r\nby tty\r\n/dev/pts/"), "{said}");
        assert!(said.contains("console\r\nready"), "{said}");
        task.destroy().await?;
        container.delete().await?;
        assert_eq!(listing(dev)?, before);
        containerd.close().await
    }
}
