//! Which namespaces the containers of a pod are in: the node's, the pod's, one another's, their own.

use crate::node::{Node, asked, features};
use k8s_cri::v1::{IdMapping, NamespaceMode, UserNamespace};
use medley_test::*;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A namespace of a process, as the kernel names it.
fn namespace(pid: u32, kind: &str) -> Result<String> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
    let link = std::fs::read_link(&path);
    let link = link.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(link.to_string_lossy().into_owned())
}

fn own(kind: &str) -> Result<String> {
    namespace(std::process::id(), kind)
}

async fn containers_of_a_pod_share_network_and_ipc_and_not_pids(node: &Node) -> Result<()> {
    let pod = node.pod("own").await?;
    let pids = [
        pod.run(node.sleeper("one")).await?.pid().await?,
        pod.run(node.sleeper("two")).await?.pid().await?,
    ];
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(
            namespace(pids[0], kind)?,
            namespace(pids[1], kind)?,
            "{kind}"
        );
        assert_ne!(namespace(pids[0], kind)?, own(kind)?, "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(
            namespace(pids[0], kind)?,
            namespace(pids[1], kind)?,
            "{kind}"
        );
        assert_ne!(namespace(pids[0], kind)?, own(kind)?, "{kind}");
    }
    pod.remove().await
}

/// The host's.
async fn a_pod_on_the_hosts_network_has_interfaces_and_hostname(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| of.set_network(NamespaceMode::Node));
    let pod = node.pod_with("host-net", options).await?;
    let it = pod.run(node.sleeper("it")).await?;
    let pid = it.pid().await?;
    assert_eq!(namespace(pid, "net")?, own("net")?);
    assert_eq!(namespace(pid, "uts")?, own("uts")?);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_eq!(asked(&it, "hostname").await?, hostname.trim_end());
    assert_eq!(asked(&it, "cat /etc/hostname").await?, hostname.trim_end());
    assert_eq!(asked(&it, "readlink /proc/self/ns/net").await?, own("net")?);
    pod.remove().await
}

async fn a_pod_in_the_hosts_pid_namespace_sees_its_processes(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| of.set_pid(NamespaceMode::Node));
    let pod = node.pod_with("host-pid", options).await?;
    let it = pod.run(node.sleeper("it")).await?;
    let pid = it.pid().await?;
    assert_eq!(namespace(pid, "pid")?, own("pid")?);
    let cmdline = format!("tr '\\0' ' ' < /proc/{pid}/cmdline");
    assert_eq!(asked(&it, &cmdline).await?, "/bin/sleep 3600");
    // What it leaves behind goes with it, though no namespace ends.
    asked(&it, "sleep 3601 > /dev/null 2>&1 &").await?;
    it.stop(0).await?;
    it.ends_with(137).await?;
    pod.remove().await
}

async fn a_pod_in_the_hosts_ipc_namespace_shares_its_memory(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| of.set_ipc(NamespaceMode::Node));
    let pod = node.pod_with("host-ipc", options).await?;
    let it = pod.run(node.sleeper("it")).await?;
    assert_eq!(namespace(it.pid().await?, "ipc")?, own("ipc")?);
    let name = leftovers::unique();
    assert_eq!(
        asked(&it, &format!("echo shared > /dev/shm/{name}")).await?,
        ""
    );
    let path = PathBuf::from("/dev/shm").join(name);
    let said = std::fs::read_to_string(&path);
    std::fs::remove_file(&path)?;
    assert_eq!(said?, "shared\n");
    pod.remove().await
}

async fn containers_of_a_pod_share_memory(node: &Node) -> Result<()> {
    let pod = node.pod("shm").await?;
    let one = pod.run(node.sleeper("one")).await?;
    let two = pod.run(node.sleeper("two")).await?;
    asked(&one, "echo shared > /dev/shm/note").await?;
    assert_eq!(asked(&two, "cat /dev/shm/note").await?, "shared");
    pod.remove().await
}

