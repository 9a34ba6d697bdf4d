//! How the kernel schedules the calling process: its IO priority, its policy, its processors.

use std::io;

use rustix::thread::CpuSet;

/// `IOPRIO_WHO_PROCESS` of `linux/ioprio.h`.
const WHO_PROCESS: libc::c_int = 1;

/// Where the class stands in an IO priority: `IOPRIO_CLASS_SHIFT`.
const CLASS_SHIFT: u32 = 13;

/// `struct sched_attr` of `sched_setattr(2)`, in the version that every kernel takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// Of the structure, in bytes; [`set_scheduler`] fills it in.
    pub size: u32,
    /// One of the kernel's `SCHED_*`.
    pub policy: u32,
    /// The kernel's `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH, -20 to 19.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR, 1 to 99.
    pub priority: u32,
    /// For SCHED_DEADLINE, in nanoseconds, as the next two.
    pub runtime: u64,
    /// The deadline within each period.
    pub deadline: u64,
    /// The period.
    pub period: u64,
}

/// Sets the IO priority of the calling thread, and of what it makes: `class` is 1 for real time, 2
/// for best effort, 3 for idle; `priority` 0 (highest) to 7.
///
/// # Errors
/// Those of `ioprio_set(2)`; `EINVAL` for what is no class or priority.
pub fn set_io_priority(class: u8, priority: i64) -> io::Result<()> {
    let priority = u8::try_from(priority).ok().filter(|level| *level < 8);
    let priority = priority.ok_or(rustix::io::Errno::INVAL)?;
    let value = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(priority);
    // SAFETY: a plain system call on numbers. rustix does not have it.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    succeeded(result)
}

/// Sets the scheduling policy of the calling thread, and of what it makes.
///
/// # Errors
/// Those of `sched_setattr(2)`.
pub fn set_scheduler(mut scheduler: Scheduler) -> io::Result<()> {
    scheduler.size = u32::try_from(size_of::<Scheduler>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of a structure that outlives the call. rustix does not
    // have it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            0,
            std::ptr::from_ref(&scheduler),
            0,
        )
    };
    succeeded(result)
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the calling thread, and what it makes, run on these processors alone: `list` has the form of
/// `cpuset.cpus`, such as `0-3,7`.
///
/// # Errors
/// `EINVAL` for what is no list or has no processor of this machine, and those of
/// `sched_setaffinity(2)`.
pub fn set_affinity(list: &str) -> io::Result<()> {
    let set = parse(list).ok_or(rustix::io::Errno::INVAL)?;
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Lets the calling thread, and what it makes, run on every processor that its cgroup lets it: what the
/// caller of this program was bound to is not meant for a container.
///
/// # Errors
/// Those of `sched_setaffinity(2)`.
pub fn run_anywhere() -> io::Result<()> {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The processors that the calling thread may run on, as the hexadecimal number of which each bit is one.
///
/// # Errors
/// Those of `sched_getaffinity(2)`.
pub fn affinity() -> io::Result<String> {
    Ok(mask(&rustix::thread::sched_getaffinity(None)?))
}

fn mask(set: &CpuSet) -> String {
    const DIGIT: usize = 4;
    let digits = (0..CpuSet::MAX_CPU / DIGIT).rev().map(|digit| {
        let bits = (0..DIGIT).filter(|bit| set.is_set(digit * DIGIT + bit));
        bits.fold(0_u8, |all, bit| all | 1 << bit)
    });
    let digits = digits.skip_while(|digit| *digit == 0);
    let digits: String = digits.map(|digit| format!("{digit:x}")).collect();
    format!("0x{}", if digits.is_empty() { "0" } else { &digits })
}

fn parse(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        (first..=last).for_each(|cpu| set.set(cpu));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::{mask, parse};

    #[test]
    fn a_list_of_processors_is_read_as_cpuset_has_it() {
        let set = parse("0-2,7\n").unwrap();
        let cpus: Vec<_> = (0..16).filter(|cpu| set.is_set(*cpu)).collect();
        assert_eq!(cpus, [0, 1, 2, 7]);
        for wrong in ["", "a", "3-1", "0-", "99999999"] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn processors_are_told_as_a_number() {
        for (list, told) in [
            ("0", "0x1"),
            ("1", "0x2"),
            ("0-5,64", "0x1000000000000003f"),
        ] {
            assert_eq!(mask(&parse(list).unwrap()), told);
        }
        assert_eq!(mask(&super::CpuSet::new()), "0x0");
    }

    #[test]
    fn an_io_priority_out_of_range_is_refused() {
        for priority in [-1, 8, 1 << 40] {
            let error = super::set_io_priority(2, priority).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
    }
}
