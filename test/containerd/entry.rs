//! How a process enters a container: what it brings along, and who can hinder it.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use medley_test::client::{code, process};
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};

use containerd_client::tonic::Code;

/// Runs `check` on a container that runs a program of `test/programs`.
async fn beside_a_program<F>(
    runtime: Runtime,
    name: &str,
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    beside_a_changed_program(runtime, name, |_| {}, check).await
}

/// The same, with a changed spec.
async fn beside_a_changed_program<F>(
    runtime: Runtime,
    name: &str,
    change: impl FnOnce(&mut Value),
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let containerd = Containerd::start(runtime).await?;
    let program = format!("/{name}");
    let mut image =
        images::linux_builder("program")?.file(&program, programs::program(name)?, 0o755);
    // The root of a user namespace can make none of these in an image of the node's root.
    for dir in ["/proc", "/sys", "/dev", "/run"] {
        image = image.dir(dir, 0o755);
    }
    let image = image.build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args([program]).edit(change);
    let container = client.create("it", &image, spec).await?;
    let task = check(container.start(Stdin::None).await?).await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// Has a container be under a filter.
fn under_a_filter(json: &mut Value) {
    json["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
    });
}

/// Has a container be in a user namespace, in which it may attach to its own processes.
fn in_a_user_namespace(json: &mut Value) {
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let linux = &mut json["linux"];
    (linux["uidMappings"], linux["gidMappings"]) = (maps.clone(), maps);
    if let Some(all) = linux["namespaces"].as_array_mut() {
        all.push(json!({"type": "user"}));
    }
    for set in ["bounding", "effective", "permitted"] {
        if let Some(all) = json["process"]["capabilities"][set].as_array_mut() {
            all.push(json!("CAP_SYS_PTRACE"));
        }
    }
}

/// Tries to attach to a hundred processes on their way in.
async fn nobody_attaches(task: &Task, mut process: Value) -> Result<()> {
    task.until("watching").await?;
    for no_new_privileges in [true, false] {
        process["noNewPrivileges"] = json!(no_new_privileges);
        for number in 0..50 {
            let id = format!("e{number}-{no_new_privileges}");
            task.run_exec(&id, process.clone()).await?;
        }
    }
    let text = task.until("watching").await?;
    assert!(!text.contains("attached"), "{text}");
    assert!(text.contains("met"), "the spy has seen no process: {text}");
    Ok(())
}

/// A process of the node, which ends with this.
struct Stranger(Child);

