//! What a container's process may do, as the kernel has it.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// containerd's fourteen, as bits.
const FOURTEEN: &str = "00000000a80425fb";

const UID: u32 = 1000;
const GID: u32 = 2000;

/// Runs the guest `sleep` with a changed spec and looks at its process.
async fn asleep(
    change: impl FnOnce(Spec) -> Spec,
    look: impl AsyncFnOnce(u32) -> Result<()>,
) -> Result<()> {
    let image = images::wasm("sleep", &guests::module("sleep")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = change(client.spec(&image, "it"));
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    look(task.pid).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// A user with two more groups.
fn somebody(spec: Spec) -> Spec {
    spec.edit(|json| {
        json["process"]["user"] =
            serde_json::json!({"uid": UID, "gid": GID, "additionalGids": [GID, 3000]});
    })
}

/// Runs a guest `files` with the arguments, with a dir of the host at /vol, and says
/// how it ended; `prepare` gets the dir before, and `check` after.
async fn files(
    args: &[&str],
    change: impl FnOnce(Spec) -> Spec,
    prepare: impl FnOnce(&Path) -> Result<()>,
    check: impl FnOnce(&Path, Finished) -> Result<()>,
) -> Result<()> {
    let image = images::wasm("files", &guests::module("files")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    prepare(&volume)?;
    let args = ["/files.wasm"].into_iter().chain(args.iter().copied());
    let spec = client
        .spec(&image, "it")
        .args(args)
        .bind(&volume, "/vol", false);
    let done = client.run("it", &image, change(spec)).await?;
    check(&volume, done)?;
    containerd.close().await
}

#[tokio::test]
async fn a_wasm_process_has_a_filter_and_gains_no_privileges() -> Result<()> {
    let unwise = |spec: Spec| spec.edit(|json| json["process"]["noNewPrivileges"] = false.into());
    asleep(unwise, async |pid| {
        assert_eq!(proc::field(pid, "Seccomp")?, "2");
        assert_eq!(proc::field(pid, "NoNewPrivs")?, "1");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wasm_process_has_the_capabilities_of_its_spec() -> Result<()> {
    asleep(
        |spec| spec,
        async |pid| {
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(proc::field(pid, set)?, FOURTEEN, "{set}");
            }
            for set in ["CapInh", "CapAmb"] {
                assert_eq!(proc::field(pid, set)?, "0000000000000000", "{set}");
            }
            Ok(())
        },
    )
    .await
}

/// A Linux program of a user loses them when it is executed, and so its container has none.
/// As a Linux one has none.
#[tokio::test]
async fn a_wasm_process_of_a_user_has_no_capabilities() -> Result<()> {
    asleep(somebody, async |pid| {
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(proc::field(pid, set)?, "0000000000000000", "{set}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_guest_of_a_user_cannot_read_what_is_roots() -> Result<()> {
    let secret = |volume: &Path| {
        let path = volume.join("secret");
        std::fs::write(&path, "secret\n")?;
        Ok(std::fs::set_permissions(
            &path,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )?)
    };
    files(&["read", "/vol/secret"], somebody, secret, |_, done| {
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wasm_process_runs_as_the_user_and_the_groups_of_its_spec() -> Result<()> {
    asleep(somebody, async |pid| {
        let ids = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
        assert_eq!(proc::field(pid, "Uid")?, ids(UID));
        assert_eq!(proc::field(pid, "Gid")?, ids(GID));
        assert_eq!(proc::field(pid, "Groups")?, format!("{GID} 3000"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wasm_process_is_not_dumpable() -> Result<()> {
    asleep(somebody, async |pid| {
        for file in ["environ", "maps", "mem", "exe"] {
            let path = format!("/proc/{pid}/{file}");
            assert_eq!(std::fs::symlink_metadata(&path)?.uid(), 0, "{file}");
        }
        let mut same_user = std::process::Command::new("/bin/busybox");
        same_user
            .args(["cat", &format!("/proc/{pid}/maps")])
            .uid(UID)
            .gid(GID);
        let done = same_user.output()?;
        assert!(!done.status.success() && done.stdout.is_empty(), "{done:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wasm_process_has_no_procfs_and_no_sysfs() -> Result<()> {
    asleep(
        |spec| spec,
        async |pid| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
            assert!(!table.is_empty());
            for kind in ["proc", "sysfs", "cgroup", "cgroup2"] {
                assert!(
                    !table.contains(&format!(" - {kind} ")),
                    "{kind} in:\n{table}"
                );
            }
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn the_shims_binary_cannot_be_written_by_way_of_a_wasm_process() -> Result<()> {
    asleep(
        |spec| spec,
        async |pid| {
            let exe = format!("/proc/{pid}/exe");
            let error = std::fs::File::options()
                .write(true)
                .open(&exe)
                .expect_err("writable");
            let known = [nix::libc::EROFS, nix::libc::ETXTBSY].map(Some);
            assert!(known.contains(&error.raw_os_error()), "{error}");
            // Even when it runs no more, as this is told by the mount and not by the file.
            let flags = nix::sys::statvfs::statvfs(exe.as_str())?.flags();
            assert!(
                flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
                "{flags:?}"
            );
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn a_file_that_a_guest_makes_belongs_to_its_user() -> Result<()> {
    files(
        &["write", "/vol/x", "text"],
        somebody,
        |_| Ok(()),
        |volume, done| {
            assert_eq!((done.code, done.stderr.as_str()), (0, ""));
            let made = std::fs::metadata(volume.join("x"))?;
            assert_eq!((made.uid(), made.gid()), (UID, GID));
            Ok(())
        },
    )
    .await
}

/// It sees no `/proc` all the same.
#[tokio::test]
async fn sysctls_of_a_wasm_container_are_set() -> Result<()> {
    let sysctl = |spec: Spec| {
        spec.edit(|json| {
            json["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] = "80".into();
        })
    };
    asleep(sysctl, async |pid| {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net"));
        command.args(["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
        let done = command.output()?;
        assert_eq!(String::from_utf8_lossy(&done.stdout), "80\n", "{done:?}");
        Ok(())
    })
    .await?;
    for args in [
        ["read", "/proc/self/status"],
        ["list", "/proc"],
        ["read", "/proc/1/environ"],
    ] {
        files(
            &args,
            sysctl,
            |_| Ok(()),
            |_, done| {
                let names: Vec<_> = done
                    .stdout
                    .lines()
                    .filter(|name| !name.starts_with('.'))
                    .collect();
                assert!(names.is_empty(), "{args:?}: {done:?}");
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}

async fn entrypoint_on_a_mount(
    runtime: Runtime,
    file: (&str, Vec<u8>),
    args: &[&str],
) -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let path = volume.join(file.0);
    std::fs::write(&path, file.1)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let spec = client
        .spec(&image, "it")
        .args(args.iter().copied())
        .bind(&volume, "/app", true);
    let done = client.run("it", &image, spec).await?;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "hello\n"),
        "{done:?}"
    );
    containerd.close().await
}

#[tokio::test]
async fn a_wasm_entrypoint_may_lie_on_a_mount() -> Result<()> {
    let file = ("hello.wasm", guests::module("hello")?);
    entrypoint_on_a_mount(Runtime::Medley, file, &["/app/hello.wasm"]).await
}

each_runtime! {
    async fn a_linux_entrypoint_may_lie_on_a_mount(runtime: Runtime) -> Result<()> {
        let file = ("echo", std::fs::read("/bin/busybox")?);
        entrypoint_on_a_mount(runtime, file, &["/app/echo", "hello"]).await
    }

    async fn a_linux_container_obeys_the_filter_of_its_spec(runtime: Runtime) -> Result<()> {
        let script = "grep Seccomp: /proc/self/status; mkdir /data/x || touch /data/y && ls /data";
        let done = Scenario::linux(runtime, script)
            .edit(|json| {
                json["linux"]["seccomp"] = serde_json::json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [
                        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                    ],
                });
            })
            .finished().await?;
        assert_eq!(done.stdout, "Seccomp:\t2\ny\n", "{done:?}");
        // ENOSPC, which no kernel would answer here by itself.
        assert!(done.stderr.contains("No space left"), "{done:?}");
        Ok(())
    }

    async fn a_linux_container_of_a_user_may_open_its_stdout_again(runtime: Runtime) -> Result<()> {
        let script = "echo a > /dev/stdout && echo b > /proc/self/fd/1 && echo c > /dev/stderr";
        let done = Scenario::linux(runtime, script)
            .spec(|spec| spec.user(UID, GID))
            .finished().await?;
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "a\nb\n", "c\n"));
        Ok(())
    }
}
