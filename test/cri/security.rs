//! Who a container's processes are and what they may: users, groups, capabilities, filters, devices,
//! sysctls, privilege.

use crate::node::{Node, asked, features};
use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{Int64Value, NamespaceMode, SecurityProfile};
use medley_test::*;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;

/// A number that the kernel's driver of memory devices has no device for: who may open it hears
/// that it is not there, and who may not that it is not permitted.
const NO_DEVICE: (u64, u64) = (1, 12);

fn profile(kind: ProfileType, of: &str) -> Option<SecurityProfile> {
    let mut profile = SecurityProfile {
        localhost_ref: of.to_owned(),
        ..Default::default()
    };
    profile.set_profile_type(kind);
    Some(profile)
}

fn id(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

/// The supplemental ones too.
async fn a_container_runs_as_its_user_and_groups(node: &Node) -> Result<()> {
    let pod = node.pod("user").await?;
    let it = node.sleeper("it").security(|security| {
        security.run_as_user = id(1000);
        security.run_as_group = id(2000);
        security.supplemental_groups = vec![3000, 4000];
    });
    let it = pod.run(it).await?;
    assert_eq!(asked(&it, "id -u; id -g").await?, "1000\n2000");
    let groups = asked(&it, "grep ^Groups: /proc/1/status").await?;
    let mut groups: Vec<_> = groups
        .split_whitespace()
        .skip(1)
        .filter(|of| *of != "2000")
        .collect();
    groups.sort_unstable();
    assert_eq!(groups, ["3000", "4000"]);
    assert_eq!(
        asked(&it, "touch /data/x && stat -c '%u %g' /data/x").await?,
        "1000 2000"
    );
    pod.remove().await
}

async fn a_container_runs_as_the_user_of_a_name_in_its_image(node: &Node) -> Result<()> {
    let pod = node.pod("username").await?;
    let it = node
        .sleeper("it")
        .security(|security| security.run_as_username = "user".into());
    let it = pod.run(it).await?;
    assert_eq!(
        asked(&it, "id -u; id -g; echo $HOME").await?,
        "1000\n1000\n/data"
    );
    pod.remove().await
}

async fn a_guest_reads_what_its_supplemental_groups_may(node: &Node) -> Result<()> {
    let volume = node.dir()?;
    let note = volume.join("note");
    std::fs::write(&note, "for the group\n")?;
    chown(&note, Some(0), Some(3000))?;
    std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o640))?;
    let pod = node.pod("groups").await?;
    for (name, groups, code) in [("member", vec![3000], 0), ("stranger", vec![4000], 1)] {
        let it = node
            .guest(name, &["/files.wasm", "read", "/vol/note"])
            .volume(&volume, "/vol", true)
            .security(|security| {
                security.run_as_user = id(1000);
                security.run_as_group = id(1000);
                security.supplemental_groups = groups;
            });
        pod.run(it).await?.ends_with(code).await?;
    }
    pod.remove().await
}

async fn masked_paths_are_empty_and_read_only_ones_are_read_only(node: &Node) -> Result<()> {
    let pod = node.pod("paths").await?;
    let it = node.sleeper("it").security(|security| {
        security.masked_paths = vec!["/proc/uptime".into(), "/proc/fs".into(), "/nowhere".into()];
        security.readonly_paths = vec!["/data".into(), "/nowhere".into()];
    });
    let it = pod.run(it).await?;
    assert_eq!(asked(&it, "cat /proc/uptime; ls /proc/fs").await?, "");
    let said = asked(&it, "touch /data/x").await?;
    assert!(said.contains("Read-only file system"), "{said}");
    pod.remove().await
}

/// The capabilities in a process's set, as a number.
fn capabilities(pid: u32, set: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&proc::field(pid, set)?, 16)?)
}

async fn capabilities_are_added_and_dropped(node: &Node) -> Result<()> {
    const CHOWN: u64 = 1 << 0;
    const NET_ADMIN: u64 = 1 << 12;
    let pod = node.pod("capabilities").await?;
    for (name, add, drop, has) in [
        ("default", "", "", [true, false]),
        ("more", "NET_ADMIN", "", [true, true]),
        ("less", "", "CHOWN", [false, false]),
        ("only", "NET_ADMIN", "ALL", [false, true]),
    ] {
        let it = node.sleeper(name).security(|security| {
            let all = security.capabilities.get_or_insert_default();
            all.add_capabilities
                .extend((!add.is_empty()).then(|| add.to_owned()));
            all.drop_capabilities
                .extend((!drop.is_empty()).then(|| drop.to_owned()));
        });
        let pid = pod.run(it).await?.pid().await?;
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let found = capabilities(pid, set)?;
            let found = [found & CHOWN != 0, found & NET_ADMIN != 0];
            assert_eq!(found, has, "{name}: {set}");
        }
    }
    pod.remove().await
}

