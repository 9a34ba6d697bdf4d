//! What a cgroup has left for the memory of a guest.
//!
//! A guest's process has no procfs and no cgroupfs. So the helper opens the files that tell, and
//! sends them to the process that it made. They stay right when the limits change.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use medley_engine::memory::{Available, MemoryLimit};
use medley_sys::kernel_file;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::files::{self, V1_UNLIMITED};
use crate::mount;

/// What the process uses besides its guest, at most, in bytes: stacks, buffers, page tables of its
/// own, and what its tasks in the kernel take.
const RESERVE: u64 = 2 << 20;

/// Of a small limit no more than this part is reserved.
const RESERVE_PART: u64 = 8;

/// The kernel charges page tables too: a page of them for 512 of memory, and as much again to be
/// sure.
const PAGE_TABLE_PART: u64 = 256;

/// Levels above a container's own cgroup that are always watched: its pod's limit may be set later.
const ALWAYS: usize = 2;

/// How many levels are watched at most, counted from the container's own. Three descriptors each.
const MAX_LEVELS: usize = 8;

/// Size of a page in `/proc/<pid>/statm`, in bytes.
fn page() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// In the helper: the files that tell how much memory there is.
#[derive(Debug)]
pub struct MemoryFiles {
    unified: bool,
    levels: Vec<Level>,
}

/// One cgroup that a process is in, by its files.
#[derive(Debug)]
pub(crate) struct Level {
    limit: File,
    usage: File,
    stat: File,
}

impl MemoryFiles {
    /// Those of the cgroups that process `pid` is in.
    ///
    /// # Errors
    /// [`Error`] with the file that can't be read.
    pub fn of_process(pid: i32) -> Result<Self, Error> {
        let text = kernel_file::read(format!("/proc/{pid}/cgroup"));
        let text = text.map_err(|source| Error::Locate { pid, source })?;
        let unified = mount::is_v2();
        let cgroup = Cgroup::parse(&text, "", unified);
        let mut files = Self {
            unified,
            levels: Vec::new(),
        };
        for (number, dir) in cgroup.levels("memory").enumerate() {
            match Level::open(unified, dir) {
                Ok(level) if number < ALWAYS || level.limit().is_some() => files.levels.push(level),
                Ok(_) => {}
                // The top of a hierarchy has no limit, nor has what has no memory controller.
                Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if files.levels.len() == MAX_LEVELS {
                break;
            }
        }
        Ok(files)
    }

    /// Sends them to process `pid`, with its own usage as `procfs`, an open directory, has it.
    ///
    /// # Errors
    /// Those of opening and sending.
    pub fn send(&self, channel: &LimitChannel, procfs: &File, pid: i32) -> io::Result<()> {
        let Some(socket) = &*channel.helper.borrow() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let path = format!("{pid}/statm");
        let process = rustix::fs::openat(procfs, path, flags, rustix::fs::Mode::empty())?;
        let mut fds = vec![process.as_fd()];
        for level in &self.levels {
            fds.extend([&level.limit, &level.usage, &level.stat].map(AsFd::as_fd));
        }
        medley_sys::message::send(socket, &[u8::from(self.unified)], &fds)
    }
}

impl Level {
    pub(crate) fn open(unified: bool, dir: &Path) -> Result<Self, Error> {
        let open = |file: &str| {
            let path = dir.join(file);
            File::open(&path).map_err(|source| Error::Read { path, source })
        };
        let (limit, usage) = if unified {
            ("memory.max", "memory.current")
        } else {
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
        };
        Ok(Self {
            limit: open(limit)?,
            usage: open(usage)?,
            stat: open("memory.stat")?,
        })
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        files::parse(&read(&self.limit).ok()?).filter(|limit| *limit < V1_UNLIMITED)
    }

