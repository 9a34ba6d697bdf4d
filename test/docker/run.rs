//! `docker run` and its commonest options.

use crate::{BOX, linux};
use medley_test::*;

each_docker_and_storage! {
    async fn a_command_reads_writes_and_ends_with_its_own_code(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let said = docker.run(&[BOX, "sh", "-c", "echo out; echo err >&2; exit 42"]).await?;
        assert_eq!((said.code, &*said.out, &*said.err), (42, "out\n", "err\n"));
        let run = ["run", "--rm", "-i", "--runtime", docker.flag(), BOX, "cat"];
        let said = docker.docker_reads("some words\n", &run).await?;
        assert_eq!((said.code, &*said.out), (0, "some words\n"));
        let said = docker.run(&[BOX, "sh", "-c", "kill -9 $$; exec false"]).await?;
        assert_eq!(said.code, 1, "init of a pid namespace is not killed from inside");
        let said = docker.run(&["--init", BOX, "sh", "-c", "kill -9 $$"]).await?;
        assert_eq!(said.code, 137);
        Ok(())
    }

    async fn what_is_not_there_ends_with_127_and_no_program_with_126(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        for (program, code) in [
            ("nope", 127),
            ("/bin/nope", 127),
            ("./nope", 127),
            ("/etc/note", 126),
            ("/etc", 126),
        ] {
            let said = docker.run(&[BOX, program]).await?;
            assert_eq!(said.code, code, "{program}: {}", said.err);
            assert!(said.err.contains(program), "{}", said.err);
        }
        assert_eq!(docker.says(&["ps", "-aq"]).await?, "");
        Ok(())
    }
}

each_docker! {
    async fn the_command_of_an_image_can_be_overridden(docker: &Docker) -> Result<()> {
        let image = images::linux_builder("teller")?
            .entrypoint(["/bin/echo", "of the image"])
            .env("COLOUR=red")
            .cwd("/data")
            .build()?;
        docker.load(&[&image]).await?;
        let name = "medley.test/teller";
        assert_eq!(docker.run_says(&[name]).await?, "of the image");
        assert_eq!(docker.run_says(&[name, "and", "more"]).await?, "of the image and more");
        let env = ["--entrypoint", "/bin/sh", "-e", "SIZE=xl", "-e", "EMPTY=", name];
        let script = ["-c", "echo $COLOUR $SIZE $PWD; env | grep EMPTY"];
        assert_eq!(docker.run_says(&[&env[..], &script].concat()).await?, "red xl /data\nEMPTY=");
        let other = ["--entrypoint", "/bin/pwd", "-e", "COLOUR=blue", "-w", "/new/folder", name];
        assert_eq!(docker.run_says(&other).await?, "/new/folder");
        Ok(())
    }

    async fn a_user_has_the_groups_that_were_asked_for(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let id = async |options: &[&str]| docker.run_says(&[options, &[BOX, "id"]].concat()).await;
        assert_eq!(id(&["-u", "u"]).await?, "uid=1000(u) gid=1000(u) groups=1000(u)");
        assert_eq!(id(&["-u", "12:13"]).await?, "uid=12 gid=13 groups=13");
        let more = id(&["-u", "u", "--group-add", "extra", "--group-add", "77"]).await?;
        assert_eq!(more, "uid=1000(u) gid=1000(u) groups=44(extra),77,1000(u)");
        let home = docker.run_says(&["-u", "u", "-w", "/tmp", BOX, "sh", "-c", "echo $HOME; touch x && echo made"]).await?;
        assert_eq!(home, "/\nmade");
        Ok(())
    }

    async fn init_reaps_orphans_and_passes_signals_on(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "(sleep 0 &); trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
        docker.up("it", &["--init", BOX, "sh", "-c", script]).await?;
        docker.until_says(&["logs", "it"], |said| said.contains("ready")).await?;
        let all = docker.exec_says(&["it", "ps", "-o", "pid,args"]).await?;
        let first = all.lines().nth(1).unwrap_or_default().trim();
        assert!(first.starts_with("1 /sbin/docker-init -- sh -c"), "{all}");
        docker.says(&["stop", "it"]).await?;
        assert_eq!(docker.inspect("it", "{{.State.ExitCode}}").await?, "7");
        Ok(())
    }
}