async fn no_new_privileges_are_gained_where_the_pod_says_so(node: &Node) -> Result<()> {
    let pod = node.pod("privileges").await?;
    for (name, wanted) in [("fixed", true), ("open", false)] {
        let it = node
            .sleeper(name)
            .security(|security| security.no_new_privs = wanted);
        let pid = pod.run(it).await?.pid().await?;
        assert_eq!(
            proc::field(pid, "NoNewPrivs")?,
            u8::from(wanted).to_string(),
            "{name}"
        );
    }
    pod.remove().await
}

/// The runtime's default.
async fn the_default_seccomp_profile_stops_what_is_not_needed(node: &Node) -> Result<()> {
    let pod = node.pod("seccomp").await?;
    let it = |name: &str, kind| {
        node.sleeper(name)
            .security(|security| security.seccomp = profile(kind, ""))
    };
    let confined = pod.run(it("confined", ProfileType::RuntimeDefault)).await?;
    assert_eq!(proc::field(confined.pid().await?, "Seccomp")?, "2");
    let said = asked(&confined, "unshare -U true").await?;
    assert!(said.contains("Operation not permitted"), "{said}");
    // The same for what is run beside it, and nothing ordinary is stopped.
    assert_eq!(
        asked(&confined, "grep ^Seccomp: /proc/self/status | cut -f 2").await?,
        "2"
    );
    assert_eq!(
        asked(
            &confined,
            "ls / | sort | grep -c . > /data/x && mv /data/x /data/y"
        )
        .await?,
        ""
    );
    let free = pod.run(it("free", ProfileType::Unconfined)).await?;
    assert_eq!(proc::field(free.pid().await?, "Seccomp")?, "0");
    pod.remove().await
}

async fn a_seccomp_profile_of_the_nodes_own_is_in_force(node: &Node) -> Result<()> {
    let pod = node.pod("localhost").await?;
    let path = own_profile(node, "mkdir")?;
    let it = node.sleeper("it");
    let it = it.security(|security| security.seccomp = profile(ProfileType::Localhost, &path));
    let it = pod.run(it).await?;
    assert_eq!(proc::field(it.pid().await?, "Seccomp")?, "2");
    let said = asked(&it, "mkdir /data/x").await?;
    assert!(said.contains("Operation not permitted"), "{said}");
    assert_eq!(asked(&it, "touch /data/x").await?, "");
    pod.remove().await
}

/// A profile that stops one system call, in a file of the node's. The architectures are those that
/// every filter of containerd names.
fn own_profile(node: &Node, call: &str) -> Result<String> {
    let path = node.dir()?.join("profile.json");
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{{"names": ["{call}", "{call}at"], "action": "SCMP_ACT_ERRNO"}}]}}"#
    );
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

async fn a_guest_runs_under_the_seccomp_profiles_of_pods(node: &Node) -> Result<()> {
    let pod = node.pod("seccomp-guest").await?;
    let own = own_profile(node, "unlink")?;
    for (name, kind, of) in [
        ("default", ProfileType::RuntimeDefault, ""),
        ("own", ProfileType::Localhost, own.as_str()),
        ("free", ProfileType::Unconfined, ""),
    ] {
        let under = |container: PodContainer| {
            container.security(|security| security.seccomp = profile(kind, of))
        };
        let it = pod.run(under(node.guest(name, &["/sleep.wasm"]))).await?;
        it.wait_for_log("up").await?;
        // Unconfined means containerd's filter: a guest always has our own.
        assert_eq!(proc::field(it.pid().await?, "Seccomp")?, "2", "{name}");
        let ran = it
            .exec_sync(&["/files.wasm", "write", "/note", "x"], 0)
            .await?;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}");
        let ran = it.exec_sync(&["/files.wasm", "read", "/note"], 0).await?;
        assert_eq!(ran.stdout, "x\n", "{name}");
    }
    pod.remove().await
}

/// Whether the kernel has AppArmor, and containerd the tool that loads its profiles.
fn has_apparmor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|word| word.starts_with('Y')) && Path::new("/sbin/apparmor_parser").exists()
}

fn profile_in_force(pid: u32) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/attr/current"))?;
    Ok(text.trim_end().to_owned())
}