async fn containers_of_a_pod_can_share_their_processes(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| of.set_pid(NamespaceMode::Pod));
    let pod = node.pod_with("shared", options).await?;
    let main = pod.run(node.shell("main", "exec sleep 3602")).await?;
    let side = pod.run(node.sleeper("side")).await?;
    let pids = [main.pid().await?, side.pid().await?];
    assert_eq!(namespace(pids[0], "pid")?, namespace(pids[1], "pid")?);
    assert_ne!(namespace(pids[0], "pid")?, own("pid")?);
    // The sandbox is pid 1, and reaps for all.
    assert_eq!(
        asked(&side, "tr '\\0' ' ' < /proc/1/cmdline").await?,
        "/bin/sleep 2147483647"
    );
    let look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 360[2]'";
    assert_eq!(asked(&side, look).await?, "1");
    // A sidecar may signal the main container.
    let signal = "for process in /proc/[0-9]*; do \
        if tr '\\0' ' ' < $process/cmdline | grep -q 'sleep 360[2]'; then kill ${process#/proc/}; fi; \
        done";
    assert_eq!(asked(&side, signal).await?, "");
    main.ends_with(143).await?;
    pod.remove().await
}

async fn a_debugging_container_sees_its_targets_processes_and_files(node: &Node) -> Result<()> {
    let pod = node.pod("debug").await?;
    let target = pod.run(node.sleeper("target")).await?;
    asked(&target, "echo seen > /data/note").await?;
    let mut namespaces = pod.namespaces();
    namespaces.set_pid(NamespaceMode::Target);
    namespaces.target_id.clone_from(&target.id);
    let debugger = node.sleeper("debugger").security(|security| {
        security.namespace_options = Some(namespaces);
        let capabilities = security.capabilities.get_or_insert_default();
        capabilities.add_capabilities.push("SYS_PTRACE".into());
    });
    let debugger = pod.run(debugger).await?;
    assert_eq!(
        namespace(debugger.pid().await?, "pid")?,
        namespace(target.pid().await?, "pid")?
    );
    assert_eq!(
        asked(&debugger, "cat /proc/1/root/data/note").await?,
        "seen"
    );
    // It may go without its target noticing.
    debugger.stop(0).await?;
    debugger.ends_with(137).await?;
    assert_eq!(asked(&target, "echo alive").await?, "alive");
    pod.remove().await
}

async fn a_guest_shares_network_and_ipc_of_its_pod_and_not_pids(node: &Node) -> Result<()> {
    let pod = node.pod("mixed").await?;
    let guest = pod
        .run(node.guest("guest", &["/sleep.wasm"]))
        .await?
        .pid()
        .await?;
    let side = pod.run(node.sleeper("side")).await?.pid().await?;
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace(guest, kind)?, namespace(side, kind)?, "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(namespace(guest, kind)?, namespace(side, kind)?, "{kind}");
        assert_ne!(namespace(guest, kind)?, own(kind)?, "{kind}");
    }
    pod.remove().await
}

async fn a_guest_of_a_pod_on_the_hosts_network_is_in_it(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| {
        of.set_network(NamespaceMode::Node);
        of.set_pid(NamespaceMode::Node);
        of.set_ipc(NamespaceMode::Node);
    });
    let pod = node.pod_with("host-guest", options).await?;
    let guest = pod.run(node.guest("guest", &["/sleep.wasm"])).await?;
    guest.wait_for_log("up").await?;
    let pid = guest.pid().await?;
    for kind in ["net", "ipc", "pid"] {
        assert_eq!(namespace(pid, kind)?, own(kind)?, "{kind}");
    }
    guest.stop(5).await?;
    guest.ends_with(143).await?;
    pod.remove().await
}

