//! `docker exec`.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn exec_ends_with_the_codes_that_users_know(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sleep", "3600"]).await?;
        let said = docker.exec(&["it", "sh", "-c", "echo out; echo err >&2; exit 9"]).await?;
        assert_eq!((said.code, &*said.out, &*said.err), (9, "out\n", "err\n"));
        for (program, code) in [
            ("nope", 127),
            ("/bin/nope", 127),
            ("/etc/note", 126),
            ("/etc", 126),
        ] {
            let said = docker.exec(&["it", program]).await?;
            assert_eq!(said.code, code, "{program}: {}{}", said.out, said.err);
            assert!((said.out + &said.err).contains(program));
        }
        assert_eq!(docker.exec(&["it", "sh", "-c", "kill -9 $$"]).await?.code, 137);
        let said = docker.exec(&["-w", "/nope", "it", "true"]).await?;
        assert_ne!(said.code, 0);
        Ok(())
    }

    async fn exec_has_the_user_dir_and_rights_that_it_asks_for(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["-e", "COLOUR=red", "--cap-drop", "ALL", BOX, "sleep", "3600"]).await?;
        let options = ["-u", "u", "-w", "/data", "-e", "SIZE=xl", "it"];
        let script = ["sh", "-c", "id -u; pwd; echo $COLOUR $SIZE"];
        assert_eq!(docker.exec_says(&[&options[..], &script].concat()).await?, "1000\n/data\nred xl");
        let rights = ["grep", "CapEff", "/proc/self/status"];
        let plain = docker.exec_says(&[&["it"][..], &rights].concat()).await?;
        assert_eq!(plain, "CapEff:\t0000000000000000");
        let more = docker.exec_says(&[&["--privileged", "it"][..], &rights].concat()).await?;
        let host = proc::field(std::process::id(), "CapBnd")?;
        let beyond = u64::from_str_radix(more.trim_start_matches("CapEff:\t"), 16)?;
        assert_ne!(beyond & u64::from_str_radix(&host, 16)? & (1 << 21), 0, "{more}");
        Ok(())
    }

    async fn exec_reads_its_input_and_runs_without_a_client(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sleep", "3600"]).await?;
        let said = docker.docker_reads("some words", &["exec", "-i", "it", "cat"]).await?;
        assert_eq!((said.code, &*said.out), (0, "some words"));
        let large = "0123456789abcde\n".repeat(40_000);
        let said = docker.docker_reads(&large, &["exec", "-i", "it", "wc", "-c"]).await?;
        assert_eq!(said.text()?, large.len().to_string());
        docker.exec_says(&["-d", "it", "touch", "/tmp/made"]).await?;
        let seen = ["exec", "it", "ls", "/tmp"];
        docker.until_says(&seen, |said| said.contains("made")).await?;
        docker.says(&["pause", "it"]).await?;
        let said = docker.exec(&["it", "true"]).await?;
        assert_eq!(said.code, 1, "{}", said.err);
        docker.says(&["unpause", "it"]).await?;
        assert_eq!(docker.exec(&["it", "true"]).await?.code, 0);
        docker.says(&["kill", "it"]).await?;
        assert_eq!(docker.exec(&["it", "true"]).await?.code, 1);
        Ok(())
    }
}
