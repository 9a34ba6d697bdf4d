//! Output that goes to a file, or to a program that logs it.

use medley_test::client::{process, refused_with};
use medley_test::*;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use containerd_client::tonic::Code;

/// A shell script for a logging driver.
const DRIVER: &str = r#"#!/bin/sh
# Called with `dir DIR`: keeps there who it logs for, how it was called, and what it is given.
cd "$2"
echo "$CONTAINER_NAMESPACE $CONTAINER_ID $*" >called
"#;

/// Logs both streams, each to a file, until their ends.
const COPY: &str = "cat <&3 5>&- >stdout & cat <&4 5>&- >stderr & printf r >&5; exec 5>&-; wait";

/// As [`COPY`], but in no hurry.
const SLOW: &str = "printf r >&5; exec 5>&-; sleep 1; cat <&3 >stdout; sleep 0.5; cat <&4 >stderr";

/// Is ready, and goes.
const BRIEF: &str = "printf r >&5";

/// Goes without a word.
const SILENT: &str = "exit 3";

/// Is never ready.
const HANGING: &str = "exec sleep 3600";

/// Reads everything, and stays until it is told to go.
const STUBBORN: &str = "cat <&3 5>&- >stdout & sleep 3600 3<&- 4<&- 5>&- & pid=$!; \
                        trap 'echo told >told; kill $pid; exit 0' TERM; \
                        printf r >&5; exec 3<&- 4<&- 5>&-; wait $pid";

/// A logging driver in a dir of its own.
struct Driver(PathBuf);

