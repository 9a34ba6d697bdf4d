//! What a container's cgroup counts, in containerd's terms but not its messages.

use std::collections::HashMap;

/// Which of the two cgroup interfaces the figures come from; containerd has a message for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A container's use of resources at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where the figures come from.
    pub version: CgroupVersion,
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Disks, one entry for each that was used.
    pub disks: Vec<Disk>,
    /// Huge pages, one entry for each size that the kernel has.
    pub huge_pages: Vec<HugePages>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub usage_ns: u64,
    /// Of it, in user mode.
    pub user_ns: u64,
    /// Of it, in the kernel.
    pub system_ns: u64,
    /// Of it, on each processor; cgroup v1 only.
    pub per_cpu_ns: Vec<u64>,
    /// Enforcement periods that have gone by.
    pub periods: u64,
    /// Of these, periods in which the limit was hit.
    pub throttled_periods: u64,
    /// Time spent throttled.
    pub throttled_ns: u64,
    /// Periods in which more than the limit was used, of what was saved; cgroup v2 only.
    pub bursts: u64,
    /// Time used beyond the limit; cgroup v2 only.
    pub burst_ns: u64,
}

/// Memory, in bytes. `u64::MAX` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use now.
    pub usage: u64,
    /// The most ever in use.
    pub max_usage: u64,
    /// The limit.
    pub limit: u64,
    /// Times that the limit was hit.
    pub limit_hits: u64,
    /// Swap in use; on v1, memory and swap together.
    pub swap_usage: u64,
    /// The most ever of it.
    pub swap_max_usage: u64,
    /// The limit of the same.
    pub swap_limit: u64,
    /// Times that it was hit; cgroup v1 only.
    pub swap_limit_hits: u64,
    /// Kernel memory in use; cgroup v1 only.
    pub kernel_usage: u64,
    /// Of TCP's buffers; cgroup v1 only.
    pub kernel_tcp_usage: u64,
    /// Whether processes wait for memory instead of being killed; cgroup v1 only.
    pub oom_kill_disabled: bool,
    /// Whether they wait now; cgroup v1 only.
    pub under_oom: bool,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: u64,
    /// The lines of `memory.stat`.
    pub stat: HashMap<String, u64>,
    /// The lines of `memory.events`; cgroup v2 only.
    pub events: HashMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; no limit is 0 on v1 and `u64::MAX` on v2, as containerd has it.
    pub limit: u64,
}

/// What went to and came from one disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// The device's number, its first half.
    pub major: u64,
    /// Its second half.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Of one page, as the kernel writes it: `2MB`.
    pub size: String,
    /// In use now.
    pub usage: u64,
    /// The most ever in use; cgroup v1 only.
    pub max_usage: u64,
    /// The limit; `u64::MAX` is none.
    pub limit: u64,
    /// Times that the limit was hit.
    pub limit_hits: u64,
}
