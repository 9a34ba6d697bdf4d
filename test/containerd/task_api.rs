//! The calls of the task API, and what they answer at the wrong time.

use containerd_client::tonic::Code;
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::{api, ttrpc};
use medley_test::client::refused_with;
use medley_test::shim::{Shim, TASK_V2, TASK_V3, status};
use medley_test::stdio::Stdin;
use medley_test::*;

/// A container of each kind that sleeps, by the runtime that runs it.
fn sleepers(runtime: Runtime) -> Result<Vec<Image>> {
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()?;
    Ok(match runtime {
        Runtime::Runc => vec![linux],
        Runtime::Medley => vec![linux, images::wasm("sleep", &guests::module("sleep")?)?],
    })
}

async fn each_sleeper<F>(runtime: Runtime, check: impl Fn(Task) -> F) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let containerd = Containerd::start(runtime).await?;
    let all = sleepers(runtime)?;
    containerd.import(&all.iter().collect::<Vec<_>>()).await?;
    let client = containerd.client().await?;
    for image in &all {
        let container = client.create("it", image, client.spec(image, "it")).await?;
        let task = container.start(Stdin::None).await?;
        check(task).await?.destroy().await?;
        container.delete().await?;
    }
    containerd.close().await
}

each_runtime! {
    async fn delete_of_a_running_container_is_refused(runtime: Runtime) -> Result<()> {
        each_sleeper(runtime, async |task: Task| {
            match runtime {
                Runtime::Medley => {
                    refused_with(task.delete().await, Code::FailedPrecondition)?;
                }
                // runc's shim refuses too, but tells no code.
                Runtime::Runc => assert!(task.delete().await.is_err()),
            }
            assert_eq!(task.status().await?.as_str_name(), "RUNNING");
            Ok(task)
        })
        .await
    }

    async fn start_of_a_running_container_is_refused(runtime: Runtime) -> Result<()> {
        each_sleeper(runtime, async |task: Task| {
            assert!(task.start().await.is_err());
            assert_eq!(task.status().await?.as_str_name(), "RUNNING");
            Ok(task)
        })
        .await
    }

    async fn init_has_its_real_pid_from_create_on(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let all = sleepers(runtime)?;
        containerd.import(&all.iter().collect::<Vec<_>>()).await?;
        let client = containerd.client().await?;
        for image in &all {
            let container = client.create("it", image, client.spec(image, "it")).await?;
            let task = container.task(Stdin::None).await?;
            assert_eq!(task.status().await?.as_str_name(), "CREATED");
            // Pid 1 of the container, under the pid that the host gave it.
            let status = std::fs::read_to_string(format!("/proc/{}/status", task.pid))?;
            let inside = status.lines().find(|line| line.starts_with("NSpid:"));
            assert!(inside.is_some_and(|line| line.ends_with("\t1")), "{inside:?}");
            assert_eq!(task.start().await?, task.pid);
            assert!(task.pids().await?.contains(&task.pid));
            let socket = containerd.leftovers().shim_socket(client.namespace(), "it");
            let (shim, init) = Shim::connect(&socket).await?.pids("it").await?;
            assert_eq!(init, task.pid);
            assert_ne!(shim, init);
            task.destroy().await?;
            container.delete().await?;
        }
        containerd.close().await
    }

    async fn pids_lists_every_process_of_a_container(runtime: Runtime) -> Result<()> {
        let script = "sleep 3600 & sleep 3600 & wait";
        Scenario::linux(runtime, script).run(async |task| {
            let mut pids = task.pids().await?;
            for _ in 0..100 {
                if pids.len() == 3 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                pids = task.pids().await?;
            }
            assert_eq!(pids.len(), 3, "{pids:?}");
            Ok(())
        }).await
    }

    async fn stats_are_those_of_the_cgroup(runtime: Runtime) -> Result<()> {
        each_sleeper(runtime, async |task: Task| {
            let metrics = task.metrics().await?;
            let known = ["io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"];
            let name = metrics.type_url.rsplit('/').next().unwrap_or_default();
            assert!(known.contains(&name), "unknown metrics {}", metrics.type_url);
            assert!(!metrics.value.is_empty());
            Ok(task)
        })
        .await
    }

    async fn kill_of_a_dead_process_is_not_found(runtime: Runtime) -> Result<()> {
        Scenario::of(runtime, images::linux()).args(["/bin/true"]).run(async |task| {
            task.wait().await?;
            refused_with(task.kill(9, false).await, Code::NotFound)?;
            assert_eq!(task.status().await?.as_str_name(), "STOPPED");
            task.output().await?;
            task.delete().await?;
            Ok(())
        }).await
    }

    async fn wait_answers_again_after_the_exit(runtime: Runtime) -> Result<()> {
        Scenario::linux(runtime, "exit 3").run(async |task| {
            assert_eq!((task.wait().await?, task.wait().await?), (3, 3));
            task.output().await?;
            assert_eq!(task.delete().await?, 3);
            Ok(())
        }).await
    }

    async fn a_task_that_was_never_started_can_be_killed_and_deleted(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let all = sleepers(runtime)?;
        containerd.import(&all.iter().collect::<Vec<_>>()).await?;
        let client = containerd.client().await?;
        for image in &all {
            let container = client.create("it", image, client.spec(image, "it")).await?;
            let task = container.task(Stdin::None).await?;
            task.kill(9, false).await?;
            task.wait().await?;
            task.delete().await?;
            container.delete().await?;
        }
        containerd.close().await
    }

    async fn both_names_of_the_task_service_are_served(runtime: Runtime) -> Result<()> {
        each_sleeper(runtime, async |task: Task| {
            let socket = task.shim_socket();
            for service in [TASK_V2, TASK_V3] {
                let answer = Shim::connect(&socket).await?.speaking(service).pids("it").await;
                match (runtime, service) {
                    // That of containerd 1.6 is older than the second name.
                    (Runtime::Runc, TASK_V3) => {}
                    _ => assert_eq!(answer?.1, task.pid, "{service}"),
                }
            }
            Ok(task)
        })
        .await
    }
}

#[tokio::test]
async fn calls_that_are_not_supported_answer_unimplemented() -> Result<()> {
    each_sleeper(Runtime::Medley, async |task: Task| {
        let shim = Shim::connect(&task.shim_socket()).await?;
        let checkpoint = api::CheckpointTaskRequest {
            id: "it".to_owned(),
            ..Default::default()
        };
        let answers: [(&str, Result<Empty>); 2] = [
            ("Checkpoint", shim.call("Checkpoint", &checkpoint).await),
            ("NoSuchCall", shim.call("NoSuchCall", &checkpoint).await),
        ];
        for (method, answer) in answers {
            let code = answer.err().as_ref().and_then(status).map(|(code, _)| code);
            assert_eq!(code, Some(ttrpc::Code::UNIMPLEMENTED), "{method}");
        }
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn calls_about_an_unknown_container_are_not_found() -> Result<()> {
    each_sleeper(Runtime::Medley, async |task: Task| {
        let shim = Shim::connect(&task.shim_socket()).await?;
        let nobody = "nobody";
        let answers = [
            ("Start", shim.start(nobody).await.err()),
            ("Wait", shim.wait(nobody).await.err()),
            ("Delete", shim.delete(nobody).await.err()),
        ];
        for (method, answer) in answers {
            let (code, text) = answer.as_ref().and_then(status).context(method)?;
            assert_eq!(code, ttrpc::Code::NOT_FOUND, "{method}");
            assert!(text.contains(nobody), "{method} does not name it: {text}");
        }
        Ok(task)
    })
    .await
}
