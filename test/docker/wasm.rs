//! Wasm images under Docker.

use crate::life::restarts;
use crate::{BOX, linux};
use medley_test::*;

/// The guest of this name as an image for linux/amd64, as `FROM scratch` makes it.
fn guest(name: &str) -> Result<Image> {
    images::wasm(name, &guests::module(name)?)
}

/// Makes one test out of an async function that takes a [`Docker`], or more.
macro_rules! guests_on {
    ($tests:tt $(async fn $name:ident($docker:ident: &Docker) -> Result<()> $body:block)*) => {$(
        mod $name {
            use super::*;
            async fn body($docker: &Docker) -> Result<()> $body
            docker_tests! $tests
        }
    )*};
}

guests_on! {
    { medley(Medley, Snapshotter) medley_on_overlay2(Medley, Overlay2) }
    async fn a_guest_runs_with_arguments_input_and_codes(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("hello")?, &guest("exit")?, &guest("cat")?, &guest("env")?]).await?;
        let said = docker.run_says(&["medley.test/hello", "a b", "c"]).await?;
        assert!(said.contains("a b"), "{said}");
        assert_eq!(docker.run(&["medley.test/exit", "42"]).await?.code, 42);
        let cat = ["run", "--rm", "-i", "--runtime", docker.flag(), "medley.test/cat"];
        assert_eq!(docker.docker_reads("some words\n", &cat).await?.out, "some words\n");
        let env = docker.run_says(&["-e", "COLOUR=red", "--hostname", "box", "medley.test/env"]).await?;
        assert!(env.lines().any(|line| line == "COLOUR=red"), "{env}");
        let said = docker.run(&["medley.test/hello", "--entrypoint", "/nope.wasm"]).await?;
        assert_eq!(said.code, 0, "options after the image are the guest's");
        let said = docker.run(&["--entrypoint", "/nope.wasm", "medley.test/hello"]).await?;
        assert_eq!(said.code, 127, "{}", said.err);
        Ok(())
    }

    async fn a_guest_is_stopped_restarted_paused_and_removed(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("tick")?]).await?;
        docker.up("it", &["medley.test/tick", "1000000", "20"]).await?;
        let ticks = |said: &str| said.contains("tick 3");
        docker.until_says(&["logs", "it"], ticks).await?;
        for _ in 0..restarts() {
            docker.says(&["restart", "it"]).await?;
        }
        docker.says(&["pause", "it"]).await?;
        docker.says(&["unpause", "it"]).await?;
        docker.says(&["update", "-m", "64m", "--memory-swap", "64m", "it"]).await?;
        docker.says(&["stop", "it"]).await?;
        assert_eq!(docker.inspect("it", "{{.State.ExitCode}}").await?, "143");
        docker.says(&["start", "it"]).await?;
        docker.says(&["kill", "it"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "137");
        docker.says(&["rm", "it"]).await?;
        docker.expect_clean()
    }

    async fn a_guest_whose_shim_is_killed_is_restarted(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("sleep")?]).await?;
        docker.up("it", &["--restart", "always", "medley.test/sleep", "3600"]).await?;
        let shims = docker.containerd().shims();
        assert_eq!(shims.len(), 1, "{shims:?}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shims[0].pid), nix::sys::signal::Signal::SIGKILL)?;
        docker.until("it", "{{.State.Status}} {{.RestartCount}}", "running 1").await?;
        docker.says(&["rm", "-f", "it"]).await?;
        docker.expect_clean()
    }
}

