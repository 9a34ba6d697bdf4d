//! What the containers of a pod see of files: their root, volumes, mounts made later, the pod's name
//! and its DNS.

use crate::node::{Node, asked, features};
use k8s_cri::v1::{DnsConfig, MountPropagation};
use medley_test::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// A volume that is a mount of its own, whose mounts are told to those who ask for them.
struct Shared {
    path: PathBuf,
}

impl Shared {
    fn new(node: &Node) -> Result<Self> {
        let path = node.dir()?;
        mount_tmpfs(&path)?;
        let this = Self { path };
        let none = None::<&str>;
        mount(none, &this.path, none, MsFlags::MS_SHARED, none)?;
        std::fs::create_dir(this.path.join("sub"))?;
        Ok(this)
    }

    /// Mounts a dir with a file in it below the volume.
    fn mount_below(&self) -> Result<()> {
        let sub = self.path.join("sub");
        mount_tmpfs(&sub)?;
        Ok(std::fs::write(sub.join("note"), "mounted\n")?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Errors cannot be returned from here: what stays is found when the node is closed.
        for path in [self.path.join("sub"), self.path.clone()] {
            umount2(&path, MntFlags::MNT_DETACH).ok();
        }
    }
}

fn mount_tmpfs(path: &Path) -> Result<()> {
    let made = mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    );
    made.with_context(|| format!("cannot mount a tmpfs on {}", path.display()))
}

fn by(propagation: MountPropagation) -> impl FnOnce(&mut k8s_cri::v1::Mount) {
    move |mount| mount.set_propagation(propagation)
}

async fn with_a_read_only_root_only_volumes_can_be_written(node: &Node) -> Result<()> {
    let volume = node.dir()?;
    let pod = node.pod("read-only").await?;
    let it = node
        .sleeper("it")
        .volume(&volume, "/vol", false)
        .volume(&volume, "/fixed", true)
        .security(|security| security.readonly_rootfs = true);
    let it = pod.run(it).await?;
    for path in ["/x", "/tmp/x", "/data/x", "/fixed/x"] {
        let said = asked(&it, &format!("touch {path}")).await?;
        assert!(said.contains("Read-only file system"), "{path}: {said}");
    }
    assert_eq!(
        asked(&it, "echo kept > /vol/x && cat /fixed/x").await?,
        "kept"
    );
    assert_eq!(
        asked(&it, "echo x > /dev/shm/x && cat /dev/shm/x").await?,
        "x"
    );
    assert_eq!(std::fs::read_to_string(volume.join("x"))?, "kept\n");
    pod.remove().await
}

async fn a_guest_whose_root_is_read_only_writes_to_its_volumes_alone(node: &Node) -> Result<()> {
    let volume = node.dir()?;
    let pod = node.pod("read-only-guest").await?;
    for (path, code) in [("/x", 1), ("/fixed/x", 1), ("/vol/x", 0)] {
        let it = node
            .guest(
                &format!("it{}", path.replace('/', "-")),
                &["/files.wasm", "write", path, "kept"],
            )
            .volume(&volume, "/vol", false)
            .volume(&volume, "/fixed", true)
            .security(|security| security.readonly_rootfs = true);
        pod.run(it).await?.ends_with(code).await?;
    }
    assert_eq!(std::fs::read_to_string(volume.join("x"))?, "kept\n");
    pod.remove().await
}

async fn a_single_file_is_a_volume(node: &Node) -> Result<()> {
    let file = node.dir()?.join("config");
    std::fs::write(&file, "configured\n")?;
    let pod = node.pod("file").await?;
    let it = node.sleeper("it").volume(&file, "/etc/app/config", true);
    let it = pod.run(it).await?;
    assert_eq!(asked(&it, "cat /etc/app/config").await?, "configured");
    let said = asked(&it, "echo x > /etc/app/config").await?;
    assert!(said.contains("Read-only file system"), "{said}");
    pod.remove().await
}

async fn a_guest_reads_a_single_file_that_is_a_volume(node: &Node) -> Result<()> {
    let file = node.dir()?.join("config");
    std::fs::write(&file, "configured\n")?;
    let pod = node.pod("file-guest").await?;
    let it = node.guest("it", &["/files.wasm", "read", "/etc/app/config"]);
    let it = pod.run(it.volume(&file, "/etc/app/config", true)).await?;
    it.ends_with(0).await?;
    it.expect_stdout("configured\n").await?;
    pod.remove().await
}

