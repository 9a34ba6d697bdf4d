//! Hooks: when they run, what they are told, and what a failing one does.

use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};
use std::path::Path;

const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// A hook that runs a script of the host.
fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": [PATH]}])
}

/// Adds hooks that note, a line each, their name, the `pid` and the `status` of the state
/// that they are given, and their own mount namespace.
fn noting(spec: Spec, notes: &Path, kinds: &[&str]) -> Spec {
    let notes = notes.display();
    spec.edit(|json| {
        for kind in kinds {
            let of = |key: &str, value: &str| {
                format!(r#"$(echo "$state" | sed -n 's/.*"{key}": *"*\({value}\).*/\1/p')"#)
            };
            let (pid, status) = (of("pid", "[0-9]*"), of("status", "[a-z]*"));
            let script = format!(
                r#"state=$(tr -d '\n'); echo "{kind} {pid} {status} $(readlink /proc/self/ns/mnt)" >> {notes}"#
            );
            json["hooks"][kind] = hook(&script);
        }
    })
}

/// The words of each line that hooks have noted.
fn notes(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

/// Runs a sleeper with a hook of every kind that runs outside of the root, step by step.
async fn all_hooks(runtime: Runtime, image: &Image) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let file = containerd.dir().join("notes");
    let before = ["prestart", "createRuntime", "createContainer"];
    let spec = noting(client.spec(image, "it"), &file, &before);
    let spec = noting(spec, &file, &["poststop"]);
    // runc runs it at Create already, against the OCI runtime spec.
    let after: &[&str] = match runtime {
        Runtime::Medley => &["poststart"],
        Runtime::Runc => &[],
    };
    let spec = noting(spec, &file, after);
    let container = client.create("it", image, spec).await?;
    let mut task = container.task(Stdin::None).await?;
    let pid = task.pid.to_string();

    let seen = notes(&file);
    let kinds: Vec<_> = seen.iter().map(|line| line[0].as_str()).collect();
    assert_eq!(kinds, before, "at Create");
    let own = std::fs::read_link("/proc/self/ns/mnt")?;
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
    for line in &seen[..2] {
        assert_eq!(line[1], pid, "{line:?}");
        assert_eq!(line[2], "creating", "{line:?}");
        assert_eq!(Path::new(&line[3]), own, "{line:?}");
    }
    // This one runs in the container's namespaces.
    assert_eq!(Path::new(&seen[2][3]), theirs, "{:?}", seen[2]);

    task.start().await?;
    let so_far = before.len() + after.len();
    proc::until("poststart has run", || notes(&file).len() == so_far).await?;
    for line in &notes(&file)[before.len()..] {
        assert_eq!(line[..3], ["poststart", &pid, "running"]);
    }

    task.kill(9, true).await?;
    task.wait().await?;
    task.output().await?;
    assert_eq!(notes(&file).len(), so_far, "poststop has run before Delete");
    task.delete().await?;
    proc::until("poststop has run", || notes(&file).len() == so_far + 1).await?;
    let last = notes(&file).pop().unwrap_or_default();
    assert_eq!([&last[0], &last[2]], ["poststop", "stopped"]);
    container.delete().await?;
    containerd.close().await
}

/// Runs a sleeper whose `kind` hook enters the network namespace of the pid on its stdin.
async fn enters_the_network(runtime: Runtime, image: &Image, kind: &str) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let file = containerd.dir().join("notes");
    let script = format!(
        r#"pid=$(tr -d '\n' | sed 's/.*"pid": *\([0-9]*\).*/\1/')
        nsenter --net=/proc/$pid/ns/net sh -c 'ip link add hooked type dummy; \
        readlink /proc/self/ns/net' > {} 2>&1"#,
        file.display()
    );
    let spec = client
        .spec(image, "it")
        .edit(|json| json["hooks"][kind] = hook(&script));
    let container = client.create("it", image, spec).await?;
    let task = container.task(Stdin::None).await?;
    let namespace = std::fs::read_link(format!("/proc/{}/ns/net", task.pid))?;
    assert_ne!(namespace, std::fs::read_link("/proc/self/ns/net")?);
    let noted = std::fs::read_to_string(&file)?;
    assert_eq!(noted.lines().last(), namespace.to_str(), "{noted}");
    task.start().await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// What Create answers when a hook of `kind` fails.
async fn failing(runtime: Runtime, image: &Image, kind: &str) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let bad = containerd.dir().join("bad-hook");
    std::fs::write(&bad, "#!/bin/sh\ncat >/dev/null\nexit 3\n")?;
    std::process::Command::new("chmod")
        .arg("755")
        .arg(&bad)
        .status()?;
    let events = client.events().await?;
    let spec = client.spec(image, "it").edit(|json| {
        json["hooks"][kind] = json!([{"path": bad, "args": ["bad-hook"], "env": [PATH]}]);
    });
    let container = client.create("it", image, spec).await?;
    // Create, and not Start.
    let error = container
        .task(Stdin::None)
        .await
        .map(drop)
        .expect_err("a hook fails");
    let text = error
        .downcast::<containerd_client::tonic::Status>()?
        .message()
        .to_owned();
    assert!(text.contains("hook"), "{text}");
    if runtime == Runtime::Medley {
        assert!(
            text.contains(kind) || text.contains("bad-hook"),
            "which hook? {text}"
        );
        assert!(text.contains('3'), "how did it fail? {text}");
    }
    container.delete().await?;
    assert!(!events.topics("it").contains(&"start".to_owned()));
    containerd.expect_clean()?;
    containerd.close().await
}

