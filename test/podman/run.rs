//! `podman run` and `podman exec`, in the foreground: streams, codes, users, terminals.

use crate::{BOX, linux};
use medley_test::*;

const RUN: [&str; 4] = ["run", "--rm", "--network", "none"];

each_podman_and_user! {
    async fn streams_and_codes_are_the_programs_own(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let run = async |args: &[&str]| podman.podman(&[&RUN[..], &[BOX], args].concat()).await;
        let said = run(&["sh", "-c", "echo out; echo err >&2; exit 33"]).await?;
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (33, "out\n", "err\n"));
        assert_eq!(run(&["nope"]).await?.code, 127);
        assert_eq!(run(&["/etc/note"]).await?.code, 126);
        let said = podman.podman_reads("some words\n", &[&RUN[..], &["-i", BOX, "cat"]].concat()).await?;
        assert_eq!(said.out, "some words\n", "{}", said.err);
        Ok(())
    }

    async fn exec_runs_beside_with_codes_of_its_own(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        podman.up("it", &["--network", "none", "-e", "COLOUR=red", BOX, "sleep", "3600"]).await?;
        let exec = async |args: &[&str]| podman.podman(&[&["exec"], args].concat()).await;
        let said = exec(&["it", "sh", "-c", "echo $COLOUR; exit 9"]).await?;
        assert_eq!((said.code, said.out.as_str()), (9, "red\n"), "{}", said.err);
        assert_eq!(exec(&["-u", "u", "-w", "/tmp", "it", "sh", "-c", "id -un; pwd"]).await?.out, "u\n/tmp\n");
        assert_eq!(exec(&["it", "nope"]).await?.code, 127);
        assert_eq!(exec(&["it", "/etc/note"]).await?.code, 126);
        let said = podman.podman_reads("some words\n", &["exec", "-i", "it", "cat"]).await?;
        assert_eq!(said.out, "some words\n", "{}", said.err);
        let top = podman.says(&["top", "it", "args"]).await?;
        assert!(top.contains("sleep 3600"), "{top}");
        exec(&["-d", "it", "touch", "/tmp/made"]).await?;
        podman.until_says(&["exec", "it", "ls", "/tmp"], |said| said.contains("made")).await?;
        Ok(())
    }

    async fn terminals_are_given_to_run_and_exec(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let said = podman.says(&[&RUN[..], &["-t", BOX, "sh", "-c", "tty; stty size"]].concat()).await?;
        assert!(said.starts_with("/dev/pts/0"), "{said}");
        podman.up("it", &["--network", "none", "-t", BOX, "sleep", "3600"]).await?;
        let said = podman.says(&["exec", "-t", "it", "tty"]).await?;
        assert!(said.starts_with("/dev/pts/"), "{said}");
        Ok(())
    }

    async fn a_root_that_is_read_only_and_rights_taken_away(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let less = ["--read-only", "--user", "u", "--cap-drop", "all", "--security-opt", "no-new-privileges"];
        let script = "id -u; touch /file || echo no; grep -E 'NoNewPrivs|CapEff' /proc/self/status";
        let said = podman.says(&[&RUN[..], &less, &[BOX, "sh", "-c", script]].concat()).await?;
        let said: Vec<_> = said.split_whitespace().collect();
        assert_eq!(said, ["1000", "no", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]);
        let dir = podman.dir().join("shared");
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("file"), "of the host\n")?;
        let mount = format!("{}:/data:ro", dir.display());
        let script = "cat /data/file; touch /data/file || echo no";
        let said = podman.says(&[&RUN[..], &["-v", &mount, BOX, "sh", "-c", script]].concat()).await?;
        assert_eq!(said, "of the host\nno");
        Ok(())
    }
}

each_podman! {
    async fn a_small_init_reaps_for_the_program(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let said = podman.says(&[&RUN[..], &["--init", BOX, "cat", "/proc/1/comm"]].concat()).await?;
        assert!(said.contains("catatonit") || said.contains("init"), "{said}");
        Ok(())
    }

    async fn users_are_mapped_where_it_is_asked(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let map = ["--uidmap", "0:3000000:2000", "--gidmap", "0:3000000:2000"];
        let script = "tr -s ' ' </proc/self/uid_map; id -u";
        let said = podman.says(&[&RUN[..], &map, &[BOX, "sh", "-c", script]].concat()).await?;
        assert_eq!(said.trim(), "0 3000000 2000\n0");
        Ok(())
    }
}
