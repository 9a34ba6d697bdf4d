//! Where the node has its cgroups.

/// Where cgroups are mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// Whether the unified hierarchy is all there is: pure cgroup v2.
#[must_use]
pub fn is_v2() -> bool {
    /// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
    const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
    rustix::fs::statfs(MOUNT).is_ok_and(|stat| stat.f_type == CGROUP2)
}
