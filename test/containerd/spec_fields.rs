//! What a spec asks for: it is done as with runc, or refused with what would help.

use std::os::unix::fs::PermissionsExt;

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};

/// Runs `check` on a container that sleeps, and whose spec was changed.
async fn beside_a_sleeper<F>(
    runtime: Runtime,
    image: &Image,
    change: impl FnOnce(&mut Value),
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let spec = client
        .spec(image, "it")
        .args(["/bin/sleep", "3600"])
        .edit(change);
    let container = client.create("it", image, spec).await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// What is said of a container whose spec was changed, as Create is refused.
async fn refusal(client: &Client, image: &Image, id: &str, change: &str) -> Result<String> {
    let change: Value = serde_json::from_str(change)?;
    let spec = client.spec(image, id).edit(|json| merge(json, &change));
    let container = client.create(id, image, spec).await?;
    let made = container.task(Stdin::None).await;
    let error = made.map(drop).expect_err(change.to_string().as_str());
    container.delete().await?;
    Ok(format!("{error:#}"))
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// As a namespace with thousands of services has it: 1.5 MiB.
fn services() -> Vec<String> {
    let service = |n: usize| {
        format!(
            "SERVICE_{n:06}_PORT=tcp://10.0.0.1:80/{n:06}-{}",
            "x".repeat(30)
        )
    };
    let mut env: Vec<_> = (0..20_000).map(service).collect();
    env.push("PATH=/bin".to_owned());
    env
}

const MASKED: u64 = 0x0800_0000 | 0x1000_0000;

/// Has a clone with a namespace of IPC and none of users fail with ENOSPC.
fn masked_filter(json: &mut Value) {
    json["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
            "args": [{"index": 0, "value": MASKED, "valueTwo": 0x0800_0000, "op": "SCMP_CMP_MASKED_EQ"}],
        }],
    });
}

fn is_masked(stdout: &str) {
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[..2], ["none 0", "ipc 28"], "{stdout}");
    assert!(
        lines[2].starts_with("user+ipc") && !lines[2].ends_with(" 28"),
        "{stdout}"
    );
}

