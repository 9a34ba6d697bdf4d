//! What a container's process is given, at create and at exec.

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;

/// Prints a process's capabilities.
const CAPABILITIES: [&str; 3] = ["grep", "^Cap", "/proc/self/status"];

/// What [`CAPABILITIES`] prints of a process with these in its three sets and no others.
fn sets(three: &str) -> String {
    let none = "0000000000000000";
    format!(
        "CapInh:\t{none}\nCapPrm:\t{three}\nCapEff:\t{three}\nCapBnd:\t{three}\nCapAmb:\t{none}\n"
    )
}

/// The umask that hardened nodes have, and that containers must not have.
const STRICT: [&str; 4] = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];

/// The first of the node's ids that [`in_user_namespace`] gives.
const FIRST_ID: u32 = 100_000;

/// Gives a container a user namespace.
fn in_user_namespace(json: &mut serde_json::Value) {
    let ids = json!([{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]);
    json["linux"]["uidMappings"] = ids.clone();
    json["linux"]["gidMappings"] = ids;
    if let Some(namespaces) = json["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": "user"}));
    }
}

/// Runs a program of the Linux image, with a changed spec, under a containerd with `options`.
async fn linux(options: Options, args: &[&str], change: fn(Spec) -> Spec) -> Result<Finished> {
    let (containerd, client, image) = Containerd::with_image(options, images::linux()?).await?;
    let args = args.iter().copied();
    let spec = change(client.spec(&image, "it").args(args));
    let done = client.run("it", &image, spec).await?;
    containerd.close().await?;
    Ok(done)
}