async fn mounts_below_a_private_volume_stay_on_their_side(node: &Node) -> Result<()> {
    let volume = Shared::new(node)?;
    let pod = node.pod("private").await?;
    let it = node.sleeper("it").mount(
        &volume.path,
        "/vol",
        by(MountPropagation::PropagationPrivate),
    );
    let it = pod.run(it).await?;
    volume.mount_below()?;
    assert_eq!(asked(&it, "ls /vol/sub").await?, "");
    pod.remove().await
}

/// A privileged container that has the volume.
async fn privileged(
    node: &Node,
    volume: &Shared,
    propagation: MountPropagation,
) -> Result<(Pod, CriContainer)> {
    let options = PodOptions {
        privileged: true,
        ..Default::default()
    };
    let pod = node.pod_with("privileged", options).await?;
    let it = node
        .sleeper("it")
        .mount(&volume.path, "/vol", by(propagation))
        .security(|security| security.privileged = true);
    let it = pod.run(it).await?;
    Ok((pod, it))
}

async fn mounts_of_the_host_come_into_a_volume_that_asks_for_them(node: &Node) -> Result<()> {
    let volume = Shared::new(node)?;
    let (pod, it) = privileged(node, &volume, MountPropagation::PropagationHostToContainer).await?;
    volume.mount_below()?;
    assert_eq!(asked(&it, "cat /vol/sub/note").await?, "mounted");
    // But not the other way.
    assert_eq!(
        asked(
            &it,
            "mkdir /vol/own && mount -t tmpfs own /vol/own && touch /vol/own/x"
        )
        .await?,
        ""
    );
    assert!(!volume.path.join("own/x").exists());
    pod.remove().await
}

async fn mounts_of_a_container_come_out_of_a_volume_that_allows_it(node: &Node) -> Result<()> {
    let volume = Shared::new(node)?;
    let (pod, it) = privileged(node, &volume, MountPropagation::PropagationBidirectional).await?;
    assert_eq!(
        asked(
            &it,
            "mount -t tmpfs own /vol/sub && echo out > /vol/sub/note"
        )
        .await?,
        ""
    );
    assert_eq!(
        std::fs::read_to_string(volume.path.join("sub/note"))?,
        "out\n"
    );
    assert_eq!(asked(&it, "umount /vol/sub").await?, "");
    assert!(!volume.path.join("sub/note").exists());
    volume.mount_below()?;
    assert_eq!(asked(&it, "cat /vol/sub/note").await?, "mounted");
    pod.remove().await
}

// As drivers of volumes have it: a dir of the node at /dev, and a volume whose mounts come out.
async fn what_is_mounted_in_a_dir_at_dev_stays_in_the_container(node: &Node) -> Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let (dev, volume) = (Shared::new(node)?, Shared::new(node)?);
    for dir in ["shm", "pts"] {
        std::fs::create_dir(dev.path.join(dir))?;
    }
    let mode = Mode::from_bits_truncate(0o666);
    let null = dev.path.join("null");
    mknod(&null, SFlag::S_IFCHR, mode, makedev(1, 3))?;
    let options = PodOptions {
        privileged: true,
        ..Default::default()
    };
    let pod = node.pod_with("driver", options).await?;
    let it = node
        .sleeper("it")
        .mount(&dev.path, "/dev", |_| ())
        .mount(
            &volume.path,
            "/vol",
            by(MountPropagation::PropagationBidirectional),
        )
        .security(|security| security.privileged = true);
    let it = pod.run(it).await?;
    let script = "ls -A /dev; echo gone > /dev/null; echo kept > /dev/shm/word; \
        mount -t tmpfs own /vol/sub && echo out > /vol/sub/note";
    assert_eq!(asked(&it, script).await?, "null\npts\nshm\nsub");
    let note = std::fs::read_to_string(volume.path.join("sub/note"))?;
    assert_eq!(note, "out\n");
    assert!(!dev.path.join("shm/word").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let below = format!(" {}/", dev.path.display());
    assert!(!mounts.contains(&below), "{mounts}");
    assert_eq!(asked(&it, "umount /vol/sub").await?, "");
    pod.remove().await
}