each_runtime! {
    async fn the_environment_has_the_order_of_its_spec(runtime: Runtime) -> Result<()> {
        let mut env: Vec<_> = (0..20).map(|n| format!("V{}={n}", (n * 7) % 20)).collect();
        env.extend(["PATH=/bin", "TWICE=1", "TWICE=2=3", "EMPTY="].map(str::to_owned));
        let images = [
            ("/root", images::linux()?),
            ("/", images::busybox_builder("bare")?.build()?),
        ];
        let containerd = Containerd::start(runtime).await?;
        containerd.import(&[&images[0].1, &images[1].1]).await?;
        let client = containerd.client().await?;
        for (home, image) in &images {
            let mut wanted = env.clone();
            wanted.retain(|entry| entry != "TWICE=1");
            wanted.push(format!("HOME={home}"));
            let seen = |text: &str| text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
            let spec = client.spec(image, "it").args(["/bin/cat", "/proc/self/environ"]);
            let spec = spec.edit(|json| json["process"]["env"] = json!(env));
            assert_eq!(seen(&client.run("it", image, spec).await?.stdout), wanted);
            let spec = client.spec(image, "two").args(["/bin/sleep", "3600"]);
            let container = client.create("two", image, spec).await?;
            let task = container.start(Stdin::None).await?;
            let mut exec = process(&["/bin/cat", "/proc/self/environ"]);
            exec["env"] = json!(env);
            let (_, stdout, stderr) = task.run_exec("e", exec).await?;
            assert_eq!(seen(&stdout), wanted, "{stderr}");
            task.destroy().await?;
            container.delete().await?;
        }
        containerd.close().await
    }

    async fn a_mask_of_a_filter_is_the_first_of_its_values(runtime: Runtime) -> Result<()> {
        let image = images::linux_builder("linux")?
            .file("/clone", programs::program("clone")?, 0o755)
            .build()?;
        let (containerd, client, image) = Containerd::with_image(runtime, image).await?;
        let spec = client.spec(&image, "it").args(["/clone"]).edit(masked_filter);
        let done = client.run("it", &image, spec).await?;
        is_masked(&done.stdout);
        containerd.close().await?;
        beside_a_sleeper(runtime, &image, masked_filter, async |task: Task| {
            for (id, no_new_privileges) in [("with", true), ("without", false)] {
                let mut exec = process(&["/clone"]);
                exec["noNewPrivileges"] = json!(no_new_privileges);
                let (_, stdout, _) = task.run_exec(id, exec).await?;
                is_masked(&stdout);
            }
            Ok(task)
        }).await
    }

    async fn capabilities_are_inherited_that_a_process_does_not_have(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        let sets = json!({
            "bounding": ["CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        });
        let change = |json: &mut Value| json["process"]["capabilities"] = sets.clone();
        beside_a_sleeper(runtime, &image, change, async |task: Task| {
            let wanted = |text: &str| assert_eq!(text.trim_start_matches('0'), "2020");
            wanted(&proc::field(task.pid, "CapInh")?);
            let mut exec = process(&["sed", "-n", "s/^CapInh:.//p", "/proc/self/status"]);
            exec["capabilities"] = sets.clone();
            let (_, stdout, stderr) = task.run_exec("e", exec).await?;
            assert_eq!(stderr, "");
            wanted(stdout.trim());
            Ok(task)
        }).await
    }

    async fn the_last_limit_of_a_kind_counts(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        let limits = json!([
            {"type": "RLIMIT_CORE", "soft": 100, "hard": 1000},
            {"type": "RLIMIT_CORE", "soft": 200, "hard": 500},
        ]);
        let change = |json: &mut Value| json["process"]["rlimits"] = limits.clone();
        beside_a_sleeper(runtime, &image, change, async |task: Task| {
            let last = |text: &str| {
                let core = text.lines().find(|line| line.starts_with("Max core file size"));
                let words: Vec<_> = core.unwrap_or_default().split_whitespace().collect();
                assert_eq!(words[4..6], ["200", "500"]);
            };
            let mut exec = process(&["cat", "/proc/self/limits"]);
            exec["rlimits"] = limits.clone();
            let (_, stdout, _) = task.run_exec("e", exec).await?;
            last(&stdout);
            last(&std::fs::read_to_string(format!("/proc/{}/limits", task.pid))?);
            Ok(task)
        }).await
    }

    async fn an_environment_of_many_services_fits(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", "env | wc -c"]);
        let done = client.run("it", &image, spec.edit(|json| json["process"]["env"] = json!(services()))).await?;
        let size = |text: &str| text.trim().parse::<usize>().unwrap_or_default();
        assert!(size(&done.stdout) > 1_500_000, "{done:?}");
        containerd.close().await?;
        beside_a_sleeper(runtime, &image, |_| {}, async |task: Task| {
            let mut exec = process(&["sh", "-c", "env | wc -c"]);
            exec["env"] = json!(services());
            let (_, stdout, stderr) = task.run_exec("e", exec).await?;
            assert!(size(&stdout) > 1_500_000, "{stdout} {stderr}");
            Ok(task)
        }).await
    }

    async fn a_hook_that_takes_longer_than_it_may_fails_create(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let hook = r#"{"hooks":{"createRuntime":[{"path":"/bin/sleep","args":["sleep","3600"],"timeout":1}]}}"#;
        let text = refusal(&client, &image, "it", hook).await?;
        assert!(text.contains("timeout") || text.contains("hook"), "{text}");
        containerd.close().await
    }

    async fn an_agent_is_told_of_init_and_exec_by_a_filter(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let path = containerd.dir().join("agent");
        let agent = tokio::net::UnixListener::bind(&path)?;
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]).edit(|json| {
            json["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "told",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            });
        });
        let container = client.create("it", &image, spec).await?;
        let hears = async || {
            let (mut agent, _) = agent.accept().await?;
            let mut told = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut agent, &mut told).await?;
            Ok::<Value, anyhow::Error>(serde_json::from_slice(&told)?)
        };
        let (made, told) = tokio::join!(container.task(Stdin::None), hears());
        let (task, told) = (made?, told?);
        assert_eq!((&told["metadata"], &told["state"]["id"]), (&json!("told"), &json!("it")));
        assert_eq!(told["pid"], task.pid);
        task.start().await?;
        let exec = task.exec("e", process(&["true"]), Stdin::None).await?;
        let (started, told) = tokio::join!(exec.start(), hears());
        let (pid, told) = (started?, told?);
        assert_eq!((&told["state"]["id"], &told["pid"]), (&json!("it"), &json!(pid)));
        assert_eq!(exec.wait().await?, 0);
        exec.delete().await?;
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

/// runc's exec starts, and ends then.
#[tokio::test]
async fn more_than_the_kernel_takes_is_told_in_its_words() -> Result<()> {
    let image = images::linux()?;
    let long = format!("LONG={}", "x".repeat(200 * 1024));
    let is_told = |text: String| {
        assert!(
            text.contains("Argument list too long") && text.contains("128 KiB"),
            "{text}"
        );
    };
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/bin/true"]).env(&long);
    let container = client.create("it", &image, spec).await?;
    let task = container.task(Stdin::None).await?;
    let error = task.start().await.expect_err("one entry is too long");
    is_told(format!("{error:#}"));
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await?;
    beside_a_sleeper(
        Runtime::Medley,
        &image,
        |_| {},
        async |task: Task| {
            let mut exec = process(&["true"]);
            exec["env"] = json!(["PATH=/bin", long]);
            let exec = task.exec("e", exec, Stdin::None).await?;
            let error = exec.start().await.expect_err("one entry is too long");
            is_told(format!("{error:#}"));
            exec.delete().await?;
            Ok(task)
        },
    )
    .await
}

/// runc 1.1 knows of no personality.
#[tokio::test]
async fn an_exec_has_the_personality_of_its_container() -> Result<()> {
    let image = images::linux()?;
    let change = |json: &mut Value| json["linux"]["personality"] = json!({"domain": "LINUX32"});
    beside_a_sleeper(Runtime::Medley, &image, change, async |task: Task| {
        let init = std::fs::read_to_string(format!("/proc/{}/personality", task.pid))?;
        let (_, own, _) = task
            .run_exec("e", process(&["cat", "/proc/self/personality"]))
            .await?;
        assert_eq!((init.trim(), own.trim()), ("00000008", "00000008"));
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_its_place() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    for (number, (change, place)) in [
        (r#"{"process":{"env":["A=1","B"]}}"#, "process.env[1]"),
        (
            r#"{"linux":{"rootfsPropagation":"weird"}}"#,
            "linux.rootfsPropagation",
        ),
        (
            r#"{"linux":{"personality":{"domain":"LINUX","flags":["A"]}}}"#,
            "linux.personality.flags",
        ),
        (
            r#"{"linux":{"intelRdt":{"closID":"a","enableCMT":true}}}"#,
            "linux.intelRdt.enableCMT",
        ),
        (
            r#"{"hooks":{"poststart":[{"path":"true"}]}}"#,
            "hooks.poststart[0].path",
        ),
        (
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}"#,
            "linux.seccomp.listenerPath",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let text = refusal(&client, &image, &format!("it{number}"), change).await?;
        assert!(text.contains(place), "{text}");
    }
    let container = client
        .create(
            "it",
            &image,
            client.spec(&image, "it").args(["/bin/sleep", "3600"]),
        )
        .await?;
    let task = container.start(Stdin::None).await?;
    let mut exec = process(&["true"]);
    exec["env"] = json!(["=x"]);
    let error = task.exec("e", exec, Stdin::None).await.map(drop);
    let text = format!("{:#}", error.expect_err("an entry has no name"));
    assert!(text.contains("process.env[0]"), "{text}");
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_guest_has_an_environment_of_many_services_too() -> Result<()> {
    let mut env = services();
    env.extend(["TWICE=1".to_owned(), "TWICE=2".to_owned()]);
    let done = Scenario::wasm("env", guests::module("env"))
        .edit(|json| json["process"]["env"] = json!(env))
        .finished()
        .await?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let mut lines = done.stdout.lines();
    assert!(done.stdout.len() > 1_500_000 && lines.next() == env.first().map(String::as_str));
    let twice: Vec<_> = lines.filter(|line| line.starts_with("TWICE")).collect();
    assert_eq!(twice, ["TWICE=2"]);
    Ok(())
}

/// A dir on the node that a container of a user namespace finds missing.
#[tokio::test]
async fn a_cwd_is_made_by_the_root_of_its_user_namespace() -> Result<()> {
    let bench = shim::Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    let rootfs = bundle.join("rootfs");
    let owner = Some(100_000);
    std::os::unix::fs::chown(&rootfs, owner, owner)?;
    std::fs::set_permissions(&rootfs, PermissionsExt::from_mode(0o755))?;
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let spec = Spec::of(&image, bench.namespace(), "it")
        .args([
            "/bin/sh",
            "-c",
            "touch /made/here/file && stat -c %u /made/here",
        ])
        .cwd("/made/here")
        .edit(|json| {
            let linux = &mut json["linux"];
            (linux["uidMappings"], linux["gidMappings"]) = (maps.clone(), maps.clone());
            if let Some(all) = linux["namespaces"].as_array_mut() {
                all.push(json!({"type": "user"}));
            }
        });
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let shim = bench.start("it", &bundle).await?;
    let mut stdio = bench.stdio("it", Stdin::None)?;
    shim.create("it", &bundle, &stdio).await?;
    shim.start("it").await?;
    let status = shim.wait("it").await?;
    let (stdout, stderr) = stdio.drain().await?;
    assert_eq!(status, 0, "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(stdout, b"0\n");
    shim.delete("it").await?;
    shim.shutdown("it").await;
    bench.close().await
}