impl Driver {
    fn new(containerd: &Containerd, name: &str, body: &str) -> Result<Self> {
        let dir = containerd.dir().join("drivers").join(name);
        std::fs::create_dir_all(&dir)?;
        let program = dir.join("driver");
        std::fs::write(&program, format!("{DRIVER}{body}\n"))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self(dir))
    }

    fn uri(&self, scheme: &str) -> String {
        let dir = self.0.display();
        format!("{scheme}://{dir}/driver?dir={dir}")
    }

    /// What it has written.
    fn wrote(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

/// Runs a container of the Linux image whose output goes where `uri` says, and deletes it.
async fn run_to(client: &Client, image: &Image, id: &str, uri: &str, script: &str) -> Result<u32> {
    let spec = client.spec(image, id).args(["/bin/sh", "-c", script]);
    let container = client.create(id, image, spec).await?;
    let task = container.task_to(uri, uri, false).await?;
    task.start().await?;
    let code = task.wait().await?;
    task.delete().await?;
    container.delete().await?;
    Ok(code)
}

async fn with_image(runtime: Runtime) -> Result<(Containerd, Image)> {
    let containerd = Containerd::start(runtime).await?;
    let image = images::linux()?;
    containerd.import(&[&image]).await?;
    Ok((containerd, image))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Ours alone: with one file for both streams, runc's shim may lose the one whose last words come late.
#[tokio::test]
async fn both_streams_are_appended_to_a_file_whose_dirs_are_made() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let log = containerd.dir().join("new/folders/log");
    let uri = format!("file://{}", log.display());
    let script = "echo out; sleep 0.1; echo err >&2";
    assert_eq!(run_to(&client, &image, "one", &uri, script).await?, 0);
    assert_eq!(run_to(&client, &image, "two", &uri, "echo again").await?, 0);
    assert_eq!(text(&log), "out\nerr\nagain\n");
    let mode = std::fs::metadata(&log)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    containerd.close().await
}

each_runtime! {
    async fn a_logging_driver_gets_both_streams_and_their_names(runtime: Runtime) -> Result<()> {
        let (containerd, image) = with_image(runtime).await?;
        let client = containerd.client().await?;
        let driver = Driver::new(&containerd, "copy", COPY)?;
        let script = "echo out; echo err >&2; exit 5";
        assert_eq!(run_to(&client, &image, "it", &driver.uri("binary"), script).await?, 5);
        let called = format!("{} it dir {}\n", client.namespace(), driver.0.display());
        proc::until("the driver has written everything", || {
            driver.wrote("called") == called
                && driver.wrote("stdout") == "out\n"
                && driver.wrote("stderr") == "err\n"
        })
        .await?;
        containerd.close().await
    }

    async fn the_output_of_an_exec_goes_to_a_file_or_a_driver_too(runtime: Runtime) -> Result<()> {
        let (containerd, image) = with_image(runtime).await?;
        let client = containerd.client().await?;
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", &image, spec).await?;
        let task = container.start(stdio::Stdin::None).await?;
        let driver = Driver::new(&containerd, "copy", COPY)?;
        let log = containerd.dir().join("output");
        for (id, uri) in [
            ("file", format!("file://{}", log.display())),
            ("driver", driver.uri("binary")),
        ] {
            let process = process(&["sh", "-c", "echo out; exit 7"]);
            let exec = task.exec_to(id, process, &uri, &uri, false).await?;
            exec.start().await?;
            assert_eq!(exec.wait().await?, 7);
            exec.delete().await?;
        }
        assert_eq!(text(&log), "out\n");
        proc::until("the driver has written everything", || {
            driver.wrote("called").contains(" driver ") && driver.wrote("stdout") == "out\n"
        })
        .await?;
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn delete_waits_until_a_driver_has_read_everything() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let driver = Driver::new(&containerd, "slow", SLOW)?;
    let script = "seq 5000; echo err >&2";
    let uri = driver.uri("binary-v2");
    assert_eq!(run_to(&client, &image, "it", &uri, script).await?, 0);
    let lines: String = (1..=5000).map(|line| format!("{line}\n")).collect();
    assert!(driver.wrote("stdout") == lines, "it is not whole");
    assert_eq!(driver.wrote("stderr"), "err\n");
    containerd.close().await
}

/// Once it has read everything.
#[tokio::test]
async fn a_driver_that_stays_is_told_to_go() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let driver = Driver::new(&containerd, "stubborn", STUBBORN)?;
    let uri = driver.uri("binary-v2");
    assert_eq!(run_to(&client, &image, "it", &uri, "echo out").await?, 0);
    assert_eq!(driver.wrote("stdout"), "out\n");
    assert_eq!(driver.wrote("told"), "told\n");
    containerd.close().await
}

#[tokio::test]
async fn the_death_of_a_driver_neither_kills_nor_blocks_its_container() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let driver = Driver::new(&containerd, "brief", BRIEF)?;
    let script = "seq 100000 && seq 100000 >&2 && exit 9";
    let uri = driver.uri("binary-v2");
    let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
    let container = client.create("it", &image, spec).await?;
    let task = container.task_to(&uri, &uri, false).await?;
    let shim = containerd.shims()[0].pid.unsigned_abs();
    task.start().await?;
    assert_eq!(task.wait().await?, 9);
    proc::until("the driver is reaped", || proc::zombies_of(shim).is_empty()).await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_driver_that_does_not_run_fails_create_with_its_name() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let silent = Driver::new(&containerd, "silent", SILENT)?;
    let hanging = Driver::new(&containerd, "hanging", HANGING)?;
    let spec = client.spec(&image, "it").args(["/bin/true"]);
    let container = client.create("it", &image, spec).await?;
    for (uri, name, reason) in [
        (
            "binary:///no/such/driver".to_owned(),
            "/no/such/driver",
            "No such file",
        ),
        (
            silent.uri("binary-v2"),
            "silent/driver",
            "without having said that it is ready",
        ),
        (hanging.uri("binary"), "hanging/driver", "within 10s"),
        ("syslog://here".to_owned(), "syslog://here", "binary-v2"),
        (
            "file:relative".to_owned(),
            "file:relative",
            "no absolute path",
        ),
    ] {
        let refused = container.task_to(&uri, &uri, false).await;
        let text = refused_with(refused, Code::Unknown)?;
        assert!(text.contains(name) && text.contains(reason), "{text}");
    }
    // Nothing was changed: the same container runs.
    let uri = silent.uri("binary");
    let task = container.task_to(&uri, &uri, false).await?;
    task.start().await?;
    assert_eq!(task.wait().await?, 0);
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn what_a_terminal_shows_can_be_logged() -> Result<()> {
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let driver = Driver::new(&containerd, "copy", COPY)?;
    let log = containerd.dir().join("output");
    let script = "test -t 1 && echo out; echo err >&2";
    for (id, uri) in [
        ("file", format!("file://{}", log.display())),
        ("driver", driver.uri("binary")),
    ] {
        let spec = client.spec(&image, id).args(["/bin/sh", "-c", script]);
        let container = client.create(id, &image, spec.terminal()).await?;
        let task = container.task_to(&uri, &uri, true).await?;
        task.start().await?;
        assert_eq!(task.wait().await?, 0);
        task.delete().await?;
        container.delete().await?;
    }
    assert_eq!(text(&log), "out\r\nerr\r\n");
    assert_eq!(driver.wrote("stdout"), "out\r\nerr\r\n");
    assert_eq!(driver.wrote("stderr"), "");
    containerd.close().await
}

each_runtime! {
    async fn a_stderr_beside_a_terminal_is_left_alone(runtime: Runtime) -> Result<()> {
        let (containerd, image) = with_image(runtime).await?;
        let client = containerd.client().await?;
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", &image, spec.terminal()).await?;
        // runc's shim waits for a reader.
        let output = containerd.dir().join("output");
        nix::unistd::mkfifo(&output, nix::sys::stat::Mode::S_IRWXU)?;
        let _reader = std::fs::File::options().read(true).write(true).open(&output)?;
        let output = output.display().to_string();
        let task = container.task_to(&output, "/somewhere/else", true).await?;
        task.start().await?;
        let mut process = process(&["true"]);
        process["terminal"] = json!(true);
        let exec = task
            .exec_to("e", process, &output, "/somewhere/else", true)
            .await?;
        exec.start().await?;
        assert_eq!(exec.wait().await?, 0);
        exec.delete().await?;
        assert!(!std::path::Path::new("/somewhere").exists());
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn a_guest_that_is_to_log_to_nobody_is_refused() -> Result<()> {
    let image = images::wasm("hello", &guests::module("hello")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let plain = client
        .create("plain", &image, client.spec(&image, "plain"))
        .await?;
    for (uri, name, reason) in [
        ("syslog://here", "syslog://here", "binary-v2"),
        (
            "binary:///no/such/driver",
            "/no/such/driver",
            "No such file",
        ),
    ] {
        let refused = plain.task_to(uri, uri, false).await;
        let text = refused_with(refused, Code::Unknown)?;
        assert!(text.contains(name) && text.contains(reason), "{text}");
    }
    // Nothing was changed: the same container runs.
    let task = plain.task_to("", "", false).await?;
    task.start().await?;
    assert_eq!(task.wait().await?, 0);
    task.delete().await?;
    plain.delete().await?;
    containerd.close().await
}

/// A file system of some pages, below the containerd's dir.
struct Small(PathBuf);

impl Small {
    fn mount(containerd: &Containerd) -> Result<Self> {
        let dir = containerd.dir().join("small");
        std::fs::create_dir(&dir)?;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("small"), &dir, Some("tmpfs"), flags, Some("size=64k"))?;
        Ok(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).ok();
    }
}

#[tokio::test]
async fn a_log_on_a_full_disk_goes_on_and_tells_what_is_missing() -> Result<()> {
    /// Says 200,000 bytes when it is told to, and then a last line.
    const SCRIPT: &str = "trap 'i=0; while [ $i -lt 200 ]; do printf \"%0999d\\n\" $i; i=$((i+1)); done; \
                          echo >/said' USR1; trap 'echo last; exit 7' USR2; echo first; \
                          while :; do sleep 0.1; done";
    let (containerd, image) = with_image(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let small = Small::mount(&containerd)?;
    let log = small.0.join("log");
    let uri = format!("file://{}", log.display());
    let spec = client.spec(&image, "it").args(["/bin/sh", "-c", SCRIPT]);
    let container = client.create("it", &image, spec).await?;
    let task = container.task_to(&uri, &uri, false).await?;
    task.start().await?;
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    proc::until("the first line is there", || text() == "first\n").await?;
    let ballast = small.0.join("ballast");
    std::fs::write(&ballast, [0; 8 << 10])?;
    task.kill(10, false).await?;
    let said = PathBuf::from(format!("/proc/{}/root/said", task.pid));
    proc::until("all is said, and the program was not held up", || {
        said.exists()
    })
    .await?;
    std::fs::remove_file(&ballast)?;
    task.kill(12, false).await?;
    assert_eq!(task.wait().await?, 7);
    task.delete().await?;
    container.delete().await?;
    let text = text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        (lines.first(), lines.last()),
        (Some(&"first"), Some(&"last")),
        "{text}"
    );
    let missing = |line: &&&str| line.contains("bytes of output are missing here");
    assert_eq!(lines.iter().filter(missing).count(), 1, "{text}");
    let told = containerd.log();
    assert_eq!(told.matches("cannot log to").count(), 1, "{told}");
    drop(small);
    containerd.close().await
}