    /// What the guest may have of this level, when `resident` bytes of it are in use.
    pub(crate) fn available(
        &self,
        unified: bool,
        resident: u64,
        requested: u64,
    ) -> Option<Available> {
        let limit = self.limit()?;
        let usage: u64 = files::parse(&read(&self.usage).ok()?)?;
        let available = |others: u64| Available {
            bytes: room(limit, others),
            limit,
        };
        let others = usage.saturating_sub(resident);
        let first = available(others);
        if requested <= first.bytes {
            return Some(first);
        }
        // Pages of files can be given back. To count them takes the kernel some time.
        let files = read(&self.stat).map_or(0, |stat| reclaimable(&stat, unified));
        Some(available(others.saturating_sub(files)))
    }
}

/// What `limit` leaves for a guest, beside what others use.
fn room(limit: u64, others: u64) -> u64 {
    let reserve = RESERVE.min(limit / RESERVE_PART);
    let left = limit.saturating_sub(others).saturating_sub(reserve);
    left - left / PAGE_TABLE_PART
}

/// The pages of files in a `memory.stat`, in bytes, of the cgroup and those below it.
fn reclaimable(stat: &str, unified: bool) -> u64 {
    let names = if unified {
        ["active_file", "inactive_file"]
    } else {
        ["total_active_file", "total_inactive_file"]
    };
    files::named_numbers(stat)
        .filter(|(name, _)| names.contains(name))
        .map(|(_, number)| number)
        .sum()
}

/// Reads a kernel's file from its start, as it is now.
fn read(file: &File) -> io::Result<String> {
    /// Longer than any `memory.stat`.
    const MAX: usize = 8 * 1024;
    let mut bytes = [0; MAX];
    let length = file.read_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(&bytes[..length]).map_err(io::Error::other)?;
    Ok(text.to_owned())
}

/// From the helper to the guest's process, which is its clone and has both ends too.
#[derive(Debug)]
pub struct LimitChannel {
    helper: RefCell<Option<OwnedFd>>,
    process: RefCell<Option<OwnedFd>>,
}

impl LimitChannel {
    /// In the helper, before its clone is made.
    ///
    /// # Errors
    /// Those of `socketpair`.
    pub fn new() -> io::Result<Self> {
        let (helper, process) = medley_sys::message::pair()?;
        Ok(Self {
            helper: RefCell::new(Some(helper)),
            process: RefCell::new(Some(process)),
        })
    }

