//! `/dev/null` as a container's output.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

const NULL: &str = "/dev/null";

/// The numbers of its device.
const NUMBERS: (u32, u32) = (1, 3);

/// Has output that goes to `/dev/null` be written there: libcontainer puts the container's own in place of
/// the node's, and opens it for reading alone.
pub(super) fn make_writable() {
    let stdout = rustix::stdio::stdout();
    if is_null(stdout) && is_for_reading(stdout) {
        say(open().and_then(rustix::stdio::dup2_stdout));
    }
    let stderr = rustix::stdio::stderr();
    if is_null(stderr) && is_for_reading(stderr) {
        say(open().and_then(rustix::stdio::dup2_stderr));
    }
}

fn say(made: Result<(), Errno>) {
    if let Err(errno) = made {
        log::warn!("the container cannot write to its {NULL}: {errno}");
    }
}

fn open() -> Result<std::os::fd::OwnedFd, Errno> {
    let null = rustix::fs::open(NULL, OFlags::WRONLY | OFlags::NOCTTY, Mode::empty())?;
    if is_null(&null) {
        Ok(null)
    } else {
        Err(Errno::NODEV)
    }
}

fn is_for_reading(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDONLY)
}

fn is_null(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|file| {
        let numbers = (
            rustix::fs::major(file.st_rdev),
            rustix::fs::minor(file.st_rdev),
        );
        FileType::from_raw_mode(file.st_mode) == FileType::CharacterDevice && numbers == NUMBERS
    })
}