/// Runs `check` on a container of the Linux image that sleeps, with a changed spec.
async fn beside_a_sleeper<F>(
    options: Options,
    change: fn(Spec) -> Spec,
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let (containerd, client, image) = Containerd::with_image(options, images::linux()?).await?;
    let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
    let container = client.create("it", &image, change(spec)).await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// Why a container of the Linux image is not made.
async fn refusal(runtime: Runtime, change: fn(Spec) -> Spec) -> Result<String> {
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = client.spec(&image, "it").args(["/bin/true"]);
    let status = client.refused("it", &image, change(spec)).await?;
    containerd.expect_clean()?;
    containerd.close().await?;
    Ok(status.message().to_owned())
}

/// The serial number of the keyring that `/proc/keys` shows by this name.
fn serial(keys: &str, name: &str) -> Option<String> {
    let line = keys
        .lines()
        .find(|line| line.contains(&format!(" {name}:")))?;
    line.split_ascii_whitespace().next().map(str::to_owned)
}

each_runtime! {
    async fn capabilities_that_a_spec_does_not_give_are_none(runtime: Runtime) -> Result<()> {
        let bare = |spec: Spec| spec.edit(|json| {
            json["process"].as_object_mut().and_then(|process| process.remove("capabilities"));
        });
        let done = linux(Options::new(runtime), &CAPABILITIES, bare).await?;
        assert_eq!(done.stdout, sets("0000000000000000"), "{done:?}");
        // A set alone: the others are empty.
        let bounded = |spec: Spec| spec.edit(|json| {
            json["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"]});
        });
        let done = linux(Options::new(runtime), &CAPABILITIES, bounded).await?;
        let bounded = sets("0000000000000000").replace("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000020");
        assert_eq!(done.stdout, bounded, "{done:?}");
        Ok(())
    }

    async fn each_set_of_capabilities_is_as_its_spec_has_it(runtime: Runtime) -> Result<()> {
        let sets = || json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        });
        let ambient = "0000000000000400";
        // What a program of root's has in force, of root's that gains nothing, and of a user's.
        let (roots, kept, users) = ("0000000000000421", "0000000000000420", ambient);
        // A filter is loaded before capabilities are given up, and with noNewPrivileges after that, so that
        // it need not let them be.
        let cases = [
            (0, roots, false, None),
            (1000, users, true, None),
            (1000, users, false, Some("chroot")),
            (0, kept, true, Some("capset")),
        ];
        for (user, executed, gains_none, refused) in cases {
            let expected = format!(
                "CapInh:\t0000000000000420\nCapPrm:\t{executed}\nCapEff:\t{executed}\n\
                 CapBnd:\t0000000000000421\nCapAmb:\t{ambient}\n"
            );
            let change = |process: &mut serde_json::Value| {
                process["user"] = json!({"uid": user, "gid": user});
                process["capabilities"] = sets();
                process["noNewPrivileges"] = gains_none.into();
            };
            Scenario::of(runtime, images::linux())
                .args(["sh", "-c", "grep ^Cap /proc/self/status; echo end; exec sleep 3600"])
                .edit(|json| {
                    change(&mut json["process"]);
                    if let Some(name) = refused {
                        let refused = json!([{"names": [name], "action": "SCMP_ACT_ERRNO"}]);
                        json["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": refused});
                    }
                })
                .run(async |task| {
                    let said = task.until("end\n").await?;
                    assert_eq!(said.strip_suffix("end\n"), Some(expected.as_str()), "{refused:?}");
                    let mut exec = process(&CAPABILITIES);
                    change(&mut exec);
                    let (_, stdout, stderr) = task.run_exec("e", exec).await?;
                    assert_eq!(stdout, expected, "{refused:?}: {stderr}");
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    async fn a_network_namespace_of_its_own_has_loopback_up(runtime: Runtime) -> Result<()> {
        let args = ["sh", "-c", "nc -l -p 7 -e echo heard & until nc 127.0.0.1 7; do usleep 9000; done"];
        let done = linux(Options::new(runtime), &args, |spec| spec).await?;
        assert_eq!((done.code, done.stdout.as_str()), (0, "heard\n"), "{done:?}");
        Ok(())
    }

    async fn capabilities_that_containerd_passes_on_are_kept_out(runtime: Runtime) -> Result<()> {
        let options = Options::new(runtime).run_by(&["setpriv", "--inh-caps", "+chown"]);
        let done = linux(options, &CAPABILITIES, |spec| spec).await?;
        assert_eq!(done.stdout, sets("00000000a80425fb"), "{done:?}");
        Ok(())
    }

    async fn unknown_capabilities_are_passed_over(runtime: Runtime) -> Result<()> {
        let capabilities = || {
            let names = json!(["CAP_KILL", "CAP_NEWER_THAN_WE", "cap_chown", "CHOWN"]);
            json!({"bounding": names, "effective": names, "permitted": names})
        };
        Scenario::of(runtime, images::linux())
            .args(["/bin/sleep", "3600"])
            .edit(|json| json["process"]["capabilities"] = capabilities())
            .run(async |task| {
                assert_eq!(proc::field(task.pid, "CapEff")?, "0000000000000020");
                let mut exec = process(&CAPABILITIES);
                exec["capabilities"] = capabilities();
                let (_, stdout, stderr) = task.run_exec("e", exec).await?;
                assert_eq!(stdout, sets("0000000000000020"), "{stderr}");
                if runtime == Runtime::Medley {
                    let log = task.containerd.log();
                    assert!(log.contains("CAP_NEWER_THAN_WE, cap_chown, CHOWN"), "{log}");
                }
                Ok(())
            })
            .await
    }

    async fn other_unknown_words_are_refused(runtime: Runtime) -> Result<()> {
        let text = refusal(runtime, |spec| spec.edit(|json| {
            json["process"]["rlimits"] = json!([{"type": "RLIMIT_NEWER", "soft": 1, "hard": 1}]);
        })).await?;
        assert!(text.contains("RLIMIT_NEWER"), "{text}");
        let text = refusal(runtime, |spec| spec.edit(|json| {
            json["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NEWER"});
        })).await?;
        assert!(text.contains("SCMP_ACT_NEWER"), "{text}");
        let text = refusal(runtime, |spec| spec.edit(|json| {
            json["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "newer"}]);
        })).await?;
        assert!(text.contains("newer"), "{text}");
        Ok(())
    }

    async fn an_exec_has_what_its_container_has(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(Options::new(runtime), |spec| spec, async |task: Task| {
            let mut bare = process(&CAPABILITIES);
            bare.as_object_mut().and_then(|process| process.remove("capabilities"));
            let (_, stdout, stderr) = task.run_exec("e", bare).await?;
            assert_eq!(stdout, sets("00000000a80425fb"), "{stderr}");
            Ok(task)
        }).await
    }

    async fn a_selinux_label_is_refused_where_there_is_none(runtime: Runtime) -> Result<()> {
        if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
            return Ok(());
        }
        let text = refusal(runtime, |spec| spec.edit(|json| {
            json["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
        })).await?;
        assert!(text.to_lowercase().contains("selinux"), "{text}");
        refusal(runtime, |spec| spec.edit(|json| {
            json["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
        })).await?;
        beside_a_sleeper(Options::new(runtime), |spec| spec, async |task: Task| {
            let mut labelled = process(&["true"]);
            labelled["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
            let ran = task.run_exec("e", labelled).await;
            assert!(ran.is_err(), "{ran:?}");
            Ok(task)
        }).await
    }

    async fn a_container_has_a_session_keyring_of_its_own(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        // Names are the whole node's.
        let id = format!("keys-{}", containerd.name());
        let shown = |spec: Spec| spec.edit(|json| json["linux"]["maskedPaths"] = json!([]));
        let script = "cat /proc/keys; exec sleep 3600";
        let spec = shown(client.spec(&image, &id).args(["/bin/sh", "-c", script]));
        let container = client.create(&id, &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let name = format!("_ses.{id}");
        let (_, stdout, stderr) = task.run_exec("e", process(&["cat", "/proc/keys"])).await?;
        let in_exec = serial(&stdout, &name);
        assert!(in_exec.is_some(), "{stdout}{stderr}");
        assert_eq!(serial(&std::fs::read_to_string("/proc/keys")?, &name), in_exec);
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }

    async fn the_umask_of_containerd_is_not_the_containers(runtime: Runtime) -> Result<()> {
        let options = || Options::new(runtime).run_by(&STRICT);
        let look = ["sh", "-c", "umask; stat -c %a /dev/null /made /made/here"];
        let done = linux(options(), &look, |spec| spec.cwd("/made/here")).await?;
        assert_eq!(done.stdout.lines().next(), Some("0022"), "{done:?}");
        if runtime == Runtime::Medley {
            assert_eq!(done.stdout, "0022\n666\n755\n755\n", "{done:?}");
        }
        let own = |spec: Spec| spec.edit(|json| json["process"]["user"]["umask"] = json!(0o27));
        let done = linux(options(), &["sh", "-c", "umask"], own).await?;
        assert_eq!(done.stdout, "0027\n", "{done:?}");
        Ok(())
    }

    async fn a_user_may_enter_what_root_may_not(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        // The user's, and of a group that the user namespace does not know: its root has no rights
        // there.
        let dir = containerd.dir().join("home");
        std::fs::create_dir(&dir)?;
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        std::os::unix::fs::chown(&dir, Some(FIRST_ID + 1000), Some(0))?;
        let mut image = images::linux_builder("home")?;
        for dir in ["/proc", "/dev", "/sys", "/run", "/home"] {
            image = image.dir(dir, 0o755);
        }
        let image = image.build()?;
        containerd.import(&[&image]).await?;
        let client = containerd.client().await?;
        let spec = client.spec(&image, "it").args(["sh", "-c", "pwd; exec sleep 3600"]);
        let spec = spec.user(1000, 1000).bind(&dir, "/home", false).cwd("/home");
        let container = client.create("it", &image, spec.edit(in_user_namespace)).await?;
        let task = container.start(Stdin::None).await?;
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", task.pid))?;
        assert_eq!(cwd, std::path::Path::new("/home"));
        let mut exec = process(&["pwd"]);
        exec["user"] = json!({"uid": 1000, "gid": 1000});
        exec["cwd"] = json!("/home");
        let (code, stdout, stderr) = task.run_exec("e", exec).await?;
        assert_eq!((code, stdout.as_str()), (0, "/home\n"), "{stderr}");
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn an_exec_has_the_umask_of_its_container() -> Result<()> {
    let options = Options::new(Runtime::Medley).run_by(&STRICT);
    beside_a_sleeper(
        options,
        |spec| spec,
        async |task: Task| {
            let (_, stdout, stderr) = task.run_exec("e", process(&["sh", "-c", "umask"])).await?;
            assert_eq!(stdout, "0022\n", "{stderr}");
            let mut own = process(&["sh", "-c", "umask"]);
            own["user"]["umask"] = json!(0o77);
            let (_, stdout, stderr) = task.run_exec("f", own).await?;
            assert_eq!(stdout, "0077\n", "{stderr}");
            Ok(task)
        },
    )
    .await
}

#[tokio::test]
async fn containers_keep_containerds_keyring_if_an_option_says_so() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::linux()?;
    containerd.import(&[&image]).await?;
    // Field 3 of containerd's message for runtimes other than runc, of the type bytes.
    let toml = b"NoNewKeyring = true";
    let mut options = vec![3 << 3 | 2, u8::try_from(toml.len())?];
    options.extend(toml);
    let client = containerd
        .client()
        .await?
        .with_options("runtimeoptions.v1.Options", options);
    let id = format!("keys-{}", containerd.name());
    let spec = client.spec(&image, &id).args(["cat", "/proc/keys"]);
    let spec = spec.edit(|json| json["linux"]["maskedPaths"] = json!([]));
    let done = client.run(&id, &image, spec).await?;
    assert_eq!(
        serial(&done.stdout, &format!("_ses.{id}")),
        None,
        "{done:?}"
    );
    containerd.close().await
}

/// Runs the guest `sleep` and one beside it, and looks at their processes.
async fn beside_a_guest<F>(
    options: Options,
    change: fn(Spec) -> Spec,
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let image = images::linux_builder("guest")?
        .file("/app.wasm", guests::module("sleep")?, 0o644)
        .entrypoint(["/app.wasm", "3600", "two words"])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(options, image).await?;
    // Its keyring's name is the whole node's.
    let id = format!("guest-{}", containerd.name());
    let spec = change(client.spec(&image, &id));
    let container = client.create(&id, &image, spec).await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn ps_shows_a_guests_own_arguments() -> Result<()> {
    beside_a_guest(
        Options::new(Runtime::Medley),
        |spec| spec,
        async |task: Task| {
            let cmdline = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            assert_eq!(cmdline(task.pid)?, "/app.wasm\x003600\0two words\0");
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", task.pid))?;
            assert_eq!(comm, "app.wasm\n");
            let long = "x".repeat(100_000);
            let exec = task
                .exec("e", process(&["/app.wasm", "3600", &long]), Stdin::None)
                .await?;
            let pid = exec.start().await?;
            assert_eq!(cmdline(pid)?, format!("/app.wasm\x003600\0{long}\0"));
            exec.kill(9).await?;
            assert_eq!(exec.wait().await?, 137);
            exec.delete().await?;
            Ok(task)
        },
    )
    .await
}

#[tokio::test]
async fn a_guests_process_is_given_what_a_linux_one_is() -> Result<()> {
    let bare = |spec: Spec| {
        spec.edit(|json| {
            json["process"]
                .as_object_mut()
                .and_then(|process| process.remove("capabilities"));
        })
    };
    let options = Options::new(Runtime::Medley).run_by(&STRICT);
    beside_a_guest(options, bare, async |task: Task| {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(proc::field(task.pid, set)?, "0000000000000000", "{set}");
        }
        assert_eq!(proc::field(task.pid, "Umask")?, "0022");
        let keys = std::fs::read_to_string("/proc/keys")?;
        assert!(
            serial(&keys, &format!("_ses.{}", task.id)).is_some(),
            "{keys}"
        );
        Ok(task)
    })
    .await
}