    /// In the guest's process, once: takes what the helper has sent, and closes the channel.
    ///
    /// # Errors
    /// Those of receiving; `UnexpectedEof` if the helper ended without having sent anything.
    pub fn receive(&self) -> io::Result<CgroupMemoryLimit> {
        drop(self.helper.take());
        match self.process.take() {
            Some(socket) => CgroupMemoryLimit::receive(&socket),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// In a guest's process: what tells how much memory it may have.
#[derive(Debug)]
pub struct CgroupMemoryLimit {
    unified: bool,
    levels: Vec<Level>,
    /// `/proc/<pid>/statm` of this process.
    process: File,
    /// What of this process was resident before there was a guest, in bytes.
    before: u64,
}

impl CgroupMemoryLimit {
    fn receive(socket: &OwnedFd) -> io::Result<Self> {
        let (bytes, fds) = medley_sys::message::receive(socket)?;
        let mut files = fds.into_iter().map(File::from);
        let Some(process) = files.next() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut levels = Vec::new();
        while let (Some(limit), Some(usage), Some(stat)) =
            (files.next(), files.next(), files.next())
        {
            levels.push(Level { limit, usage, stat });
        }
        let before = anonymous(&process);
        Ok(Self {
            unified: bytes == [1],
            levels,
            process,
            before,
        })
    }
}

impl MemoryLimit for CgroupMemoryLimit {
    fn available(&self, taken: u64, requested: u64) -> Option<Available> {
        // The rest of what it has taken is still to be touched.
        let resident = anonymous(&self.process)
            .saturating_sub(self.before)
            .min(taken);
        let of = |level: &Level| level.available(self.unified, resident, requested);
        let levels = self.levels.iter().filter_map(of);
        levels.min_by_key(|available| available.bytes)
    }
}

/// The memory of a process that is no file's, as its `statm` has it, in bytes.
fn anonymous(statm: &File) -> u64 {
    let text = read(statm).unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map_while(files::parse::<u64>);
    let (resident, shared) = (fields.next(), fields.next());
    let pages = resident
        .unwrap_or_default()
        .saturating_sub(shared.unwrap_or_default());
    pages.saturating_mul(page())
}

#[cfg(test)]
mod tests {
    use super::{CgroupMemoryLimit, LimitChannel, MemoryFiles, anonymous, reclaimable, room};
    use medley_engine::memory::MemoryLimit as _;
    use std::fs::File;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_of_the_limit_stays_for_the_process_itself() {
        assert!(room(64 * MIB, MIB) < 61 * MIB);
        assert!(room(64 * MIB, MIB) > 60 * MIB);
        assert!(room(4 * MIB, MIB) > 2 * MIB);
        assert_eq!(room(MIB, 2 * MIB), 0);
    }

    #[test]
    fn pages_of_files_count_with_those_of_the_cgroups_below() {
        let v1 = "cache 9\nactive_file 1\ntotal_inactive_file 20\ntotal_active_file 300\n";
        assert_eq!(reclaimable(v1, false), 320);
        let v2 = "anon 9\nfile 500\ninactive_file 20\nactive_file 300\n";
        assert_eq!(reclaimable(v2, true), 320);
    }

    /// A cgroup of v2 made of plain files.
    fn made(name: &str, max: &str, current: u64) -> (std::path::PathBuf, super::Level) {
        let dir =
            std::env::temp_dir().join(format!("medley-allowance-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("memory.max"), max).unwrap();
        std::fs::write(dir.join("memory.current"), current.to_string()).unwrap();
        let stat = format!("inactive_file {}\n", 10 * MIB);
        std::fs::write(dir.join("memory.stat"), stat).unwrap();
        let level = super::Level::open(true, &dir).unwrap();
        (dir, level)
    }

    /// And a limit may change.
    #[test]
    fn the_smallest_room_of_all_levels_counts() {
        let (own, level) = made("own", "max", 20 * MIB);
        let (pod, above) = made("pod", &(64 * MIB).to_string(), 40 * MIB);
        let process = File::open("/proc/self/statm").unwrap();
        let before = anonymous(&process);
        let allowance = CgroupMemoryLimit {
            unified: true,
            levels: vec![level, above],
            process,
            before,
        };
        let available = allowance.available(0, u64::MAX).unwrap();
        // 40 MiB are in use, 10 of them are pages of files.
        assert_eq!(available.limit, 64 * MIB);
        assert_eq!(available.bytes, room(64 * MIB, 30 * MIB));
        // Those are counted only where it matters.
        assert_eq!(
            allowance.available(0, MIB).unwrap().bytes,
            room(64 * MIB, 40 * MIB)
        );
        std::fs::write(own.join("memory.max"), (32 * MIB).to_string()).unwrap();
        let available = allowance.available(0, u64::MAX).unwrap();
        assert_eq!(available.bytes, room(32 * MIB, 10 * MIB));
        std::fs::remove_dir_all(own).unwrap();
        std::fs::remove_dir_all(pod).unwrap();
    }

    #[test]
    fn the_files_of_a_process_reach_it_over_a_socket() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let sources = MemoryFiles::of_process(pid).unwrap();
        let channel = LimitChannel::new().unwrap();
        let procfs = File::open("/proc").unwrap();
        sources.send(&channel, &procfs, pid).unwrap();
        let received = channel.receive().unwrap();
        assert_eq!(received.levels.len(), sources.levels.len());
        assert!(received.before > 0);
    }
}