async fn a_sidecar_sees_a_guest_among_the_pods_shared_processes(node: &Node) -> Result<()> {
    let options = PodOptions::namespaces(|of| of.set_pid(NamespaceMode::Pod));
    let pod = node.pod_with("shared-guest", options).await?;
    let guest = pod.run(node.guest("guest", &["/sleep.wasm"])).await?;
    guest.wait_for_log("up").await?;
    let side = pod.run(node.sleeper("side")).await?;
    assert_eq!(
        asked(&side, "cat /proc/[0-9]*/comm | grep -c '^sleep.wasm$'").await?,
        "1"
    );
    // It can end the guest, and can't read its memory or its files.
    let pid = asked(
        &side,
        "grep -l '^sleep.wasm$' /proc/[0-9]*/comm | cut -d / -f 3",
    )
    .await?;
    let denied = asked(&side, &format!("ls /proc/{pid}/root/")).await?;
    assert!(denied.contains("ermission denied"), "{denied}");
    assert_eq!(asked(&side, &format!("kill {pid}")).await?, "");
    guest.ends_with(143).await?;
    pod.remove().await
}

/// The first id on the node that the root of a mapped pod is, far from any that is in use.
const MAPPED_ROOT: u32 = 1_200_000_000;

fn ids() -> Vec<IdMapping> {
    vec![IdMapping {
        host_id: MAPPED_ROOT,
        container_id: 0,
        length: 65536,
    }]
}

/// A pod in a user namespace of its own; none where it cannot be had, which is said.
async fn mapped_pod(node: &Node, name: &str) -> Result<Option<Pod>> {
    let feature = "pods of a user namespace";
    if !node.is_at_least(1, 7) {
        node.cannot_try(feature, "its CRI plugin has none before 1.7")?;
        return Ok(None);
    }
    if node.runtime() == Runtime::Runc && node.is_at_least(2, 0) && !runc_joins_user_namespaces()? {
        node.cannot_try(feature, "runc joins a pod's only from 1.2 on")?;
        return Ok(None);
    }
    let options = PodOptions::namespaces(|of| {
        let mut users = UserNamespace {
            uids: ids(),
            gids: ids(),
            ..Default::default()
        };
        users.set_mode(NamespaceMode::Pod);
        of.userns_options = Some(users);
    });
    Ok(Some(node.pod_with(name, options).await?))
}

fn runc_joins_user_namespaces() -> Result<bool> {
    let told = std::process::Command::new("runc")
        .arg("--version")
        .output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told
        .split_whitespace()
        .nth(2)
        .context("runc has no version")?;
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    Ok((parts.next(), parts.next()) >= (Some(1), Some(2)))
}

async fn the_root_of_a_pod_of_a_user_namespace_is_nobody_on_the_node(node: &Node) -> Result<()> {
    let Some(pod) = mapped_pod(node, "users").await? else {
        return Ok(());
    };
    let secret = node.dir()?;
    std::fs::write(secret.join("note"), "the node's\n")?;
    let it = node.sleeper("it").volume(&secret, "/secret", false);
    let it = pod.run(it).await?;
    let pid = it.pid().await?;
    assert_ne!(namespace(pid, "user")?, own("user")?);
    let root = MAPPED_ROOT.to_string();
    let uids = proc::field(pid, "Uid")?;
    assert!(uids.split_whitespace().all(|uid| uid == root), "{uids}");
    let map = asked(&it, "cat /proc/self/uid_map").await?;
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", &root, "65536"]
    );
    assert_eq!(asked(&it, "id -u; id -g").await?, "0\n0");
    // Its files are its own, and the node's are not.
    assert_eq!(asked(&it, "stat -c %u /bin/busybox").await?, "0");
    assert_eq!(
        asked(
            &it,
            "touch /data/x && chown 7 /data/x && stat -c %u /data/x"
        )
        .await?,
        "7"
    );
    assert_eq!(asked(&it, "stat -c %u /secret").await?, "65534");
    let said = asked(&it, "touch /secret/x").await?;
    assert!(said.contains("ermission denied"), "{said}");
    // Two containers of it are in the same, and it ends as any other.
    let other = pod.run(node.sleeper("other")).await?;
    assert_eq!(
        namespace(other.pid().await?, "user")?,
        namespace(pid, "user")?
    );
    it.stop(0).await?;
    it.ends_with(137).await?;
    pod.remove().await
}

