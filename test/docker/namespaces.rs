//! Namespaces that are shared.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn processes_can_be_anothers_or_the_hosts(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("first", &[BOX, "sleep", "4444"]).await?;
        let ps = [BOX, "ps", "-o", "pid,args"];
        let seen = docker.run_says(&[&["--pid", "container:first"][..], &ps].concat()).await?;
        let lines: Vec<_> = seen.lines().map(str::trim).collect();
        assert_eq!(lines.get(1), Some(&"1 sleep 4444"), "{seen}");
        assert!(seen.contains("ps -o pid,args"), "{seen}");
        let seen = docker.run_says(&[&["--pid", "host"][..], &ps].concat()).await?;
        assert!(seen.contains("sleep 4444") && seen.contains("dockerd"), "{seen}");
        // One that shares is killed alone.
        docker.up("second", &["--pid", "container:first", BOX, "sleep", "5555"]).await?;
        docker.says(&["kill", "second"]).await?;
        assert_eq!(docker.inspect("first", "{{.State.Status}}").await?, "running");
        docker.up("second-again", &["--pid", "container:first", BOX, "sleep", "6666"]).await?;
        docker.says(&["kill", "first"]).await?;
        docker.until("second-again", "{{.State.Status}} {{.State.ExitCode}}", "exited 137").await
    }

    async fn with_the_hosts_processes_all_of_a_container_end(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["--pid", "host", BOX, "sh", "-c", "sleep 7777 & exec sleep 7777"]).await?;
        docker.says(&["stop", "-t", "0", "it"]).await?;
        docker.expect_clean()?;
        docker.up("self", &["--pid", "host", BOX, "sh", "-c", "sleep 7777 & sleep 0.2"]).await?;
        assert_eq!(docker.says(&["wait", "self"]).await?, "0");
        docker.expect_clean()
    }

    async fn shared_memory_can_be_anothers_the_hosts_or_none(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("first", &["--ipc", "shareable", BOX, "sh", "-c", "echo shared > /dev/shm/word; exec sleep 3600"]).await?;
        let cat = ["run", "--rm", "--runtime", docker.flag(), "--ipc", "container:first", BOX, "cat", "/dev/shm/word"];
        docker.until_says(&cat, |said| said == "shared\n").await?;
        let said = docker.run(&["--ipc", "private", BOX, "cat", "/dev/shm/word"]).await?;
        assert_eq!(said.code, 1);
        let none = docker.run(&["--ipc", "none", BOX, "ls", "-d", "/dev/shm"]).await?;
        assert_eq!(none.code, 1, "{}", none.out);
        let own = std::fs::read_link("/proc/self/ns/ipc")?;
        let host = docker.run_says(&["--ipc", "host", BOX, "readlink", "/proc/self/ns/ipc"]).await?;
        assert_eq!(host, own.to_string_lossy());
        Ok(())
    }

    async fn names_and_cgroups_can_be_the_hosts(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        for (option, kind) in [("--uts", "uts"), ("--cgroupns", "cgroup"), ("--userns", "user")] {
            let link = format!("/proc/self/ns/{kind}");
            let own = std::fs::read_link(&link)?;
            let seen = docker.run_says(&[option, "host", BOX, "readlink", &link]).await?;
            assert_eq!(seen, own.to_string_lossy(), "{option}");
        }
        // In every hierarchy, as the node's tools look for a container by it.
        let places = docker.run_says(&["--cgroupns", "host", BOX, "cat", "/proc/self/cgroup"]).await?;
        let leftovers = format!(":/{}/", docker.containerd().name());
        let outside: Vec<_> = places.lines().filter(|line| !line.contains(&leftovers)).collect();
        assert_eq!(outside, Vec::<&str>::new());
        Ok(())
    }
}
