//! A life by command line: create, start, kill, delete, and run.

use medley_test::*;
use serde_json::{Value, json};

each_runtime! {
    async fn a_container_goes_through_every_state(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "echo begun; exec sleep 3600", |spec| {
            spec.annotation("org.example", "yes")
        })?;
        let output = oci.create("it", &bundle)?;
        let state = oci.state("it")?;
        assert_eq!(state["status"], "created");
        assert_eq!(state["id"], "it");
        assert_eq!(state["bundle"], json!(bundle));
        assert_eq!(state["annotations"]["org.example"], "yes");
        let pid = state["pid"].as_u64().context("no pid")?;
        assert!(proc::is_alive(pid.try_into()?));
        assert_eq!(std::fs::read_to_string(&output)?, "", "it runs before Start");

        let again = oci.run(&["create", "--bundle", &bundle.to_string_lossy(), "it"])?;
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("already exists"), "{}", again.stderr);

        oci.run(&["start", "it"])?.ok()?;
        let state = oci.state("it")?;
        assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)));
        proc::until("it has written", || {
            std::fs::read_to_string(&output).is_ok_and(|text| text == "begun\n")
        })
        .await?;
        let started_again = oci.run(&["start", "it"])?;
        assert_eq!(started_again.code, 1);
        let running = oci.run(&["delete", "it"])?;
        assert_eq!(running.code, 1);
        assert!(running.stderr.contains("that is not stopped: running"), "{}", running.stderr);

        let listed: Value = serde_json::from_str(&oci.run(&["list", "--format", "json"])?.ok()?)?;
        assert_eq!(listed[0]["id"], "it");
        assert_eq!(listed[0]["owner"], "root");
        assert_eq!(oci.run(&["list", "-q"])?.ok()?, "it\n");

        oci.run(&["kill", "it", "KILL"])?.ok()?;
        oci.until("it", "stopped").await?;
        assert_eq!(oci.state("it")?["pid"], 0);
        let killed = oci.run(&["kill", "it", "TERM"])?;
        assert_eq!(killed.code, 1);
        assert!(killed.stderr.contains("container not running"), "{}", killed.stderr);
        oci.run(&["delete", "it"])?.ok()?;
        let gone = oci.run(&["state", "it"])?;
        assert_eq!(gone.code, 1);
        assert!(gone.stderr.contains("does not exist"), "{}", gone.stderr);
        oci.close()
    }

    async fn run_gives_the_exit_status_and_leaves_nothing(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "echo out; echo err >&2; exit 7", |spec| spec)?;
        let said = oci.run(&["run", "--bundle", &bundle.to_string_lossy(), "it"])?;
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (7, "out\n", "err\n"));
        oci.close()
    }

    async fn what_is_written_to_dev_null_is_no_error(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "echo out && echo err >&2 && read line; [ -z $line ]", |spec| spec)?;
        let mut command = oci.command(&["run", "--bundle", &bundle.to_string_lossy(), "it"]);
        let null = || std::process::Stdio::null();
        let status = command.stdin(null()).stdout(null()).stderr(null()).status()?;
        assert!(status.success(), "{status}");
        oci.close()
    }

    async fn signals_of_run_are_the_containers(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let script = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
        let bundle = oci.script("it", script, |spec| spec)?;
        let started = oci.start(oci.command(&["run", "--bundle", &bundle.to_string_lossy(), "it"]))?;
        oci.until("it", "running").await?;
        let pid = oci.state("it")?["pid"].as_u64().context("no pid")?;
        proc::until("it has its handler", || proc::catches(pid.try_into().unwrap_or(0), 15)).await?;
        let run = nix::unistd::Pid::from_raw(started.child.id().try_into()?);
        nix::sys::signal::kill(run, nix::sys::signal::Signal::SIGTERM)?;
        assert_eq!(started.wait()?.code, 5);
        oci.close()
    }

    async fn a_detached_container_is_left_behind(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "exec sleep 3600", |spec| spec)?;
        let pid_file = oci.dir().join("pid");
        let args = ["run", "--detach", "--pid-file", &pid_file.to_string_lossy(), "--bundle"];
        let mut command = oci.command(&args);
        command.arg(&bundle).arg("it");
        oci.start(command)?.wait()?.ok()?;
        let state = oci.state("it")?;
        assert_eq!(state["status"], "running");
        assert_eq!(std::fs::read_to_string(pid_file)?, state["pid"].to_string());
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }

    async fn a_paused_container_goes_on(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "exec sleep 3600", |spec| spec)?;
        oci.create("it", &bundle)?;
        oci.run(&["start", "it"])?.ok()?;
        oci.run(&["pause", "it"])?.ok()?;
        assert_eq!(oci.state("it")?["status"], "paused");
        assert_eq!(oci.run(&["exec", "it", "true"])?.code, 255);
        oci.run(&["resume", "it"])?.ok()?;
        assert_eq!(oci.state("it")?["status"], "running");
        oci.run(&["exec", "it", "true"])?.ok()?;
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }
}

/// Hooks are run by commands that end: each of them hears of its state.
#[tokio::test]
async fn hooks_run_at_their_moments() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let notes = oci.dir().join("notes");
    let bundle = oci.script("it", "exec sleep 3600", |spec| {
        spec.edit(|json| {
            for kind in ["createRuntime", "poststart", "poststop"] {
                let script = format!(
                    "state=$(tr -d '\\n '); echo {kind} \"$state\" >> {}",
                    notes.display()
                );
                json["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script],
                    "env": ["PATH=/usr/bin:/bin"]}]);
            }
        })
    })?;
    oci.create("it", &bundle)?;
    oci.run(&["start", "it"])?.ok()?;
    oci.run(&["delete", "--force", "it"])?.ok()?;
    let text = std::fs::read_to_string(&notes)?;
    let kinds: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(kinds, ["createRuntime", "poststart", "poststop"], "{text}");
    for (line, status) in text.lines().zip(["creating", "running", "stopped"]) {
        assert!(line.contains(&format!("\"status\":\"{status}\"")), "{line}");
        let told = format!("\"bundle\":\"{}\"", bundle.display());
        assert!(line.contains(&told), "{line}");
    }
    oci.close()
}
