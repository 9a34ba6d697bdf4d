//! What a program finds around it: arguments, environment, dirs, and its limits.

use medley_test::*;

/// Runs a shell script in a Linux container whose spec was changed, and returns its output.
async fn shell(
    runtime: Runtime,
    script: &str,
    change: impl FnOnce(Spec) -> Spec,
) -> Result<String> {
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = change(client.spec(&image, "it").args(["/bin/sh", "-c", script]));
    let done = client.run("it", &image, spec).await?;
    assert_eq!(done.code, 0, "{done:?}");
    containerd.close().await?;
    Ok(done.stdout)
}

/// Runs a guest whose spec was changed by a function that knows the containerd's dir.
async fn guest(
    name: &str,
    wasm: Vec<u8>,
    change: impl FnOnce(Spec, &std::path::Path) -> Spec,
) -> Result<Finished> {
    let image = ImageBuilder::scratch(name)
        .file(&format!("/{name}.wasm"), wasm, 0o644)
        .dir("/data", 0o777)
        .file("/data/note", "a note\n", 0o644)
        .env("COLOUR=blue")
        .entrypoint([format!("/{name}.wasm")])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    std::fs::write(volume.join("from-the-host"), "host\n")?;
    let done = client
        .run("it", &image, change(client.spec(&image, "it"), &volume))
        .await?;
    containerd.close().await?;
    Ok(done)
}