guests_on! {
    { medley(Medley, Snapshotter) }
    async fn top_shows_the_guests_own_arguments(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("sleep")?]).await?;
        docker.up("it", &["-m", "64m", "medley.test/sleep", "3600"]).await?;
        let top = docker.says(&["top", "it", "-eo", "pid,args"]).await?;
        let line = top.lines().nth(1).unwrap_or_default().trim();
        assert!(line.ends_with("/sleep.wasm 3600"), "{top}");
        let stats = docker.says(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "it"]).await?;
        assert!(stats.starts_with("it ") && stats.ends_with(" / 64MiB"), "{stats}");
        Ok(())
    }

    async fn guest_files_and_volumes_are_as_asked(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("files")?]).await?;
        let name = "medley.test/files";
        docker.run_says(&["-v", "store:/store", name, "write", "/store/word", "kept"]).await?;
        let read = docker.run_says(&["-v", "store:/store:ro", name, "read", "/store/word"]).await?;
        assert!(read.contains("kept"), "{read}");
        assert_eq!(docker.run(&["-v", "store:/store:ro", name, "write", "/store/x", "y"]).await?.code, 1);
        assert_eq!(docker.run(&["--read-only", name, "write", "/x", "y"]).await?.code, 1);
        docker.run_says(&["--read-only", "--tmpfs", "/t", name, "write", "/t/x", "y"]).await?;
        docker.up("it", &["-u", "1000", "-v", "store:/store", "--name", "it", name, "read", "/store/word"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "0");
        Ok(())
    }

    async fn a_server_of_http_is_published(docker: &Docker) -> Result<()> {
        let image = ImageBuilder::scratch("server")
            .file("/handler.wasm", guests::handler("http-handler")?, 0o644)
            .entrypoint(["/handler.wasm"])
            .build()?;
        docker.load(&[&image, &linux()?]).await?;
        docker.says(&["network", "create", "ours"]).await?;
        docker.up("web", &["--network", "ours", "-p", "8080:8080", "medley.test/server"]).await?;
        assert_eq!(docker.fetch("http://127.0.0.1:8080/hello").await?, "hello\n");
        let get = ["run", "--rm", "--runtime", docker.flag(), "--network", "ours", BOX, "wget", "-qO-", "http://web:8080/hello"];
        assert_eq!(docker.says(&get).await?, "hello");
        docker.says(&["restart", "web"]).await?;
        assert_eq!(docker.fetch("http://127.0.0.1:8080/hello").await?, "hello\n");
        Ok(())
    }

    async fn a_guest_on_a_terminal_reads_lines(docker: &Docker) -> Result<()> {
        docker.load(&[&guest("line")?]).await?;
        let run = ["run", "--rm", "-it", "--runtime", docker.flag(), "medley.test/line"];
        let mut terminal = docker.on_terminal(&run)?;
        terminal.says("a terminal").await?;
        terminal.types("words\n")?;
        terminal.says("you said words").await?;
        assert_eq!(terminal.wait().await?, 0);
        let mut terminal = docker.on_terminal(&run)?;
        terminal.says("a terminal").await?;
        terminal.types("\u{3}")?;
        assert_eq!(terminal.wait().await?, 130);
        Ok(())
    }

    async fn exec_and_healthchecks_run_another_module_of_the_image(docker: &Docker) -> Result<()> {
        let image = ImageBuilder::scratch("pair")
            .file("/sleep.wasm", guests::module("sleep")?, 0o644)
            .file("/exit.wasm", guests::module("exit")?, 0o644)
            .entrypoint(["/sleep.wasm"])
            .healthcheck(["/exit.wasm", "0"])
            .build()?;
        docker.load(&[&image]).await?;
        docker.up("it", &["--health-interval", "100ms", "medley.test/pair"]).await?;
        docker.until("it", "{{.State.Health.Status}}", "healthy").await?;
        assert_eq!(docker.exec(&["it", "/exit.wasm", "7"]).await?.code, 7);
        assert_eq!(docker.exec(&["it", "/nope.wasm"]).await?.code, 127);
        Ok(())
    }

    async fn an_image_for_wasi_wasm_runs_by_its_platform(docker: &Docker) -> Result<()> {
        let image = ImageBuilder::scratch("wasi")
            .file("/hello.wasm", guests::module("hello")?, 0o644)
            .entrypoint(["/hello.wasm"])
            .platform("wasi", "wasm")
            .build()?;
        docker.load(&[&image]).await?;
        for runtime in [docker.flag(), "medley"] {
            let run = ["run", "--rm", "--runtime", runtime, "--platform", "wasi/wasm", "medley.test/wasi", "word"];
            let said = docker.says(&run).await?;
            assert!(said.contains("word"), "{said}");
        }
        // The runtime that dockerd's configuration names has options there.
        let cached = std::fs::read_dir(docker.dir().join("cache"))?.count();
        assert_ne!(cached, 0);
        Ok(())
    }

    async fn an_annotation_decides_what_runs(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let wanted = ["--annotation", "module.wasm.image/variant=compat", BOX, "true"];
        let said = docker.run(&wanted).await?;
        assert!(said.code != 0 && said.err.contains("compat"), "{}", said.err);
        Ok(())
    }
}
