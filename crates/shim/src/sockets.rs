//! The sockets of shims, in the directory that all shims of a node share.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FlockOperation, XattrFlags};

/// The extended attribute of a socket that is ours, which only root gives.
const OURS: &str = "trusted.medley";

/// The path of a `unix://` address.
pub(crate) fn path(address: &str) -> PathBuf {
    PathBuf::from(address.strip_prefix("unix://").unwrap_or(address))
}

/// Binds the socket. `None` if a living shim has it: that one serves the pod.
pub(crate) fn listen(socket: &Path) -> anyhow::Result<Option<UnixListener>> {
    let context = || format!("cannot bind the shim's socket {}", socket.display());
    if let Some(dir) = socket.parent() {
        // A client that knows a name may connect; only root can list the names.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)
            .with_context(context)?;
    }
    // Two starts of one pod must not take each other's new socket for a stale one.
    let _lock = lock(socket.parent().unwrap_or(Path::new("/"))).with_context(context)?;
    let listener = match UnixListener::bind(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Ok(None);
            }
            // Left by a shim that died.
            std::fs::remove_file(socket).with_context(context)?;
            UnixListener::bind(socket)
        }
        result => result,
    };
    let listener = listener.with_context(context)?;
    // Root's alone.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))
        .with_context(context)?;
    // Not every file system has such attributes. Without it the socket of a shim that is killed before
    // containerd has connected stays until the same container is started again.
    rustix::fs::setxattr(socket, OURS, b"", XattrFlags::empty()).ok();
    Ok(Some(listener))
}

fn lock(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    rustix::fs::flock(&dir, FlockOperation::LockExclusive)?;
    Ok(dir)
}

/// Removes from `dir` the sockets of shims of ours that are dead. containerd has nothing cleaned up
/// behind one that was killed before it had connected.
pub(crate) fn sweep(dir: &Path) -> io::Result<()> {
    let _lock = lock(dir)?;
    // Every listener of this network namespace is in there. To ask each would wake all shims.
    let bound = std::fs::read_to_string("/proc/net/unix")?;
    let bound: HashSet<&str> = bound
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let is_bound = path.to_str().is_none_or(|path| bound.contains(path));
        if is_socket && !is_bound && is_ours(&path) && is_dead(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn is_ours(socket: &Path) -> bool {
    rustix::fs::getxattr(socket, OURS, &mut [0_u8; 0][..]).is_ok()
}

/// Whether no process listens, in any network namespace.
fn is_dead(socket: &Path) -> bool {
    matches!(
        UnixStream::connect(socket),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::{listen, sweep};

    #[test]
    fn only_a_socket_of_ours_that_is_dead_is_swept_away() {
        let dir = std::env::temp_dir().join(format!("medley-sockets-{}", std::process::id()));
        let at = |name: &str| dir.join(name);
        let alive = listen(&at("alive")).unwrap();
        assert!(listen(&at("alive")).unwrap().is_none());
        drop(listen(&at("dead")).unwrap());
        drop(std::os::unix::net::UnixListener::bind(at("theirs")).unwrap());
        sweep(&dir).unwrap();
        assert!(at("alive").exists() && at("theirs").exists());
        let marked = rustix::fs::getxattr(at("alive"), super::OURS, &mut [0_u8; 0][..]).is_ok();
        assert_eq!(at("dead").exists(), !marked);
        drop(alive);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
