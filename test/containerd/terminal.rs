//! `-it`: a process has a terminal, and a client at its other end.

use medley_test::client::{process, refused_with};
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};

use containerd_client::tonic::Code;

/// A process whose standard streams are all the same terminal, and what it says of it.
const DESCRIBE: &str = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; \
                        echo by tty >/dev/tty; test -c /dev/console && echo console";

/// Ends at a Ctrl-C that it has seen coming.
const INTERRUPTED: &str =
    "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";

/// Says its terminal's size whenever that changes.
const RESIZED: &str =
    "trap 'stty size' WINCH; trap 'exit 4' INT; echo ready; while :; do sleep 0.05; done";

/// More than all of the pipes and terminals on the way hold.
const MANY_LINES: usize = 40_000;

/// Runs `check` on a container of the Linux image whose init has a terminal.
async fn with_terminal<F>(
    runtime: Runtime,
    args: &[&str],
    edit: impl FnOnce(&mut Value),
    check: impl FnOnce(Task) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = client
        .spec(&image, "it")
        .args(args.iter().copied())
        .terminal()
        .edit(edit);
    let container = client.create("it", &image, spec).await?;
    let task = check(container.start(Stdin::Terminal).await?).await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

async fn with_shell<F>(runtime: Runtime, script: &str, check: impl FnOnce(Task) -> F) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    with_terminal(runtime, &["/bin/sh", "-c", script], |_| {}, check).await
}

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

/// The OCI process that runs `args` in a terminal.
fn in_terminal(args: &[&str]) -> Value {
    let mut process = process(args);
    process["terminal"] = json!(true);
    process
}

/// Every line of `seq`, as a terminal shows it.
fn lines(count: usize) -> String {
    (1..=count).map(|number| format!("{number}\r\n")).collect()
}

