//! In the helper: what is mounted at `/dev`, where it is a directory of the node, put there.
//!
//! See `mounts::dev`: libcontainer has made its own things in a tmpfs at `/dev`, and the mounts in
//! dirs of it. The tmpfs goes, and nothing was changed in the directory of the node.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use medley_sys::in_root::{self, Missing};
use medley_sys::mount::MountClone;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::inside::{self, EnteredContainer};
use crate::protocol::{BoundDev, Staged};

/// Where it is.
const DEV: &str = "/dev";

/// Where libcontainer has put init's terminal.
const CONSOLE: &str = "/dev/console";

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot mount what the spec mounts at /dev")]
    EnteredContainer(#[from] inside::Error),
    #[error("the container's mount namespace cannot be entered")]
    Enter(#[source] io::Error),
    #[error("{} cannot be moved to {}", from.display(), at.display())]
    Move {
        from: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
    #[error("the tmpfs at /dev cannot be unmounted")]
    Unmount(#[source] io::Error),
}

/// Puts the mounts of `dev` where they belong.
pub(crate) fn put(inside: &EnteredContainer<'_>, dev: Option<&BoundDev>) -> Result<(), Error> {
    let Some(dev) = dev else {
        return Ok(());
    };
    let put = inside.run(|alone, process| {
        alone.enter_mounts(process).map_err(Error::Enter)?;
        rustix::process::umask(Mode::empty());
        put_all(dev)
    });
    Ok(put?)
}

fn put_all(dev: &BoundDev) -> Result<(), Error> {
    let mut clones = Vec::new();
    for staged in &dev.staged {
        // A guest has no sysfs and the like.
        if let Some(clone) = take(staged).map_err(|source| failed(staged, source))? {
            clones.push((staged, clone));
        }
    }
    let console = Staged {
        from: CONSOLE.into(),
        at: CONSOLE.into(),
    };
    let terminal = if dev.console {
        take(&console)
    } else {
        Ok(None)
    };
    let terminal = terminal.map_err(|source| failed(&console, source))?;
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    rustix::mount::unmount(DEV, flags).map_err(|errno| Error::Unmount(errno.into()))?;
    let root = in_root::root(Path::new("/")).map_err(|errno| failed(&console, errno.into()))?;
    for (staged, clone) in clones {
        let put = || {
            if staged.at == Path::new(DEV) {
                // Before anything is mounted in it, which the node would be told of.
                clone.set_propagation(dev.propagation.flags(), true)?;
            }
            let missing = mount_point(&clone)?;
            let at = in_root::make(&root, &staged.at, missing)?;
            clone.attach_on(at.as_fd())
        };
        put().map_err(|source| failed(staged, source))?;
    }
    if let Some(terminal) = terminal {
        put_console(&root, terminal).map_err(|source| failed(&console, source))?;
    }
    Ok(())
}

fn failed(staged: &Staged, source: io::Error) -> Error {
    Error::Move {
        from: staged.from.clone(),
        at: staged.at.clone(),
        source,
    }
}

/// A clone of what waits at `staged.from`, in a tmpfs that is the container's alone.
fn take(staged: &Staged) -> io::Result<Option<MountClone>> {
    match MountClone::of(&staged.from, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        clone => clone.map(Some),
    }
}

/// A directory is mounted on a directory, and a file on a file.
fn mount_point(clone: &MountClone) -> io::Result<Missing> {
    let mode = rustix::fs::fstat(clone.as_fd())?.st_mode;
    Ok(match FileType::from_raw_mode(mode) {
        FileType::Directory => Missing::Dir,
        _ => Missing::File,
    })
}

/// Where there is a console. None is made in a directory that is not the container's.
fn put_console(root: &OwnedFd, terminal: MountClone) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let at = match in_root::open_no_links(root, Path::new(CONSOLE), flags) {
        Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
        at => at?,
    };
    let mode = rustix::fs::fstat(&at)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::Directory | FileType::Symlink => Ok(()),
        _ => terminal.attach_on(at.as_fd()),
    }
}
