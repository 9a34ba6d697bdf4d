//! Terminals: run, exec, attach, detach, sizes.

use crate::{BOX, linux};
use medley_test::*;

/// What detaches a client.
const DETACH: &str = "\u{10}\u{11}";

each_docker! {
    async fn a_shell_on_a_terminal_knows_its_size_and_ends_with_its_code(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let mut shell = docker.on_terminal(&["run", "--rm", "-it", "--runtime", docker.flag(), BOX, "sh"])?;
        shell.says("/ # ").await?;
        shell.types("tty; stty size\n")?;
        shell.says("/dev/pts/0").await?;
        shell.says("30 100").await?;
        shell.resize(77, 22)?;
        shell.types("until [ \"$(stty size)\" = '22 77' ]; do sleep 0.05; done; echo si''zed\n")?;
        shell.says("sized").await?;
        // The shell's editor is off when the command runs, and Ctrl-C is a signal.
        shell.types("(echo run''ning; sleep 3600)\n")?;
        shell.says("running").await?;
        shell.types("\u{3}")?;
        shell.says("^C").await?;
        shell.types("echo $?-in''terrupted\n")?;
        shell.says("130-interrupted").await?;
        shell.types("exit 9\n")?;
        assert_eq!(shell.wait().await?, 9);
        Ok(())
    }

    async fn exec_on_a_terminal_is_a_session_of_its_own(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sleep", "3600"]).await?;
        let mut shell = docker.on_terminal(&["exec", "-it", "it", "sh"])?;
        shell.says("/ # ").await?;
        shell.types("tty; stty size; ps -o tty,args | tail -n 3\n")?;
        shell.says("/dev/pts/0").await?;
        shell.says("30 100").await?;
        shell.types("exit 4\n")?;
        assert_eq!(shell.wait().await?, 4);
        let said = docker.exec(&["-t", "it", "sh", "-c", "tty; exit 3"]).await?;
        assert!(said.code == 3 && said.out.starts_with("/dev/pts/"), "{said:?}");
        Ok(())
    }

    async fn a_client_detaches_and_another_attaches(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let mut first = docker.on_terminal(&["run", "-it", "--name", "it", "--runtime", docker.flag(), BOX, "sh"])?;
        first.says("/ # ").await?;
        first.types("echo fi''rst\n")?;
        first.says("first").await?;
        first.types(DETACH)?;
        assert_eq!(first.wait().await?, 0);
        assert_eq!(docker.inspect("it", "{{.State.Status}}").await?, "running");
        for round in ["se''cond", "th''ird"] {
            let mut next = docker.on_terminal(&["attach", "it"])?;
            next.types(&format!("echo {round}\n"))?;
            next.says(&round.replace("''", "")).await?;
            next.types(DETACH)?;
            next.wait().await?;
        }
        let mut last = docker.on_terminal(&["attach", "it"])?;
        last.types("exit 5\n")?;
        assert_eq!(last.wait().await?, 5);
        let logs = docker.says(&["logs", "it"]).await?;
        assert!(["first", "second", "third"].iter().all(|word| logs.contains(word)), "{logs}");
        Ok(())
    }

    async fn attach_without_a_terminal_passes_signals_on(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done";
        docker.up("it", &[BOX, "sh", "-c", script]).await?;
        docker.until_says(&["logs", "it"], |said| said.contains("ready")).await?;
        let (attached, sent) = tokio::join!(docker.docker(&["attach", "--no-stdin", "it"]), async {
            docker.says(&["kill", "--signal", "INT", "it"]).await
        });
        sent?;
        let attached = attached?;
        // Too late to attach, it is refused.
        assert!(attached.code == 7 || attached.err.contains("not running") || attached.err.contains("stopped"), "{attached:?}");
        assert_eq!(docker.says(&["wait", "it"]).await?, "7");
        Ok(())
    }
}