async fn a_guest_and_one_beside_it_run_under_apparmor_profiles(node: &Node) -> Result<()> {
    if !has_apparmor() {
        return node.cannot_try("AppArmor", "this kernel or system has none");
    }
    let pod = node.pod("apparmor-guest").await?;
    let confined = "cri-containerd.apparmor.d (enforce)";
    for (name, kind, of, wanted) in [
        ("default", ProfileType::RuntimeDefault, "", confined),
        ("free", ProfileType::Unconfined, "", "unconfined"),
        (
            "local",
            ProfileType::Localhost,
            "cri-containerd.apparmor.d",
            confined,
        ),
    ] {
        let it = node.guest(name, &["/sleep.wasm"]);
        let it = it.security(|security| security.apparmor = profile(kind, of));
        let it = pod.run(it).await?;
        it.wait_for_log("up").await?;
        let init = it.pid().await?;
        assert_eq!(profile_in_force(init)?, wanted, "{name}");
        // One that ends by its time alone, for its profile to be read meanwhile.
        let exec = it.exec_sync(&["/sleep.wasm"], 5);
        let is_confined = |pid: &u32| {
            *pid != init && profile_in_force(*pid).is_ok_and(|profile| profile == wanted)
        };
        let beside = proc::until("an exec has the container's profile", || {
            proc::beside(init).iter().any(is_confined)
        });
        let (ran, beside) = tokio::join!(exec, beside);
        beside.context(name)?;
        assert!(ran.is_err(), "{name}: it was to be stopped");
        let ran = it
            .exec_sync(&["/files.wasm", "write", "/note", "x"], 0)
            .await?;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}");
        it.stop(5).await?;
        it.ends_with(143).await?;
    }
    let missing = node.guest("missing", &["/sleep.wasm"]);
    let missing = missing.security(|security| {
        security.apparmor = profile(ProfileType::Localhost, "no-such-profile");
    });
    let error = pod.run(missing).await.err();
    let error = format!("{:#}", error.context("there is no such profile")?);
    assert!(error.contains("no-such-profile"), "{error}");
    pod.remove().await
}

async fn apparmor_profiles_are_in_force(node: &Node) -> Result<()> {
    if !has_apparmor() {
        return node.cannot_try("AppArmor", "this kernel or system has none");
    }
    let pod = node.pod("apparmor").await?;
    let profile_of = async |name: &str, kind, of: &str| -> Result<String> {
        let it = node.sleeper(name);
        let it = it.security(|security| security.apparmor = profile(kind, of));
        let it = pod.run(it).await?;
        let init = profile_in_force(it.pid().await?)?;
        assert_eq!(
            asked(&it, "cat /proc/self/attr/current").await?,
            init,
            "exec in {name}"
        );
        Ok(init)
    };
    let default = profile_of("default", ProfileType::RuntimeDefault, "").await?;
    assert_eq!(default, "cri-containerd.apparmor.d (enforce)");
    let free = profile_of("free", ProfileType::Unconfined, "").await?;
    assert!(free.contains("unconfined"), "{free}");
    // The one that is loaded by now, by its name.
    let local = profile_of("local", ProfileType::Localhost, "cri-containerd.apparmor.d").await?;
    assert_eq!(local, "cri-containerd.apparmor.d (enforce)");
    let missing = node.sleeper("missing");
    let missing = missing.security(|security| {
        security.apparmor = profile(ProfileType::Localhost, "no-such-profile");
    });
    let error = pod
        .run(missing)
        .await
        .err()
        .context("there is no such profile")?;
    assert!(
        format!("{error:#}").contains("no-such-profile"),
        "{error:#}"
    );
    pod.remove().await
}

async fn a_device_of_the_node_is_there_and_no_other_may_be_used(node: &Node) -> Result<()> {
    let (major, minor) = NO_DEVICE;
    let host = node.dir()?.join("device");
    mknod(
        &host,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(major, minor),
    )?;
    let pod = node.pod("devices").await?;
    let with = node.sleeper("with").device(&host, "/dev/own", "r");
    let with = pod.run(with.device(&host, "/data/blk", "r")).await?;
    assert_eq!(
        asked(&with, "stat -c '%F %t %T' /dev/own").await?,
        "character special file 1 c"
    );
    // As a volume of blocks is given.
    assert_eq!(
        asked(&with, "stat -c '%F %t %T' /data/blk").await?,
        "character special file 1 c"
    );
    let said = asked(&with, "cat /data/blk").await?;
    assert!(said.contains("No such device"), "{said}");
    let said = asked(&with, "cat /dev/own").await?;
    assert!(said.contains("No such device"), "{said}");
    let said = asked(&with, "echo > /dev/own").await?;
    assert!(said.contains("Operation not permitted"), "{said}");
    let without = pod.run(node.sleeper("without")).await?;
    let said = asked(
        &without,
        &format!("mknod /data/own c {major} {minor} && cat /data/own"),
    )
    .await?;
    assert!(said.contains("Operation not permitted"), "{said}");
    assert_eq!(asked(&without, "head -c 3 /dev/zero | wc -c").await?, "3");
    pod.remove().await
}