each_runtime! {
    async fn a_linux_program_has_a_terminal_of_its_own(runtime: Runtime) -> Result<()> {
        let size = |json: &mut Value| {
            json["process"]["consoleSize"] = json!({"height": 33, "width": 99});
        };
        with_terminal(runtime, &["/bin/sh", "-c", DESCRIBE], size, async |mut task: Task| {
            assert_eq!(task.wait().await?, 0);
            let said = task.output().await?.0;
            assert_eq!(said, "/dev/pts/0\r\nall\r\n33 99\r\nby tty\r\nconsole\r\n");
            Ok(task)
        }).await
    }

    async fn an_exec_has_a_terminal_of_its_own(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let process = in_terminal(&["sh", "-c", "tty; stty size; echo by tty >/dev/tty"]);
            let mut sized = process.clone();
            sized["consoleSize"] = json!({"height": 12, "width": 34});
            let first = task.exec("first", sized, Stdin::Terminal).await?;
            let ran = first.run_terminal().await?;
            assert_eq!(ran, (0, "/dev/pts/0\r\n12 34\r\nby tty\r\n".into()));
            let second = task.exec("second", process, Stdin::Terminal).await?;
            assert_eq!(second.run_terminal().await?.0, 0);
            Ok(task)
        }).await
    }

    async fn the_user_of_a_process_owns_its_terminal(runtime: Runtime) -> Result<()> {
        let script = "stat -c %u $(tty); echo again >$(tty)";
        let user = |json: &mut Value| json["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        with_terminal(runtime, &["/bin/sh", "-c", script], user, async |mut task: Task| {
            assert_eq!(task.wait().await?, 0);
            assert_eq!(task.output().await?.0, "1000\r\nagain\r\n");
            Ok(task)
        }).await?;
        beside_a_sleeper(runtime, async |task: Task| {
            let mut process = in_terminal(&["sh", "-c", script]);
            process["user"] = json!({"uid": 7, "gid": 8});
            let exec = task.exec("e", process, Stdin::Terminal).await?;
            assert_eq!(exec.run_terminal().await?, (0, "7\r\nagain\r\n".into()));
            Ok(task)
        }).await
    }

    async fn a_terminal_hears_of_its_new_size(runtime: Runtime) -> Result<()> {
        with_shell(runtime, RESIZED, async |mut task: Task| {
            task.says("ready").await?;
            task.resize(120, 40).await?;
            task.says("40 120").await?;
            task.types("\u{3}").await?;
            assert_eq!(task.wait().await?, 4);
            task.output().await?;
            Ok(task)
        }).await?;
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = in_terminal(&["sh", "-c", RESIZED]);
            let mut exec = task.exec("e", exec, Stdin::Terminal).await?;
            exec.start().await?;
            exec.says("ready").await?;
            exec.resize(121, 41).await?;
            exec.says("41 121").await?;
            exec.types("\u{3}").await?;
            assert_eq!(exec.wait().await?, 4);
            exec.output().await?;
            exec.delete().await?;
            Ok(task)
        }).await
    }

    async fn ctrl_c_reaches_the_linux_program_in_the_foreground(runtime: Runtime) -> Result<()> {
        with_shell(runtime, INTERRUPTED, async |mut task: Task| {
            task.says("ready").await?;
            task.types("\u{3}").await?;
            assert_eq!(task.wait().await?, 3);
            assert_eq!(task.output().await?.0, "ready\r\n^Ccaught\r\n");
            Ok(task)
        }).await?;
        beside_a_sleeper(runtime, async |task: Task| {
            let exec = in_terminal(&["sh", "-c", "echo ready; exec sleep 3600"]);
            let mut exec = task.exec("e", exec, Stdin::Terminal).await?;
            exec.start().await?;
            exec.says("ready").await?;
            exec.types("\u{3}").await?;
            assert_eq!(exec.wait().await?, 130);
            exec.output().await?;
            exec.delete().await?;
            Ok(task)
        }).await
    }

    async fn ctrl_d_ends_the_input_of_a_terminal(runtime: Runtime) -> Result<()> {
        with_terminal(runtime, &["/bin/cat"], |_| {}, async |mut task: Task| {
            task.types("line\n").await?;
            task.says("line\r\nline\r\n").await?;
            task.types("\u{4}").await?;
            assert_eq!(task.wait().await?, 0);
            assert_eq!(task.output().await?.0, "line\r\nline\r\n");
            Ok(task)
        }).await
    }

    async fn closing_the_input_of_a_terminal_ends_whoever_reads_it(runtime: Runtime) -> Result<()> {
        with_terminal(runtime, &["/bin/cat"], |_| {}, async |mut task: Task| {
            task.types("line\nrest").await?;
            task.says("line\r\nrest").await?;
            task.close_stdin().await?;
            let code = task.wait().await?;
            if runtime == Runtime::Medley {
                // runc's shim hangs up; ours types Ctrl-D.
                assert_eq!(code, 0);
            }
            task.output().await?;
            Ok(task)
        }).await
    }

    async fn the_last_bytes_on_a_terminal_are_not_lost(runtime: Runtime) -> Result<()> {
        let script = format!("seq {MANY_LINES}");
        with_shell(runtime, &script, async |mut task: Task| {
            assert_eq!(task.wait().await?, 0);
            assert!(task.output().await?.0 == lines(MANY_LINES), "the output is not whole");
            Ok(task)
        }).await?;
        beside_a_sleeper(runtime, async |task: Task| {
            for id in ["a", "b", "c", "d", "e"] {
                let exec = in_terminal(&["seq", "3000"]);
                let exec = task.exec(id, exec, Stdin::Terminal).await?;
                let (code, said) = exec.run_terminal().await?;
                assert_eq!(code, 0);
                assert!(said == lines(3000), "the output of {id} is not whole: {said}");
            }
            Ok(task)
        }).await
    }

    async fn a_terminal_outlives_its_reader_and_takes_another(runtime: Runtime) -> Result<()> {
        let script = "while read line; do echo \"got $line\"; done";
        with_shell(runtime, script, async |mut task: Task| {
            task.types("one\n").await?;
            task.says("got one\r\n").await?;
            task.detach().await?;
            task.types("two\n").await?;
            task.attach();
            task.says("got two\r\n").await?;
            task.types("\u{4}").await?;
            assert_eq!(task.wait().await?, 0);
            task.output().await?;
            Ok(task)
        }).await
    }

    /// While containerd restarts.
    async fn a_flood_on_a_terminal_waits_for_its_reader(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        let (mut containerd, client, image) = Containerd::with_image(runtime, image).await?;
        let script = format!("read go; seq {MANY_LINES}; read go; echo end");
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", &script]).terminal();
        let container = client.create("it", &image, spec).await?;
        let mut task = container.start(Stdin::Terminal).await?;
        task.detach().await?;
        containerd.restart_after(async || task.types("go\n").await).await?;
        task.attach();
        let said = task.says(&format!("\r\n{MANY_LINES}\r\n")).await?;
        assert!(said.ends_with(&lines(MANY_LINES)), "what was said meanwhile is not whole");
        task.types("go\n").await?;
        task.says("end\r\n").await?;
        // The first call may still meet the connection to the old one.
        let mut code = task.wait().await;
        for _ in 0..100 {
            if code.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            code = task.wait().await;
        }
        assert_eq!(code?, 0);
        task.output().await?;
        task.delete().await?;
        container.delete().await?;
        containerd.close().await
    }
}

