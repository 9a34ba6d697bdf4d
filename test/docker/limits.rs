//! Limits: at the start, changed later, and run into.

use crate::{BOX, linux};
use medley_test::*;
use std::path::Path;

/// A script that prints what one of the container's cgroup files says: v1's or v2's.
fn limit(v1: &str, v2: &str) -> String {
    let file = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        v2
    } else {
        v1
    };
    format!("cat /sys/fs/cgroup/{file}")
}

fn memory() -> String {
    limit("memory/memory.limit_in_bytes", "memory.max")
}

fn processes() -> String {
    limit("pids/pids.max", "pids.max")
}

fn quota() -> String {
    limit("cpu/cpu.cfs_quota_us", "cpu.max") + " | cut -d ' ' -f 1"
}

fn processors() -> String {
    limit("cpuset/cpuset.cpus", "cpuset.cpus")
}

each_docker! {
    async fn limits_are_set_and_updated(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let options = ["--cpus", "0.5", "-m", "48m", "--pids-limit", "33", "--cpuset-cpus", "0", "--cpu-shares", "300"];
        docker.up("it", &[&options[..], &[BOX, "sleep", "3600"]].concat()).await?;
        let script = [memory(), processes(), quota(), processors()].join("; ");
        let limits = async || docker.exec_says(&["it", "sh", "-c", &script]).await;
        assert_eq!(limits().await?, format!("{}\n33\n50000\n0", 48 << 20));
        docker.says(&["update", "-m", "64m", "--memory-swap", "64m", "--pids-limit", "44", "it"]).await?;
        assert_eq!(limits().await?, format!("{}\n44\n50000\n0", 64 << 20));
        docker.says(&["update", "--cpus", "1.5", "--cpu-shares", "77", "it"]).await?;
        assert_eq!(limits().await?, format!("{}\n44\n150000\n0", 64 << 20));
        Ok(())
    }

    async fn resource_limits_and_scores_reach_the_process(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let options = ["--ulimit", "nofile=123:456", "--ulimit", "core=0", "--oom-score-adj", "700", BOX];
        let script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj";
        let said = docker.run_says(&[&options[..], &["sh", "-c", script]].concat()).await?;
        assert_eq!(said, "123\n456\n0\n700");
        Ok(())
    }

    async fn a_container_that_runs_out_of_memory_is_told_so(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["-m", "32m", "--memory-swap", "32m", BOX, "tail", "/dev/zero"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "137");
        let state = "{{.State.OOMKilled}} {{.State.ExitCode}}";
        assert_eq!(docker.inspect("it", state).await?, "true 137");
        docker.up("other", &["-m", "32m", BOX, "sh", "-c", "exit 137"]).await?;
        assert_eq!(docker.says(&["wait", "other"]).await?, "137");
        assert_eq!(docker.inspect("other", state).await?, "false 137");
        Ok(())
    }
}