/// If the volume asks for them.
async fn a_guest_sees_later_mounts_below_a_volume(node: &Node) -> Result<()> {
    let volume = Shared::new(node)?;
    let pod = node.pod("later").await?;
    for (name, propagation, code) in [
        ("private", MountPropagation::PropagationPrivate, 1),
        ("slave", MountPropagation::PropagationHostToContainer, 0),
    ] {
        let it = node
            .guest(name, &["/sleep.wasm"])
            .mount(&volume.path, "/vol", by(propagation));
        let it = pod.run(it).await?;
        it.wait_for_log("up").await?;
        volume.mount_below()?;
        let ran = it
            .exec_sync(&["/files.wasm", "read", "/vol/sub/note"], 0)
            .await?;
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        umount2(&volume.path.join("sub"), MntFlags::MNT_DETACH)?;
    }
    pod.remove().await
}

async fn a_read_only_volume_is_read_only_with_all_below_it(node: &Node) -> Result<()> {
    // The CRI plugin asks a runtime whether it can, from 2.0 on runc alone.
    let asks = node.is_at_least(2, 0) && node.runtime() == Runtime::Runc;
    if !asks {
        return node.cannot_try(
            "recursive read-only mounts",
            "its CRI plugin allows them to runc from 2.0 on, and to no other runtime",
        );
    }
    let volume = Shared::new(node)?;
    volume.mount_below()?;
    let pod = node.pod("rro").await?;
    let it = node.sleeper("it").mount(&volume.path, "/vol", |mount| {
        mount.readonly = true;
        mount.recursive_read_only = true;
    });
    let it = pod.run(it).await?;
    assert_eq!(asked(&it, "cat /vol/sub/note").await?, "mounted");
    let said = asked(&it, "touch /vol/sub/x").await?;
    assert!(said.contains("Read-only file system"), "{said}");
    pod.remove().await
}

fn dns() -> DnsConfig {
    DnsConfig {
        servers: vec!["10.96.0.10".into()],
        searches: vec![
            "default.svc.cluster.local".into(),
            "svc.cluster.local".into(),
        ],
        options: vec!["ndots:5".into()],
    }
}

const RESOLV_CONF: &str =
    "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";

async fn a_container_has_its_pods_hostname_hosts_and_dns(node: &Node) -> Result<()> {
    let options = PodOptions {
        dns: Some(dns()),
        ..Default::default()
    };
    let pod = node.pod_with("named", options).await?;
    let it = pod.run(node.sleeper("it")).await?;
    assert_eq!(asked(&it, "hostname").await?, "named");
    assert_eq!(asked(&it, "cat /etc/hostname").await?, "named");
    assert_eq!(
        asked(&it, "cat /etc/resolv.conf").await? + "\n",
        RESOLV_CONF
    );
    assert_eq!(
        asked(&it, "cat /etc/hosts").await?,
        std::fs::read_to_string("/etc/hosts")?.trim_end()
    );
    pod.remove().await
}

async fn a_guest_reads_its_pods_hostname_hosts_and_dns(node: &Node) -> Result<()> {
    let options = PodOptions {
        dns: Some(dns()),
        ..Default::default()
    };
    let pod = node.pod_with("named-guest", options).await?;
    let hosts = std::fs::read_to_string("/etc/hosts")?;
    for (name, text) in [
        ("hostname", "named-guest\n"),
        ("resolv.conf", RESOLV_CONF),
        ("hosts", &hosts),
    ] {
        let path = format!("/etc/{name}");
        let it = pod
            .run(node.guest(name, &["/files.wasm", "read", &path]))
            .await?;
        it.ends_with(0).await?;
        it.expect_stdout(text).await?;
    }
    pod.remove().await
}

features! {
    linux:
        a_container_has_its_pods_hostname_hosts_and_dns,
        with_a_read_only_root_only_volumes_can_be_written,
        a_read_only_volume_is_read_only_with_all_below_it,
        a_single_file_is_a_volume,
        mounts_below_a_private_volume_stay_on_their_side,
        mounts_of_a_container_come_out_of_a_volume_that_allows_it,
        mounts_of_the_host_come_into_a_volume_that_asks_for_them,
        what_is_mounted_in_a_dir_at_dev_stays_in_the_container;
    wasm:
        a_guest_reads_a_single_file_that_is_a_volume,
        a_guest_reads_its_pods_hostname_hosts_and_dns,
        a_guest_sees_later_mounts_below_a_volume,
        a_guest_whose_root_is_read_only_writes_to_its_volumes_alone,
}
