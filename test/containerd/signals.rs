//! SIGTERM and SIGKILL.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::time::Duration;

pub(crate) const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

/// Starts the image, sends it a signal once its init is `ready`, and returns its exit status.
pub(crate) async fn signalled(
    containerd: &Containerd,
    image: &Image,
    args: &[&str],
    signal: u32,
    ready: impl Fn(u32) -> bool,
) -> Result<u32> {
    let client = containerd.client().await?;
    let spec = client.spec(image, "it").args(args.iter().copied());
    let container = client.create("it", image, spec).await?;
    let mut task = container.start(Stdin::None).await?;
    proc::until("init is ready", || ready(task.pid)).await?;
    task.kill(signal, false).await?;
    let code = task.wait().await?;
    task.output().await?;
    assert_eq!(task.delete().await?, code);
    container.delete().await?;
    Ok(code)
}

/// The signals of a mask but 32 and 33, which glibc keeps for itself, and has children ignore.
fn ignored(mask: &str) -> Result<u64> {
    Ok(u64::from_str_radix(mask.trim(), 16)? & !(0b11 << 31))
}

async fn linux(
    runtime: Runtime,
    script: &str,
    signal: u32,
    ready: impl Fn(u32) -> bool,
) -> Result<u32> {
    let containerd = Containerd::start(runtime).await?;
    let image = images::linux()?;
    containerd.import(&[&image]).await?;
    let code = signalled(
        &containerd,
        &image,
        &["/bin/sh", "-c", script],
        signal,
        ready,
    )
    .await?;
    containerd.close().await?;
    Ok(code)
}

async fn wasm(name: &str, module: Vec<u8>, signal: u32) -> Result<u32> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm(name, &module)?;
    containerd.import(&[&image]).await?;
    let args = image.args[0].clone();
    // Start has answered: the guest runs, and its handlers are set.
    let code = signalled(&containerd, &image, &[&args], signal, |_| true).await?;
    containerd.close().await?;
    Ok(code)
}

