//! Further processes in a container.

use medley_test::client::{code, process, refused_with};
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;
use std::collections::BTreeMap;

use containerd_client::tonic::Code;

/// Runs `check` on a container of the Linux image that sleeps.
async fn beside_a_sleeper<F>(runtime: Runtime, check: impl FnOnce(Task) -> F) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
    let container = client.create("it", &image, spec).await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// Runs `check` on a container of guests, whose init waits for its end.
async fn beside_a_guest<F>(check: impl FnOnce(Task) -> F) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let image = images::linux_builder("guests")?
        .file("/app.wasm", guests::module("sleep")?, 0o644)
        .file("/exports.wasm", guests::module("exports")?, 0o644)
        .file("/exit.wasm", guests::module("exit")?, 0o644)
        .file("/cat.wasm", guests::module("cat")?, 0o644)
        .file("/notes.txt", "neither", 0o644)
        .entrypoint(["/app.wasm", "3600"])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let container = client
        .create("it", &image, client.spec(&image, "it"))
        .await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// The namespaces and the cgroup of a process.
fn environment_of(pid: u32) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
        all.insert(kind.to_owned(), link.display().to_string());
    }
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    all.insert("cgroups".to_owned(), cgroup);
    Ok(all)
}

each_runtime! {
    async fn an_exec_says_what_its_program_says(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let script = "echo out; echo err >&2; exit 7";
            let ran = task.run_exec("e", process(&["sh", "-c", script])).await?;
            assert_eq!(ran, (7, "out\n".into(), "err\n".into()));
            Ok(task)
        }).await
    }

    async fn an_exec_is_what_its_process_says(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let mut process = process(&["sh", "-c", "id -u; id -g; id -G; pwd; echo $GREETING; ulimit -c"]);
            process["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]});
            process["cwd"] = json!("/tmp");
            process["env"] = json!(["PATH=/bin", "GREETING=hello"]);
            // In blocks of 512. Not that of open files, which Go changes by itself at times, and so runc.
            process["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 77 * 512, "hard": 88 * 512}]);
            let (code, stdout, stderr) = task.run_exec("e", process).await?;
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(stdout, "5\n6\n6 7 8\n/tmp\nhello\n77\n");
            Ok(task)
        }).await
    }

    async fn an_exec_has_the_capabilities_that_it_is_given_and_no_more(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let status = process(&["grep", "-E", "^(CapPrm|CapEff|CapBnd|NoNewPrivs)", "/proc/self/status"]);
            let (_, stdout, _) = task.run_exec("e", status).await?;
            // CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID
            let expected = "CapPrm:\t00000000000000e1\nCapEff:\t00000000000000e1\n\
                            CapBnd:\t00000000000000e1\nNoNewPrivs:\t1\n";
            assert_eq!(stdout, expected);
            Ok(task)
        }).await
    }

    async fn an_exec_is_in_the_namespaces_and_the_cgroup_of_init(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = task.exec("e", process(&["sleep", "3600"]), Stdin::None).await?;
            let pid = exec.start().await?;
            assert_eq!(environment_of(pid)?, environment_of(task.pid)?);
            let mut listed = task.pids().await?;
            listed.sort_unstable();
            let mut expected = vec![task.pid, pid];
            expected.sort_unstable();
            assert_eq!(listed, expected);
            exec.kill(15).await?;
            assert_eq!(exec.wait().await?, 143);
            assert_eq!(exec.delete().await?, 143);
            Ok(task)
        }).await
    }

    async fn an_exec_reads_its_input_to_the_end(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let stdin = Stdin::Bytes(b"one\ntwo\n".to_vec());
            let exec = task.exec("e", process(&["wc", "-l"]), stdin).await?;
            let (code, stdout, _) = exec.run().await?;
            assert_eq!((code, stdout.trim()), (0, "2"));
            Ok(task)
        }).await
    }

    /// Even if a process that it has left behind holds it.
    async fn an_execs_output_ends_at_delete(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let leaves = process(&["sh", "-c", "echo said; sleep 3600 & exec true"]);
            let exec = task.exec("e", leaves, Stdin::None).await?;
            let (code, stdout) = exec.run_before_it_is_read().await?;
            assert_eq!((code, stdout.as_str()), (0, "said\n"));
            Ok(task)
        }).await
    }

    /// It changes nothing of the container.
    async fn an_exec_whose_program_is_missing_says_so(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = task.exec("e", process(&["nope"]), Stdin::None).await?;
            let error = format!("{:#}", exec.start().await.expect_err("it is not there"));
            assert!(error.contains("nope") && error.contains("not found in $PATH"), "{error}");
            exec.delete().await?;
            let ran = task.run_exec("e", process(&["true"])).await?;
            assert_eq!(ran.0, 0);
            Ok(task)
        }).await
    }

    async fn an_exec_id_is_in_use_until_it_is_deleted(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = task.exec("e", process(&["true"]), Stdin::None).await?;
            let again = task.exec("e", process(&["true"]), Stdin::None).await;
            refused_with(again, Code::AlreadyExists)?;
            exec.run().await?;
            assert_eq!(task.run_exec("e", process(&["true"])).await?.0, 0);
            Ok(task)
        }).await
    }

    async fn inits_end_ends_its_execs(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = task.exec("e", process(&["sleep", "3600"]), Stdin::None).await?;
            exec.start().await?;
            task.kill(9, false).await?;
            assert_eq!(exec.wait().await?, 137);
            assert_eq!(task.wait().await?, 137);
            exec.delete().await?;
            Ok(task)
        }).await
    }

    async fn a_container_that_has_ended_takes_no_exec(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            task.kill(9, false).await?;
            task.wait().await?;
            assert!(task.exec("e", process(&["true"]), Stdin::None).await.is_err());
            Ok(task)
        }).await
    }
}