impl Stranger {
    /// One with the pid of a process that ends, as soon as that was reaped.
    async fn with_pid(pid: u32) -> Result<Self> {
        let process = format!("/proc/{pid}");
        while Path::new(&process).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..1000 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
            let stranger = Self(Command::new("sleep").arg("3600").spawn()?);
            if stranger.0.id() == pid {
                return Ok(stranger);
            }
        }
        anyhow::bail!("pid {pid} is not to be had")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

each_runtime! {
    async fn nobody_can_attach_to_a_process_on_its_way_in(runtime: Runtime) -> Result<()> {
        beside_a_program(runtime, "attach", async |task: Task| {
            task.until("watching").await?;
            for number in 0..100 {
                task.run_exec(&format!("e{number}"), process(&["true"])).await?;
            }
            let text = task.until("watching").await?;
            assert!(!text.contains("attached"), "{text}");
            // Those of runc are too quick at times.
            if runtime == Runtime::Medley {
                assert!(text.contains("met"), "the spy has seen no process: {text}");
            }
            Ok(task)
        }).await
    }

    async fn what_containerd_has_open_reaches_no_process(runtime: Runtime) -> Result<()> {
        let options = containerd::Options { with_root_open: true, ..containerd::Options::new(runtime) };
        let (containerd, client, image) = Containerd::with_image(options, images::linux()?).await?;
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", "ls /proc/self/fd; exec sleep 3600"]);
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let mut listing = process(&["ls", "/proc/self/fd"]);
        let (_, stdout, _) = task.run_exec("ls", listing.clone()).await?;
        assert!(!stdout.lines().any(|line| line.trim() == "9"), "{stdout}");
        for number in 3..32 {
            listing["cwd"] = json!(format!("/proc/self/fd/{number}"));
            let exec = task.exec("cwd", listing.clone(), Stdin::None).await?;
            let started = exec.start().await;
            assert!(started.is_err(), "descriptor {number} led somewhere");
            exec.delete().await?;
        }
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }

    async fn an_exec_never_enters_a_stranger_with_inits_pid(runtime: Runtime) -> Result<()> {
        let script = "read go; yes full";
        Scenario::linux(runtime, script).spec(|spec| spec.terminal()).stdin(Stdin::Terminal)
            .run(async |task| {
                let exec = task.exec("e", process(&["true"]), Stdin::None).await?;
                // Output that stands keeps a task running for a moment after its init was reaped.
                task.detach().await?;
                task.types("go\n").await?;
                task.kill(9, false).await?;
                let stranger = Stranger::with_pid(task.pid).await?;
                let error = exec.start().await.expect_err("init's pid is a stranger's");
                if runtime == Runtime::Medley {
                    assert_eq!(code(&error), Some(Code::FailedPrecondition), "{error:#}");
                }
                drop(stranger);
                task.wait().await?;
                exec.delete().await?;
                task.delete().await?;
                Ok(())
            })
            .await
    }

    async fn an_exec_may_have_a_large_environment(runtime: Runtime) -> Result<()> {
        Scenario::of(runtime, images::linux())
            .args(["/bin/sleep", "3600"])
            .run(async |task| {
                let mut large = process(&["sh", "-c", "env | wc -c"]);
                // As a namespace with thousands of services has it, and one entry near the kernel's limit.
                let mut env: Vec<_> = (0..12_000).map(|n| format!("SERVICE_{n:06}_PORT=tcp://10.0.0.1:80/\"{n:06}\"")).collect();
                env.push(format!("LONG={}", "x".repeat(120 * 1024)));
                env.push("PATH=/bin".to_owned());
                large["env"] = json!(env);
                let (status, stdout, stderr) = task.run_exec("e", large).await?;
                assert_eq!(status, 0, "{stderr}");
                let size: usize = stdout.trim().parse()?;
                assert!(size > 600_000, "{size}");
                Ok(())
            })
            .await
    }

    async fn a_container_that_was_not_started_hears_sigterm(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", &image, spec).await?;
        let task = container.task(Stdin::None).await?;
        task.kill(15, false).await?;
        let status = task.wait().await?;
        assert_ne!(status, 0);
        task.delete().await?;
        container.delete().await?;
        containerd.close().await
    }
}

/// Be it that it comes under a filter or into a user namespace.
#[tokio::test]
async fn a_process_that_enters_cannot_be_attached_to() -> Result<()> {
    type Change = fn(&mut Value);
    let changes: [Change; 3] = [under_a_filter, in_a_user_namespace, |json| {
        under_a_filter(json);
        in_a_user_namespace(json);
    }];
    for change in changes {
        beside_a_changed_program(Runtime::Medley, "attach", change, async |task: Task| {
            nobody_attaches(&task, process(&["true"])).await?;
            Ok(task)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_descriptor_is_the_working_directory_of_init() -> Result<()> {
    let options = containerd::Options {
        with_root_open: true,
        ..containerd::Options::new(Runtime::Medley)
    };
    let (containerd, client, image) = Containerd::with_image(options, images::linux()?).await?;
    for number in 3..20 {
        let id = format!("it{number}");
        let spec = client
            .spec(&image, &id)
            .args(["/bin/pwd"])
            .edit(|json| json["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
        let container = client.create(&id, &image, spec).await?;
        let made = container.task(Stdin::None).await;
        assert!(made.is_err(), "descriptor {number} led somewhere");
        container.delete().await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn an_exec_that_is_held_up_can_be_killed() -> Result<()> {
    beside_a_program(Runtime::Medley, "stop", async |task: Task| {
        task.until("watching").await?;
        for number in 0..200 {
            let id = format!("e{number}");
            let exec = task.exec(&id, process(&["true"]), Stdin::None).await?;
            let (started, held) = tokio::join!(exec.start(), async {
                let held = task.has_said_soon("stopped").await;
                if held {
                    exec.kill(9).await?;
                }
                Ok::<_, anyhow::Error>(held)
            });
            if held? {
                let error = started.expect_err("it was killed on its way");
                assert_eq!(code(&error), Some(Code::Unknown), "{error:#}");
                exec.delete().await?;
                return Ok(task);
            }
            exec.wait().await?;
            exec.delete().await?;
        }
        anyhow::bail!("no process was stopped on its way")
    })
    .await
}

#[tokio::test]
async fn an_exec_is_scheduled_as_its_spec_or_its_container_says() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = client
        .spec(&image, "it")
        .args(["/bin/sleep", "3600"])
        .edit(|json| {
            json["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
            if let Some(namespaces) = json["linux"]["namespaces"].as_array_mut() {
                namespaces.push(json!({"type": "time"}));
            }
            json["linux"]["timeOffsets"] = json!({"boottime": {"secs": 864_000, "nanosecs": 0}});
        });
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let script = "ionice; grep Cpus_allowed_list /proc/self/status; cut -d. -f1 /proc/uptime; \
                  readlink /proc/self/ns/time; cut -d' ' -f41 /proc/self/stat";
    let mut wanted = process(&["sh", "-c", script]);
    wanted["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    wanted["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    let (status, stdout, stderr) = task.run_exec("e", wanted.clone()).await?;
    assert_eq!(status, 0, "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let [io, cpus, uptime, time, policy] = lines[..] else {
        anyhow::bail!("{stdout}");
    };
    assert!(io.starts_with("idle"), "{io}");
    assert_eq!(cpus, "Cpus_allowed_list:\t0");
    assert!(uptime.parse::<u64>()? > 864_000, "{uptime}");
    let inits = std::fs::read_link(format!("/proc/{}/ns/time", task.pid))?;
    assert_eq!(std::path::Path::new(time), inits);
    assert_eq!(policy, "3", "SCHED_BATCH");
    wanted["execCPUAffinity"] = json!({"final": "4000"});
    let exec = task.exec("wrong", wanted, Stdin::None).await?;
    let error = exec.start().await.expect_err("no such processor");
    assert!(format!("{error:#}").contains("4000"), "{error:#}");
    exec.delete().await?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}
