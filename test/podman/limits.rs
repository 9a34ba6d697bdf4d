//! Limits, changed ones, and figures of use.

use crate::{BOX, linux};
use medley_test::*;
use std::path::Path;

/// A script that prints what two of the container's cgroup files say: v1's or v2's.
fn limits() -> &'static str {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max"
    } else {
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    }
}

each_podman! {
    async fn limits_are_set_updated_and_measured(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let options = ["--network", "none", "--cpus", "0.5", "-m", "48m", "--pids-limit", "33"];
        podman.up("it", &[&options[..], &[BOX, "sleep", "3600"]].concat()).await?;
        let said = async || podman.says(&["exec", "it", "sh", "-c", limits()]).await;
        assert_eq!(said().await?, format!("{}\n33\n50000", 48 << 20));
        podman.says(&["update", "--cpus", "0.7", "it"]).await?;
        assert_eq!(said().await?, format!("{}\n33\n70000", 48 << 20));
        let stats = podman.says(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemLimit}}", "it"]).await?;
        assert_eq!(stats, format!("1 {}", 48 << 20));
        Ok(())
    }

    async fn one_above_its_memory_is_killed(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let grow = "x=0123456789abcdef; while :; do x=$x$x; done";
        podman.up("it", &["--network", "none", "-m", "16m", "--memory-swap", "16m", BOX, "sh", "-c", grow]).await?;
        assert_eq!(podman.says(&["wait", "it"]).await?, "137");
        Ok(())
    }
}
