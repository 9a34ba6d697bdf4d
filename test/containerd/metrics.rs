//! What a container uses, as `kubectl top` and `ctr task metrics` see it.

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::Message;
use medley_test::*;
use std::time::{Duration, Instant};

/// What is asserted of either message.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) memory_limit: u64,
    pub(crate) inactive_file: u64,
    pub(crate) processes: u64,
    pub(crate) processes_limit: u64,
}

pub(crate) async fn figures(task: &Task) -> Result<Figures> {
    let any = task.metrics().await?;
    Ok(if any.type_url.contains("v1") {
        let metrics = v1::Metrics::parse_from_bytes(&any.value)?;
        Figures {
            cpu: metrics.cpu.usage.total,
            memory: metrics.memory.usage.usage,
            memory_limit: metrics.memory.usage.limit,
            inactive_file: metrics.memory.total_inactive_file,
            processes: metrics.pids.current,
            processes_limit: metrics.pids.limit,
        }
    } else {
        let metrics = v2::Metrics::parse_from_bytes(&any.value)?;
        Figures {
            cpu: metrics.cpu.usage_usec,
            memory: metrics.memory.usage,
            memory_limit: metrics.memory.usage_limit,
            inactive_file: metrics.memory.inactive_file,
            processes: metrics.pids.current,
            processes_limit: metrics.pids.limit,
        }
    })
}

each_runtime! {
    async fn metrics_tell_what_is_in_use_and_what_can_be_given_back(runtime: Runtime) -> Result<()> {
        const MIB: u64 = 1 << 20;
        // The pages of a file that was written count as used, and as inactive.
        let script = "dd if=/dev/zero of=/file bs=1048576 count=8 2>&1; sleep 3600";
        Scenario::linux(runtime, script)
            .edit(|json| {
                json["linux"]["resources"]["memory"] = serde_json::json!({"limit": 64 * MIB});
            })
            .run(async |task| {
                // Where the file is in memory anyway, none of it can be given back.
                let on_disk = nix::sys::statfs::statfs(task.containerd.dir())?.filesystem_type()
                    != nix::sys::statfs::TMPFS_MAGIC;
                let expected = if on_disk { 7 * MIB } else { 0 };
                let deadline = Instant::now() + Duration::from_secs(20);
                let mut seen = figures(task).await?;
                while (seen.memory < 7 * MIB || seen.inactive_file < expected) && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    seen = figures(task).await?;
                }
                assert!(seen.memory >= 7 * MIB, "{seen:?}");
                assert!(seen.inactive_file >= expected, "{seen:?}");
                assert!(seen.memory >= seen.inactive_file, "{seen:?}");
                assert_eq!(seen.memory_limit, 64 * MIB, "{seen:?}");
                assert!(seen.cpu > 0 && seen.processes >= 1, "{seen:?}");
                Ok(())
            })
            .await
    }
}