fn linux() -> Result<Image> {
    images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()
}

fn wasm() -> Result<Image> {
    images::wasm("sleep", &guests::module("sleep")?)
}

each_runtime! {
    async fn hooks_of_a_linux_container_run_in_order_and_see_inits_pid(runtime: Runtime) -> Result<()> {
        all_hooks(runtime, &linux()?).await
    }

    async fn a_create_runtime_hook_enters_a_linux_network(runtime: Runtime) -> Result<()> {
        enters_the_network(runtime, &linux()?, "createRuntime").await
    }

    async fn a_prestart_hook_may_enter_the_network_of_a_linux_container(runtime: Runtime) -> Result<()> {
        enters_the_network(runtime, &linux()?, "prestart").await
    }

    async fn a_failing_prestart_hook_fails_create_of_a_linux_container(runtime: Runtime) -> Result<()> {
        failing(runtime, &linux()?, "prestart").await
    }

    async fn a_failing_create_runtime_hook_fails_a_linux_create(runtime: Runtime) -> Result<()> {
        failing(runtime, &linux()?, "createRuntime").await
    }

    async fn a_failing_create_container_hook_fails_a_linux_create(runtime: Runtime) -> Result<()> {
        failing(runtime, &linux()?, "createContainer").await
    }

    /// It begins in the rootfs, in the container's mount namespace, with the node's programs.
    async fn what_a_create_container_hook_mounts_is_the_containers(runtime: Runtime) -> Result<()> {
        let script = "cat >/dev/null; mount -t tmpfs hooked ./data && echo mounted > ./data/note";
        let done = Scenario::of(runtime, images::linux())
            .args(["/bin/cat", "/data/note"])
            .edit(|json| json["hooks"]["createContainer"] = hook(script))
            .finished().await?;
        assert_eq!((done.code, done.stdout.as_str()), (0, "mounted\n"), "{done:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        assert!(!mounts.contains("hooked "), "the node has it too: {mounts}");
        Ok(())
    }

    /// Before the container's program does.
    async fn a_start_container_hook_runs_in_the_linux_root(runtime: Runtime) -> Result<()> {
        let done = Scenario::of(runtime, images::linux())
            .args(["/bin/cat", "/data/note"])
            .edit(|json| {
                let script = "cat >/dev/null; echo \"from the hook, pid $$\" > /data/note";
                json["hooks"]["startContainer"] =
                    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]);
            })
            .finished().await?;
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.starts_with("from the hook"), "{done:?}");
        Ok(())
    }
}

#[tokio::test]
async fn hooks_of_a_wasm_container_run_in_order_and_see_inits_pid() -> Result<()> {
    all_hooks(Runtime::Medley, &wasm()?).await
}

#[tokio::test]
async fn a_prestart_hook_may_enter_the_network_of_a_wasm_container() -> Result<()> {
    enters_the_network(Runtime::Medley, &wasm()?, "prestart").await
}

#[tokio::test]
async fn a_create_runtime_hook_enters_a_wasm_network() -> Result<()> {
    enters_the_network(Runtime::Medley, &wasm()?, "createRuntime").await
}

#[tokio::test]
async fn a_failing_create_runtime_hook_fails_a_wasm_create() -> Result<()> {
    failing(Runtime::Medley, &wasm()?, "createRuntime").await
}

#[tokio::test]
async fn a_failing_poststop_hook_does_not_fail_delete() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let all = [linux()?, wasm()?];
    containerd.import(&all.each_ref()).await?;
    let client = containerd.client().await?;
    for image in &all {
        let spec = client
            .spec(image, "it")
            .edit(|json| json["hooks"]["poststop"] = hook("exit 3"));
        let container = client.create("it", image, spec).await?;
        let task = container.start(Stdin::None).await?;
        assert_eq!(task.destroy().await?, 137, "{}", image.name);
        container.delete().await?;
        containerd.expect_clean()?;
    }
    // It is told all the same.
    assert!(
        containerd.log().contains("poststop"),
        "{}",
        containerd.log()
    );
    containerd.close().await
}
