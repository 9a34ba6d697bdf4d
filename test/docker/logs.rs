//! `docker logs`, `top` and `stats`.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn logs_tell_both_streams_and_follow_until_the_end(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "echo one; echo two >&2; until [ -e /tmp/go ]; do sleep 0.05; done; echo three";
        docker.up("it", &[BOX, "sh", "-c", script]).await?;
        docker.until_says(&["logs", "it"], |said| said.contains("two")).await?;
        let said = docker.docker(&["logs", "it"]).await?;
        assert_eq!((&*said.out, &*said.err), ("one\n", "two\n"));
        let (followed, touched) = tokio::join!(
            docker.docker(&["logs", "--follow", "it"]),
            docker.exec(&["it", "touch", "/tmp/go"]),
        );
        assert_eq!(touched?.code, 0);
        assert_eq!(followed?.out, "one\nthree\n");
        assert_eq!(docker.says(&["wait", "it"]).await?, "0");
        assert_eq!(docker.says(&["logs", "--tail", "1", "it"]).await?, "three");
        Ok(())
    }

    async fn a_lot_of_output_comes_whole_and_in_order(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let said = docker.run(&[BOX, "seq", "60000"]).await?;
        let expected: String = (1..=60000).map(|number| format!("{number}\n")).collect();
        assert!(said.out == expected, "{} of {} bytes", said.out.len(), expected.len());
        Ok(())
    }

    async fn top_and_stats_see_every_process(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["-m", "64m", BOX, "sh", "-c", "sleep 1111 & exec sleep 2222"]).await?;
        docker.exec_says(&["-d", "it", "sleep", "3333"]).await?;
        let all = ["sleep 1111", "sleep 2222", "sleep 3333"];
        docker
            .until_says(&["top", "it", "-eo", "pid,args"], |said| all.iter().all(|one| said.contains(one)))
            .await?;
        let template = "{{.PIDs}} {{.Name}} {{.MemUsage}}";
        let stats = docker.says(&["stats", "--no-stream", "--format", template, "it"]).await?;
        assert!(stats.starts_with("3 it ") && stats.ends_with(" / 64MiB"), "{stats}");
        Ok(())
    }
}