/// A guest that reads a line under `-it`, and is interrupted under it.
async fn guest(line: Vec<u8>, sleep: Vec<u8>) -> Result<()> {
    let image = images::linux_builder("guests")?
        .file("/line.wasm", line, 0o644)
        .file("/sleep.wasm", sleep, 0o644)
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;

    let spec = client.spec(&image, "line").args(["/line.wasm"]).terminal();
    let container = client.create("line", &image, spec).await?;
    let mut task = container.start(Stdin::Terminal).await?;
    task.says("a terminal\r\n").await?;
    task.types("hello\n").await?;
    assert_eq!(task.wait().await?, 0);
    let said = task.output().await?.0;
    assert_eq!(said, "a terminal\r\nhello\r\nyou said hello\r\n");
    task.delete().await?;
    container.delete().await?;

    let spec = client
        .spec(&image, "sleep")
        .args(["/sleep.wasm", "3600"])
        .terminal();
    let container = client.create("sleep", &image, spec).await?;
    let mut task = container.start(Stdin::Terminal).await?;
    // The guest ends with its answer; the Linux program waits for the end of its input.
    for (id, args, typed, answer) in [
        ("guest", ["/line.wasm", ""], "hi\n", "you said hi\r\n"),
        ("linux", ["/bin/cat", "-"], "hi\n\u{4}", "hi\r\nhi\r\n"),
    ] {
        let mut exec = task.exec(id, in_terminal(&args), Stdin::Terminal).await?;
        exec.start().await?;
        exec.types(typed).await?;
        exec.says(answer).await?;
        assert_eq!(exec.wait().await?, 0);
        exec.output().await?;
        exec.delete().await?;
    }
    task.types("\u{3}").await?;
    assert_eq!(task.wait().await?, 130);
    task.output().await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_module_reads_a_line_from_its_terminal_and_ctrl_c_ends_it() -> Result<()> {
    guest(guests::module("line")?, guests::module("sleep")?).await
}

#[tokio::test]
async fn a_component_reads_its_terminal_and_ctrl_c_ends_it() -> Result<()> {
    guest(guests::component("line")?, guests::component("sleep")?).await
}

#[tokio::test]
async fn what_has_no_terminal_has_no_size() -> Result<()> {
    beside_a_sleeper(Runtime::Medley, async |task: Task| {
        let text = refused_with(task.resize(80, 24).await, Code::FailedPrecondition)?;
        assert!(text.contains("it has no terminal"), "{text}");
        let exec = task.exec("e", process(&["true"]), Stdin::None).await?;
        let text = refused_with(exec.resize(80, 24).await, Code::FailedPrecondition)?;
        assert!(text.contains("it has no terminal"), "{text}");
        exec.run().await?;
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn a_size_set_before_start_is_the_one_it_begins_with() -> Result<()> {
    beside_a_sleeper(Runtime::Medley, async |task: Task| {
        let script = "read go; stty size";
        let exec = in_terminal(&["sh", "-c", script]);
        let mut exec = task.exec("e", exec, Stdin::Terminal).await?;
        exec.resize(77, 22).await?;
        exec.start().await?;
        exec.types("go\n").await?;
        exec.says("22 77").await?;
        assert_eq!(exec.wait().await?, 0);
        exec.output().await?;
        exec.delete().await?;
        Ok(task)
    })
    .await
}

each_runtime! {
    async fn an_exec_has_a_terminal_if_its_request_says_so(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |task: Task| {
            let script = ["sh", "-c", "test -t 0 && echo yes || echo no"];
            for (id, process, stdin, said) in [
                ("without", in_terminal(&script), Stdin::None, "no"),
                ("with", process(&script), Stdin::Terminal, "yes"),
            ] {
                let exec = task.exec(id, process, stdin).await?;
                let (code, stdout, _) = exec.run().await?;
                assert_eq!((code, stdout.trim()), (0, said));
            }
            Ok(task)
        })
        .await
    }
}

#[tokio::test]
async fn many_terminals_leave_nothing_in_the_shim() -> Result<()> {
    Scenario::of(Runtime::Medley, images::linux())
        .args(["/bin/sleep", "3600"])
        .run(async |task| {
            let run = async |id: String| {
                let exec = task.exec(&id, in_terminal(&["echo", &id]), Stdin::Terminal);
                exec.await?.run_terminal().await
            };
            assert_eq!(run("first".into()).await?.0, 0);
            let shim = task.containerd.shims()[0].pid;
            let files = || std::fs::read_dir(format!("/proc/{shim}/fd")).map_or(0, Iterator::count);
            let before = files();
            for number in 0..5 {
                let batch = (0..10).map(|each| run(format!("e{number}-{each}")));
                for (each, ran) in futures_util::future::join_all(batch)
                    .await
                    .into_iter()
                    .enumerate()
                {
                    assert_eq!(ran?, (0, format!("e{number}-{each}\r\n")));
                }
            }
            proc::until("the shim holds no more files than before", || {
                files() <= before
            })
            .await?;
            Ok(())
        })
        .await
}