each_runtime! {
    async fn a_linux_container_gets_its_arguments(runtime: Runtime) -> Result<()> {
        let change = |spec: Spec| spec.args(["/bin/echo", "a b", "", "ü"]);
        assert_eq!(shell(runtime, "", change).await?, "a b  ü\n");
        Ok(())
    }

    async fn a_linux_container_gets_its_environment_and_no_other(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "env | cut -d= -f1 | sort", |spec| spec.env("COLOUR=blue")).await?;
        let names: Vec<_> = text.lines().collect();
        let known = ["COLOUR", "HOME", "PATH", "PWD", "SHLVL", "_", "OLDPWD"];
        assert!(names.contains(&"COLOUR"), "{names:?}");
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        Ok(())
    }

    async fn a_linux_container_starts_in_its_dir(runtime: Runtime) -> Result<()> {
        assert_eq!(shell(runtime, "pwd", |spec| spec.cwd("/data")).await?, "/data\n");
        Ok(())
    }

    async fn a_dir_to_start_in_that_is_not_there_is_made(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "pwd; stat -c %a .", |spec| spec.cwd("/made/for/it").user(1000, 1000));
        assert_eq!(text.await?, "/made/for/it\n755\n");
        Ok(())
    }

    async fn a_linux_container_runs_as_its_user(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "id -u; id -g", |spec| spec.user(1000, 2000)).await?;
        assert_eq!(text, "1000\n2000\n");
        Ok(())
    }

    async fn a_linux_container_has_the_capabilities_of_its_spec(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "grep Cap /proc/self/status", |spec| spec).await?;
        // containerd's fourteen, as bits.
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert!(text.contains(&format!("{set}:\t00000000a80425fb")), "{text}");
        }
        assert!(text.contains("CapInh:\t0000000000000000"), "{text}");
        assert!(text.contains("CapAmb:\t0000000000000000"), "{text}");
        Ok(())
    }

    async fn a_linux_container_cannot_gain_privileges(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "grep NoNewPrivs /proc/self/status", |spec| spec).await?;
        assert_eq!(text, "NoNewPrivs:\t1\n");
        Ok(())
    }

    async fn a_linux_container_has_the_limits_of_its_spec(runtime: Runtime) -> Result<()> {
        assert_eq!(shell(runtime, "ulimit -n", |spec| spec).await?, "1024\n");
        Ok(())
    }

    async fn a_linux_container_is_pid_1_and_sees_no_other_process(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "echo $$; ls -d /proc/[0-9]* | wc -l", |spec| spec).await?;
        let lines: Vec<u32> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        assert!(matches!(lines[..], [1, count] if count <= 4), "{text}");
        Ok(())
    }

    async fn masked_paths_are_empty_and_readonly_paths_are_read_only(runtime: Runtime) -> Result<()> {
        let script = "wc -c < /proc/timer_list; ls /sys/firmware | wc -l; \
            echo 1 2>/dev/null > /proc/sys/kernel/hostname || echo refused; \
            touch /sys/x 2>/dev/null || echo refused";
        assert_eq!(shell(runtime, script, |spec| spec).await?, "0\n0\nrefused\nrefused\n");
        Ok(())
    }

    async fn a_read_only_rootfs_is_read_only(runtime: Runtime) -> Result<()> {
        let script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo fine";
        let text = shell(runtime, script, |spec| {
            spec.edit(|json| json["root"]["readonly"] = true.into())
        });
        assert_eq!(text.await?, "refused\nfine\n");
        Ok(())
    }

    async fn a_mount_is_recursively_read_only_if_its_spec_says_so(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let volume = containerd.dir().join("volume");
        let below = volume.join("below");
        std::fs::create_dir_all(&below)?;
        let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
        nix::mount::mount(tmpfs, &below, tmpfs, nix::mount::MsFlags::empty(), none)?;
        let touch = "for path in /ro /ro/below /rro /rro/below; do \
            touch $path/x 2>/dev/null && echo $path; done; true";
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", touch]).edit(|json| {
            for kind in ["ro", "rro"] {
                let mount = serde_json::json!({
                    "destination": format!("/{kind}"), "type": "bind", "source": &volume,
                    "options": ["rbind", "rprivate", kind],
                });
                json["mounts"].as_array_mut().into_iter().for_each(|all| all.push(mount.clone()));
            }
        });
        let done = client.run("it", &image, spec).await;
        nix::mount::umount(&below)?;
        assert_eq!(done?.stdout, "/ro/below\n");
        containerd.close().await
    }

    async fn a_linux_container_has_the_hostname_of_its_spec(runtime: Runtime) -> Result<()> {
        let change = |spec: Spec| spec.edit(|json| json["hostname"] = "medley-host".into());
        assert_eq!(shell(runtime, "hostname", change).await?, "medley-host\n");
        Ok(())
    }

    async fn a_linux_container_has_the_sysctls_of_its_spec(runtime: Runtime) -> Result<()> {
        let text = shell(runtime, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", |spec| {
            spec.edit(|json| {
                json["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] = "80".into();
            })
        });
        assert_eq!(text.await?, "80\n");
        Ok(())
    }

    async fn a_linux_container_inherits_no_descriptor(runtime: Runtime) -> Result<()> {
        // 0, 1, 2, and the one with which `ls` reads the dir.
        let text = shell(runtime, "ls /proc/self/fd | wc -l", |spec| spec).await?;
        assert_eq!(text.trim(), "4");
        Ok(())
    }

    async fn a_linux_container_is_in_the_cgroup_of_its_spec(runtime: Runtime) -> Result<()> {
        let limit = 64 * 1024 * 1024;
        Scenario::of(runtime, images::linux())
            .args(["/bin/sleep", "3600"])
            .edit(|json| {
                json["linux"]["resources"]["memory"] = serde_json::json!({"limit": limit});
            })
            .run(async |task| {
                let dirs = task.containerd.leftovers().cgroups();
                let files = ["memory.limit_in_bytes", "memory.max"];
                let mut limits = dirs.iter().flat_map(|dir| files.map(|file| dir.join(file)));
                let found = limits.find_map(|path| std::fs::read_to_string(path).ok());
                assert_eq!(found.as_deref().map(str::trim), Some("67108864"), "{dirs:?}");
                let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", task.pid))?;
                assert!(cgroup.contains(&format!("/{}/it", task.client.namespace())), "{cgroup}");
                Ok(())
            })
            .await
    }
}

