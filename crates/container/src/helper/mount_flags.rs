//! In the helper: sets the flags of mounts that libcontainer leaves as they are, in the container's mount
//! namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use medley_sys::mount::{self, flags};
use rustix::fs::StatVfsMountFlags;

use super::mounted;
use crate::spec::mount_flags::Change;

/// A mount does not have the flags that it is to have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot set the flags of the mount {}", path.display())]
    Set { path: PathBuf, source: io::Error },
}

/// Those that who is root of a user namespace alone can't take away.
const LOCKED: u32 = flags::RDONLY | flags::NOSUID | flags::NODEV | flags::NOEXEC;

/// How times of access are kept.
const TIMES: u32 = flags::NOATIME | flags::NODIRATIME | flags::STRICTATIME | flags::RELATIME;

/// Sets what `changes` say in the mount namespace that this process is in.
pub(crate) fn set(changes: &[Change]) -> Result<(), Error> {
    for change in changes {
        apply(change).map_err(|source| Error::Set {
            path: change.path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn apply(change: &Change) -> io::Result<()> {
    let mount = mounted::open(&change.path)?;
    let plain = change.set & !TIMES;
    if change.keeps {
        return mount::set_flags(mount.as_fd(), plain, 0);
    }
    let times = times(change.set);
    let (set, clear) = match times {
        Some(times) => (plain | times, flags::ALL_TIMES),
        None => (plain, 0),
    };
    let all = LOCKED | flags::NOSYMFOLLOW;
    match mount::set_flags(mount.as_fd(), set, clear | (all & !plain)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            keep_locked(&mount, change, times, error)
        }
        // Before Linux 5.14 there is no `nosymfollow`, before 5.12 no such call.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            mount::set_flags(mount.as_fd(), set, clear | (LOCKED & !plain))
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            log::warn!("{} has the flags of its source", change.path.display());
            Ok(())
        }
        set => set,
    }
}

/// Some of its flags belong to a user namespace above: they stay, unless the spec says otherwise of them.
fn keep_locked(
    mount: &OwnedFd,
    change: &Change,
    times: Option<u32>,
    error: io::Error,
) -> io::Result<()> {
    let has = rustix::fs::fstatvfs(mount)?.f_flag;
    let known = [
        (StatVfsMountFlags::RDONLY, flags::RDONLY),
        (StatVfsMountFlags::NOSUID, flags::NOSUID),
        (StatVfsMountFlags::NODEV, flags::NODEV),
        (StatVfsMountFlags::NOEXEC, flags::NOEXEC),
    ];
    let is_kept = |(theirs, ours)| has.contains(theirs) && change.cleared & ours != 0;
    if known.into_iter().any(is_kept) || times.is_some_and(|times| times != times_of(has)) {
        return Err(error);
    }
    mount::set_flags(
        mount.as_fd(),
        change.set & !TIMES,
        flags::NOSYMFOLLOW & !change.set,
    )
}

/// What options mean for the times of access, as `mount(2)` combines them. None if they say nothing of it.
fn times(set: u32) -> Option<u32> {
    if set & TIMES == 0 {
        return None;
    }
    let kind = if set & flags::STRICTATIME != 0 {
        flags::STRICTATIME
    } else if set & flags::NOATIME != 0 {
        flags::NOATIME
    } else {
        // No bit of its own.
        0
    };
    Some(kind | (set & flags::NODIRATIME))
}

fn times_of(has: StatVfsMountFlags) -> u32 {
    let kind = if has.contains(StatVfsMountFlags::NOATIME) {
        flags::NOATIME
    } else if has.contains(StatVfsMountFlags::RELATIME) {
        0
    } else {
        flags::STRICTATIME
    };
    let dirs = has.contains(StatVfsMountFlags::NODIRATIME);
    kind | if dirs { flags::NODIRATIME } else { 0 }
}