#[tokio::test]
async fn an_exec_runs_under_the_containers_seccomp_filter() -> Result<()> {
    Scenario::of(Runtime::Medley, images::linux())
        .args(["/bin/sleep", "3600"])
        .edit(|json| {
            json["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
            });
        })
        .run(async |task| {
            for (id, no_new_privileges) in [("with", true), ("without", false)] {
                let mut process =
                    process(&["sh", "-c", "mkdir /tmp/x; grep ^Seccomp: /proc/self/status"]);
                if !no_new_privileges {
                    process["noNewPrivileges"] = json!(null);
                }
                let (_, stdout, stderr) = task.run_exec(id, process).await?;
                assert!(stderr.contains("not permitted"), "{stderr}");
                assert_eq!(stdout, "Seccomp:\t2\n");
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_paused_container_takes_no_exec() -> Result<()> {
    beside_a_sleeper(Runtime::Medley, async |task: Task| {
        task.pause().await?;
        let refused = task.exec("e", process(&["true"]), Stdin::None).await;
        let text = refused_with(refused, Code::FailedPrecondition)?;
        assert!(text.contains("it is paused"), "{text}");
        task.resume().await?;
        assert_eq!(task.run_exec("e", process(&["true"])).await?.0, 0);
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn a_process_that_makes_no_sense_is_refused() -> Result<()> {
    beside_a_sleeper(Runtime::Medley, async |task: Task| {
        let refused = task.exec("e", json!({"args": 7}), Stdin::None).await;
        let text = refused_with(refused, Code::InvalidArgument)?;
        assert!(text.contains("not a valid OCI process"), "{text}");
        let mut process = process(&["true"]);
        process["cwd"] = json!("/nowhere");
        let exec = task.exec("e", process, Stdin::None).await?;
        let error = exec.start().await.expect_err("no such dir");
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
        assert_eq!(code(&error), Some(Code::Unknown));
        exec.delete().await?;
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn an_exec_runs_another_wasm_file_or_an_export_of_one() -> Result<()> {
    beside_a_guest(async |task: Task| {
        let ran = task.run_exec("a", process(&["/exports.wasm"])).await?;
        assert_eq!(ran, (0, "start\n".into(), String::new()));
        let ran = task
            .run_exec("b", process(&["/exports.wasm#other"]))
            .await?;
        assert_eq!(ran, (0, "other\n".into(), String::new()));
        let ran = task.run_exec("c", process(&["/exit.wasm", "9"])).await?;
        assert_eq!(ran.0, 9, "{}", ran.2);
        let stdin = Stdin::Bytes(b"through".to_vec());
        let exec = task.exec("d", process(&["/cat.wasm"]), stdin).await?;
        let ran = exec.run().await?;
        assert_eq!((ran.0, ran.1.as_str()), (0, "through"));
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn beside_a_guest_a_linux_program_can_be_run() -> Result<()> {
    beside_a_guest(async |task: Task| {
        let ran = task.run_exec("e", process(&["echo", "linux"])).await?;
        assert_eq!(ran, (0, "linux\n".into(), String::new()));
        let exec = task
            .exec("s", process(&["sleep", "3600"]), Stdin::None)
            .await?;
        let pid = exec.start().await?;
        assert_eq!(environment_of(pid)?, environment_of(task.pid)?);
        exec.kill(9).await?;
        assert_eq!(exec.wait().await?, 137);
        exec.delete().await?;
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn beside_a_guest_anything_else_is_refused_with_what_can_be_run() -> Result<()> {
    beside_a_guest(async |task: Task| {
        for program in ["/notes.txt", "nope"] {
            let refused = task.exec("e", process(&[program]), Stdin::None).await;
            let text = refused_with(refused, Code::Unknown)?;
            assert!(text.contains(program), "{text}");
            assert!(text.contains("wasm-file#function"), "{text}");
        }
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn beside_a_guest_an_exec_id_is_in_use_until_it_is_deleted() -> Result<()> {
    beside_a_guest(async |task: Task| {
        let exec = task
            .exec("e", process(&["/exports.wasm"]), Stdin::None)
            .await?;
        let again = task
            .exec("e", process(&["/exports.wasm"]), Stdin::None)
            .await;
        refused_with(again, Code::AlreadyExists)?;
        exec.run().await?;
        assert_eq!(task.run_exec("e", process(&["/exports.wasm"])).await?.0, 0);
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn a_guest_that_is_paused_or_has_ended_takes_no_exec() -> Result<()> {
    beside_a_guest(async |task: Task| {
        task.pause().await?;
        let refused = task
            .exec("e", process(&["/exports.wasm"]), Stdin::None)
            .await;
        let text = refused_with(refused, Code::FailedPrecondition)?;
        assert!(text.contains("it is paused"), "{text}");
        task.resume().await?;
        assert_eq!(task.run_exec("e", process(&["/exports.wasm"])).await?.0, 0);
        task.kill(9, false).await?;
        task.wait().await?;
        let refused = task
            .exec("e", process(&["/exports.wasm"]), Stdin::None)
            .await;
        assert!(refused.is_err());
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn a_guest_without_a_terminal_has_no_size() -> Result<()> {
    beside_a_guest(async |task: Task| {
        let text = refused_with(task.resize(80, 24).await, Code::FailedPrecondition)?;
        assert!(text.contains("it has no terminal"), "{text}");
        let exec = task
            .exec("e", process(&["/exports.wasm"]), Stdin::None)
            .await?;
        let text = refused_with(exec.resize(80, 24).await, Code::FailedPrecondition)?;
        assert!(text.contains("it has no terminal"), "{text}");
        exec.run().await?;
        Ok(task)
    })
    .await
}