each_runtime! {
    async fn a_linux_init_that_handles_sigterm_exits_as_it_likes(runtime: Runtime) -> Result<()> {
        let script = "trap 'exit 7' TERM; while true; do sleep 0.05; done";
        let ready = |pid| proc::catches(pid, SIGTERM);
        assert_eq!(linux(runtime, script, SIGTERM, ready).await?, 7);
        Ok(())
    }

    async fn a_linux_init_that_ignores_sigterm_goes_on_until_sigkill(runtime: Runtime) -> Result<()> {
        Scenario::linux(runtime, "trap '' TERM; sleep 3600").run(async |task| {
            proc::until("it ignores SIGTERM", || proc::ignores(task.pid, SIGTERM)).await?;
            task.kill(SIGTERM, false).await?;
            assert_eq!(task.run_exec("after", client::process(&["true"])).await?.0, 0);
            assert_eq!(task.status().await?.as_str_name(), "RUNNING");
            Ok(())
        }).await
    }

    async fn sigkill_of_a_linux_container_exits_with_137(runtime: Runtime) -> Result<()> {
        assert_eq!(linux(runtime, "sleep 3600", SIGKILL, |_| true).await?, 137);
        Ok(())
    }

    async fn every_signal_arrives_by_its_number(runtime: Runtime) -> Result<()> {
        // HUP, USR1, USR2, TERM, WINCH.
        let numbers = [1, 10, 12, 15, 28];
        let script = "for n in 1 10 12 15; do trap \"echo got $n\" $n; done; \
                      trap 'echo got 28; exit 9' 28; while true; do sleep 0.05; done";
        Scenario::linux(runtime, script).run(async |task| {
            let set = || numbers.iter().all(|number| proc::catches(task.pid, *number));
            proc::until("the traps are set", set).await?;
            let bad = task.kill(65, false).await.expect_err("there is no such signal");
            assert_ne!(client::code(&bad), Some(containerd_client::tonic::Code::NotFound), "{bad:#}");
            let (last, others) = numbers.split_last().context("no numbers")?;
            for number in others {
                task.kill(*number, false).await?;
                // One at a time: a shell runs traps in the order of their numbers.
                let pending = |pid| ["SigPnd", "ShdPnd"].iter().all(|set| {
                    proc::field(pid, set).is_ok_and(|mask| mask == "0000000000000000")
                });
                proc::until("the signal has arrived", || pending(task.pid)).await?;
            }
            task.kill(*last, false).await?;
            assert_eq!(task.wait().await?, 9);
            let (lines, _) = task.output().await?;
            assert_eq!(lines, "got 1\ngot 10\ngot 12\ngot 15\ngot 28\n");
            task.delete().await?;
            Ok(())
        }).await
    }

    async fn a_signal_to_all_reaches_every_process(runtime: Runtime) -> Result<()> {
        // Init ignores it, and the others end.
        let script = "sleep 3600 & sleep 3601 & (sleep 3602 &) ; trap '' TERM; while true; do sleep 0.05; done";
        Scenario::linux(runtime, script).run(async |task| {
            let sleepers = |pids: Vec<u32>| {
                let of = |pid: &u32| {
                    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.contains("360") && proc::is_alive(*pid)
                };
                pids.iter().filter(|pid| of(pid)).count()
            };
            proc::until("init ignores it", || proc::ignores(task.pid, SIGTERM)).await?;
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            // The shell's own line has the number too.
            while sleepers(task.pids().await?) < 4 {
                ensure!(std::time::Instant::now() < deadline, "three sleepers never came up");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            task.kill(SIGTERM, true).await?;
            while sleepers(task.pids().await?) > 1 {
                ensure!(std::time::Instant::now() < deadline, "a sleeper goes on");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(task.status().await?.as_str_name(), "RUNNING");
            Ok(())
        }).await
    }

    async fn a_container_hears_sighup_whose_containerd_is_deaf_to_it(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start_with(Options { nohup: true, ..Options::new(runtime) }).await?;
        let daemon = u32::try_from(containerd.pid())?;
        assert_eq!(ignored(&proc::field(daemon, "SigIgn")?)?, 1, "nohup does what it says");
        let image = images::linux()?;
        containerd.import(&[&image]).await?;
        let client = containerd.client().await?;
        let script = "trap 'exit 3' HUP; while true; do sleep 0.05; done";
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        proc::until("the trap is set", || proc::catches(task.pid, 1)).await?;
        let deaf = client::process(&["grep", "SigIgn", "/proc/self/status"]);
        let (_, said, _) = task.run_exec("deaf", deaf).await?;
        assert_eq!(ignored(said.trim_start_matches("SigIgn:"))?, 0, "{said}");
        let hung_up = client::process(&["sh", "-c", "kill -HUP $$; exit 4"]);
        assert_eq!(task.run_exec("hung-up", hung_up).await?.0, 129);
        task.kill(1, false).await?;
        assert_eq!(task.wait().await?, 3);
        task.delete().await?;
        container.delete().await?;
        containerd.close().await
    }

    /// Of a Linux container that shares it.
    async fn sigterm_arrives_in_the_hosts_pid_namespace(runtime: Runtime) -> Result<()> {
        Scenario::of(runtime, images::linux())
            .args(["/bin/sleep", "3600"])
            .edit(|json| {
                if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
                    all.retain(|namespace| namespace["type"] != "pid");
                }
            })
            .run(async |task| {
                let name = |pid| proc::field(pid, "Name").unwrap_or_default();
                proc::until("the program runs", || name(task.pid) == "sleep").await?;
                task.kill(SIGTERM, false).await?;
                assert_eq!(task.wait().await?, 143);
                task.delete().await?;
                Ok(())
            })
            .await
    }
}

#[tokio::test]
async fn sigterm_of_a_sleeping_module_exits_with_143() -> Result<()> {
    assert_eq!(wasm("sleep", guests::module("sleep")?, SIGTERM).await?, 143);
    Ok(())
}

#[tokio::test]
async fn sigterm_of_a_sleeping_component_exits_with_143() -> Result<()> {
    assert_eq!(
        wasm("sleep", guests::component("sleep")?, SIGTERM).await?,
        143
    );
    Ok(())
}

#[tokio::test]
async fn sigterm_of_a_module_in_a_busy_loop_exits_with_143() -> Result<()> {
    assert_eq!(wasm("spin", guests::module("spin")?, SIGTERM).await?, 143);
    Ok(())
}

/// With 128 and the signal's number.
#[tokio::test]
async fn a_signal_ends_a_guest_that_reads_its_input() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let client = containerd.client().await?;
    for (kind, wasm) in [
        ("module", guests::module("cat")?),
        ("component", guests::component("cat")?),
    ] {
        let image = images::wasm(kind, &wasm)?;
        containerd.import(&[&image]).await?;
        for signal in [1, 2, 3, SIGTERM, 10, 12] {
            let id = format!("{kind}-{signal}");
            let spec = client.spec(&image, &id);
            let container = client.create(&id, &image, spec).await?;
            let mut task = container.start(Stdin::Open).await?;
            let mut stdin = task.stdin().await?;
            std::io::Write::write_all(&mut stdin, b"read\n")?;
            task.kill(signal, false).await?;
            assert_eq!(task.wait().await?, 128 + signal, "{kind}");
            task.output().await?;
            task.delete().await?;
            container.delete().await?;
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn sigkill_of_a_sleeping_module_exits_with_137() -> Result<()> {
    assert_eq!(wasm("sleep", guests::module("sleep")?, SIGKILL).await?, 137);
    Ok(())
}

#[tokio::test]
async fn sigkill_of_a_module_in_a_busy_loop_exits_with_137() -> Result<()> {
    assert_eq!(wasm("spin", guests::module("spin")?, SIGKILL).await?, 137);
    Ok(())
}

/// Those whose default action ends a program, with a core or without, but SIGKILL.
fn deadly() -> impl Iterator<Item = u32> {
    const OTHERS: [u32; 9] = [9, 17, 18, 19, 20, 21, 22, 23, 28];
    (1..=64).filter(|signal| !OTHERS.contains(signal))
}

/// Starts a container of an image for each signal that ends a program, and sends it.
async fn each_ends(engine: Engine, name: &str, wasm: Vec<u8>) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let image = images::wasm(name, &wasm)?;
    containerd.import(&[&image]).await?;
    for signal in deadly() {
        let id = format!("it-{signal}");
        let spec = engine.runs(client.spec(&image, &id));
        let container = client.create(&id, &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        task.kill(signal, false).await?;
        assert_eq!(task.wait().await?, 128 + signal, "signal {signal}");
        task.delete().await?;
        container.delete().await?;
    }
    containerd.close().await
}

each_engine_but_wasmer! {
    async fn every_signal_that_ends_a_program_ends_a_guest(engine: Engine) -> Result<()> {
        each_ends(engine, "sleep", guests::module("sleep")?).await
    }

    async fn every_such_signal_ends_a_busy_guest(engine: Engine) -> Result<()> {
        each_ends(engine, "spin", guests::module("spin")?).await
    }
}

each_engine_but_wasmer! {
    async fn signals_that_end_no_program_end_no_guest(engine: Engine) -> Result<()> {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let client = containerd.client().await?;
        let image = images::wasm("spin", &guests::module("spin")?)?;
        containerd.import(&[&image]).await?;
        let spec = engine.runs(client.spec(&image, "it"));
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let state = |pid| proc::field(pid, "State");
        // As pid 1 of its namespace a program of Linux is not stopped by a terminal's signals either.
        for signal in [17, 18, 20, 21, 22, 23, 28] {
            task.kill(signal, false).await?;
        }
        assert!(state(task.pid)?.starts_with('R'), "{}", state(task.pid)?);
        task.kill(19, false).await?;
        let is = |wanted: char| move |state: String| state.starts_with(wanted);
        proc::until("it stops", || state(task.pid).is_ok_and(is('T'))).await?;
        task.kill(18, false).await?;
        proc::until("it goes on", || state(task.pid).is_ok_and(is('R'))).await?;
        // As with `STOPSIGNAL SIGRTMIN+3`.
        task.kill(37, false).await?;
        assert_eq!(task.wait().await?, 165);
        task.delete().await?;
        container.delete().await?;
        containerd.close().await
    }

    async fn a_signal_ends_a_guest_that_was_added_to_a_container(engine: Engine) -> Result<()> {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let client = containerd.client().await?;
        let image = images::wasm("spin", &guests::module("spin")?)?;
        containerd.import(&[&image]).await?;
        let spec = engine.runs(client.spec(&image, "it"));
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        for signal in [11, 13, 30, 33, 37, 64] {
            let id = format!("added-{signal}");
            let added = task.exec(&id, client::process(&[&image.args[0]]), Stdin::None).await?;
            added.start().await?;
            added.kill(signal).await?;
            assert_eq!(added.wait().await?, 128 + signal);
            added.delete().await?;
        }
        assert_eq!(task.destroy().await?, 137);
        container.delete().await?;
        containerd.close().await
    }
}
