//! The words by which Docker and others tell the exit codes 127 and 126 of a program that can't run.

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;

/// As Docker maps what Start says: `translateContainerdStartErr` of its daemon.
fn exit_code(text: &str) -> Option<u32> {
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["permission denied", "is a directory", "not a directory"]) {
        Some(126)
    } else if says(&["executable file not found", "no such file or directory"]) {
        Some(127)
    } else {
        None
    }
}

/// Programs that can't be run, and the exit codes for them.
const BAD: [(&str, u32); 6] = [
    ("nowhere", 127),
    ("/nowhere", 127),
    ("/dangling", 127),
    ("/etc/passwd", 126),
    ("/etc", 126),
    ("/etc/passwd/below", 126),
];

fn image() -> Result<images::Image> {
    images::linux_builder("bad")?
        .symlink("/dangling", "/not/here")
        .file("/no-program", "neither", 0o755)
        .file("/no-loader", "#!/no/interpreter\n", 0o755)
        .build()
}

each_runtime! {
    async fn a_program_that_cannot_run_is_told_as_runc_does(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, image()?).await?;
        for (program, code) in BAD {
            let spec = client.spec(&image, "it").args([program]);
            let status = client.refused("it", &image, spec).await?;
            assert_eq!(exit_code(status.message()), Some(code), "{program}: {status}");
        }
        containerd.close().await
    }

    async fn an_exec_that_cannot_run_is_told_as_runc_does(runtime: Runtime) -> Result<()> {
        Scenario::of(runtime, image()).args(["/bin/sleep", "3600"]).run(async |task| {
            for (n, (program, code)) in BAD.into_iter().enumerate() {
                // One that fails is there until it is deleted.
                let ran = task.run_exec(&n.to_string(), process(&[program])).await;
                let text = format!("{:#}", ran.err().context("it runs")?);
                assert_eq!(exit_code(&text), Some(code), "{program}: {text}");
            }
            Ok(())
        }).await
    }
}

/// runc starts these, and their containers end with 1 and the kernel's word.
#[tokio::test]
async fn what_the_kernel_would_not_execute_is_told_before() -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image()?).await?;
    let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    for (program, code) in [("/no-program", 126), ("/no-loader", 127)] {
        let spec = client.spec(&image, "bad").args([program]);
        let status = client.refused("bad", &image, spec).await?;
        assert_eq!(exit_code(status.message()), Some(code), "{status}");
        let ran = task.run_exec(&code.to_string(), process(&[program])).await;
        let text = format!("{:#}", ran.err().context("it runs")?);
        assert_eq!(exit_code(&text), Some(code), "{text}");
    }
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}