async fn sysctls_of_a_pod_hold_for_its_containers(node: &Node) -> Result<()> {
    let sysctls = [
        ("net.ipv4.ip_unprivileged_port_start", "79"),
        ("kernel.shm_rmid_forced", "1"),
    ];
    let options = PodOptions {
        sysctls: sysctls
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        ..Default::default()
    };
    let pod = node.pod_with("sysctls", options).await?;
    let it = pod.run(node.sleeper("it")).await?;
    for (key, value) in sysctls {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        assert_eq!(asked(&it, &format!("cat {path}")).await?, value, "{key}");
    }
    pod.remove().await
}

async fn a_privileged_container_may_what_the_node_may(node: &Node) -> Result<()> {
    let options = PodOptions {
        privileged: true,
        ..Default::default()
    };
    let pod = node.pod_with("privileged", options).await?;
    let it = node
        .sleeper("it")
        .security(|security| security.privileged = true);
    let it = pod.run(it).await?;
    let pid = it.pid().await?;
    let all = capabilities(u32::try_from(node.containerd().pid())?, "CapEff")?;
    assert_eq!(capabilities(pid, "CapEff")?, all);
    assert_eq!(proc::field(pid, "Seccomp")?, "0");
    // Mounts, devices of the node, and procfs and sysfs to write to.
    assert_eq!(
        asked(
            &it,
            "mkdir /data/m && mount -t tmpfs x /data/m && umount /data/m"
        )
        .await?,
        ""
    );
    let devices = "mknod /data/own c 1 12; cat /data/own";
    let said = asked(&it, devices).await?;
    assert!(said.contains("No such device"), "{said}");
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs")] {
        // The mount's own: that of the pod's first container may have made the file system read-only.
        let options = format!("grep ' {path} .* - {kind} ' /proc/self/mountinfo | cut -d ' ' -f 6");
        let options = asked(&it, &options).await?;
        assert!(options.starts_with("rw"), "{path}: {options}");
    }
    let of_the_node = std::fs::read_dir("/dev")?.flatten().filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| kind.is_block_device() || kind.is_char_device())
    });
    let paths = of_the_node.map(|entry| entry.path().display().to_string());
    // Those two are made for the container itself: its own terminals.
    let paths = paths.filter(|path| !["/dev/console", "/dev/ptmx"].contains(&path.as_str()));
    let all = paths.collect::<Vec<_>>().join(" ");
    let missing = format!("for device in {all}; do test -e $device || echo $device; done");
    assert_eq!(asked(&it, &missing).await?, "");
    pod.remove().await
}

async fn a_privileged_guest_runs(node: &Node) -> Result<()> {
    let options = PodOptions {
        privileged: true,
        sysctls: HashMap::from([("net.ipv4.ip_unprivileged_port_start".into(), "79".into())]),
        ..PodOptions::namespaces(|of| of.set_pid(NamespaceMode::Node))
    };
    let pod = node.pod_with("privileged-guest", options).await?;
    let it = node
        .guest("it", &["/hello.wasm"])
        .security(|security| security.privileged = true);
    let it = pod.run(it).await?;
    it.ends_with(0).await?;
    it.expect_stdout("hello\n").await?;
    // And sees no more than any other.
    let it = node.guest("look", &["/files.wasm", "list", "/proc"]);
    let it = pod
        .run(it.security(|security| security.privileged = true))
        .await?;
    it.ends_with(1).await?;
    pod.remove().await
}

features! {
    linux:
        a_container_runs_as_its_user_and_groups,
        a_container_runs_as_the_user_of_a_name_in_its_image,
        a_device_of_the_node_is_there_and_no_other_may_be_used,
        a_privileged_container_may_what_the_node_may,
        a_seccomp_profile_of_the_nodes_own_is_in_force,
        apparmor_profiles_are_in_force,
        capabilities_are_added_and_dropped,
        masked_paths_are_empty_and_read_only_ones_are_read_only,
        no_new_privileges_are_gained_where_the_pod_says_so,
        sysctls_of_a_pod_hold_for_its_containers,
        the_default_seccomp_profile_stops_what_is_not_needed;
    wasm:
        a_guest_reads_what_its_supplemental_groups_may,
        a_guest_runs_under_the_seccomp_profiles_of_pods,
        a_guest_and_one_beside_it_run_under_apparmor_profiles,
        a_privileged_guest_runs,
}