async fn a_guest_of_a_pod_of_a_user_namespace_is_nobody_on_the_node(node: &Node) -> Result<()> {
    let Some(pod) = mapped_pod(node, "guest-users").await? else {
        return Ok(());
    };
    let it = pod.run(node.guest("it", &["/sleep.wasm"])).await?;
    it.wait_for_log("up").await?;
    let pid = it.pid().await?;
    assert_ne!(namespace(pid, "user")?, own("user")?);
    let uids = proc::field(pid, "Uid")?;
    let root = MAPPED_ROOT.to_string();
    assert!(uids.split_whitespace().all(|uid| uid == root), "{uids}");
    let ran = it
        .exec_sync(&["/files.wasm", "write", "/note", "its own"], 0)
        .await?;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let secret = node.dir()?;
    let writes = node.guest("writes", &["/files.wasm", "write", "/secret/note", "x"]);
    pod.run(writes.volume(&secret, "/secret", false))
        .await?
        .ends_with(1)
        .await?;
    it.stop(5).await?;
    it.ends_with(143).await?;
    pod.remove().await
}

/// A volume whose files belong to the pod's ids as they do to the node's.
async fn volume_with_mapped_ids(node: &Node, pod: &Pod, it: PodContainer) -> Result<()> {
    let volume = node.dir()?;
    let it = it.mount(&volume, "/vol", |mount| {
        mount.uid_mappings = ids();
        mount.gid_mappings = ids();
    });
    pod.run(it).await?.ends_with(0).await?;
    let written = std::fs::metadata(volume.join("note"))?;
    assert_eq!((written.uid(), written.gid()), (0, 0));
    Ok(())
}

async fn a_volume_in_a_user_namespace_has_the_ids_of_the_node(node: &Node) -> Result<()> {
    if !node.is_at_least(2, 0) {
        return node.cannot_try(
            "volumes with mapped ids",
            "its CRI plugin has none before 2.0",
        );
    }
    let Some(pod) = mapped_pod(node, "mapped").await? else {
        return Ok(());
    };
    let it = node.shell("it", "echo mine > /vol/note && test $(stat -c %u /vol) = 0");
    volume_with_mapped_ids(node, &pod, it).await?;
    if node.runtime() == Runtime::Medley {
        let it = node.guest("guest", &["/files.wasm", "write", "/vol/note", "mine"]);
        volume_with_mapped_ids(node, &pod, it).await?;
    }
    pod.remove().await
}

features! {
    linux:
        a_volume_in_a_user_namespace_has_the_ids_of_the_node,
        a_debugging_container_sees_its_targets_processes_and_files,
        a_pod_in_the_hosts_ipc_namespace_shares_its_memory,
        a_pod_in_the_hosts_pid_namespace_sees_its_processes,
        a_pod_on_the_hosts_network_has_interfaces_and_hostname,
        containers_of_a_pod_can_share_their_processes,
        containers_of_a_pod_share_network_and_ipc_and_not_pids,
        containers_of_a_pod_share_memory,
        the_root_of_a_pod_of_a_user_namespace_is_nobody_on_the_node;
    wasm:
        a_guest_of_a_pod_of_a_user_namespace_is_nobody_on_the_node,
        a_guest_shares_network_and_ipc_of_its_pod_and_not_pids,
        a_guest_of_a_pod_on_the_hosts_network_is_in_it,
        a_sidecar_sees_a_guest_among_the_pods_shared_processes,
}