#[tokio::test]
async fn a_guest_gets_its_arguments() -> Result<()> {
    for wasm in [guests::module("hello")?, guests::component("hello")?] {
        let args = ["/hello.wasm", "a b", "", "ü"];
        let done = guest("hello", wasm, |spec, _| spec.args(args)).await?;
        assert_eq!(done.stdout, "hello\narg a b\narg \narg ü\n");
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_gets_its_environment_and_no_other() -> Result<()> {
    for wasm in [guests::module("env")?, guests::component("env")?] {
        let done = guest("env", wasm, |spec, _| spec.env("EMPTY=")).await?;
        let names = done
            .stdout
            .lines()
            .filter_map(|line| line.split('=').next());
        assert!(done.stdout.contains("COLOUR=blue\n"), "{}", done.stdout);
        assert!(done.stdout.contains("EMPTY=\n"), "{}", done.stdout);
        for name in names {
            assert!(
                ["COLOUR", "EMPTY", "PATH", "HOME", "PWD"].contains(&name),
                "{}",
                done.stdout
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_reads_its_rootfs() -> Result<()> {
    for wasm in [guests::module("files")?, guests::component("files")?] {
        let args = ["/files.wasm", "read", "/data/note"];
        let done = guest("files", wasm, |spec, _| spec.args(args)).await?;
        assert_eq!(done.stdout, "a note\n", "{done:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_modules_relative_path_begins_in_its_dir() -> Result<()> {
    relative_path(guests::module("files")?).await
}

#[tokio::test]
async fn a_components_relative_path_begins_in_its_dir() -> Result<()> {
    relative_path(guests::component("files")?).await
}

#[tokio::test]
async fn a_dir_for_a_guest_to_start_in_that_is_not_there_is_made() -> Result<()> {
    for wasm in [guests::module("files")?, guests::component("files")?] {
        let args = ["/files.wasm", "write", "note", "text"];
        let done = guest("files", wasm, |spec, _| spec.args(args).cwd("/made/for/it")).await?;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    }
    Ok(())
}

/// wasi-libc looks such a path up in a preopen called `.`.
async fn relative_path(wasm: Vec<u8>) -> Result<()> {
    let args = ["/files.wasm", "read", "note"];
    let done = guest("files", wasm, |spec, _| spec.args(args).cwd("/data")).await?;
    assert_eq!(done.stdout, "a note\n", "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_guest_reads_and_writes_a_mount() -> Result<()> {
    for wasm in [guests::module("files")?, guests::component("files")?] {
        let args = ["/files.wasm", "read", "/volume/from-the-host"];
        let read =
            |spec: Spec, volume: &std::path::Path| spec.args(args).bind(volume, "/volume", false);
        let done = guest("files", wasm.clone(), read).await?;
        assert_eq!(done.stdout, "host\n", "{done:?}");
        let args = ["/files.wasm", "write", "/volume/x", "text"];
        let write =
            |spec: Spec, volume: &std::path::Path| spec.args(args).bind(volume, "/volume", false);
        let done = guest("files", wasm, write).await?;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_cannot_write_a_read_only_mount() -> Result<()> {
    let args = ["/files.wasm", "write", "/volume/x", "text"];
    let done = guest("files", guests::module("files")?, |spec, volume| {
        spec.args(args).bind(volume, "/volume", true)
    });
    let done = done.await?;
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("/volume/x"), "{}", done.stderr);
    Ok(())
}

#[tokio::test]
async fn a_guest_sees_no_proc_and_no_sys() -> Result<()> {
    for path in ["/proc/self/status", "/proc/1/environ", "/sys/kernel/notes"] {
        let args = ["/files.wasm", "read", path];
        let done = guest("files", guests::module("files")?, |spec, _| spec.args(args)).await?;
        assert_ne!(done.code, 0, "{path} can be read: {done:?}");
    }
    Ok(())
}

/// No procfs, no sysfs, and no program of the host: neither the shim's nor an engine's.
#[tokio::test]
async fn a_guest_finds_its_image_and_its_mounts_and_nothing_else() -> Result<()> {
    for wasm in [guests::module("files")?, guests::component("files")?] {
        let args = ["/files.wasm", "list", "/"];
        let list =
            |spec: Spec, volume: &std::path::Path| spec.args(args).bind(volume, "/volume", false);
        let done = guest("files", wasm, list).await?;
        let mut names: Vec<_> = done.stdout.lines().collect();
        names.retain(|name| !matches!(*name, "." | ".."));
        names.sort_unstable();
        let mounts = ["data", "dev", "files.wasm", "run", "volume"];
        assert_eq!(names, mounts, "{done:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_cannot_climb_out_of_its_rootfs() -> Result<()> {
    let args = ["/files.wasm", "read", "/../../../../etc/hostname"];
    let done = guest("files", guests::module("files")?, |spec, _| spec.args(args)).await?;
    assert_ne!(done.code, 0, "{done:?}");
    Ok(())
}
