//! In the helper: what libcontainer mounts from, where the node has nothing of the kind.
//!
//! It is made in a mount namespace that ends with this helper: on the node there is nothing to be
//! seen, and nothing to be cleaned up.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use medley_sys::clone::SingleThreaded;
use medley_sys::mount::MountClone;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::mount::MountFlags;

use crate::protocol::{IdMappedMount, Node, NodeKind};

/// Why a source could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot leave the node's mount namespace")]
    Leave(#[source] io::Error),
    #[error(
        "cannot map the ids of {}: its file system has to be one that can (idmapped mounts)",
        path.display()
    )]
    Map { path: PathBuf, source: io::Error },
    #[error("cannot mount {} at {}", path.display(), at.display())]
    Attach {
        path: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
    #[error("cannot mount a tmpfs for device nodes at {}", dir.display())]
    Nodes { dir: PathBuf, source: io::Error },
    #[error("cannot make a node of the device {major}:{minor}")]
    Node {
        major: u32,
        minor: u32,
        source: io::Error,
    },
}

/// Makes what a container's spec names as sources: mounts with mapped ids, and device nodes.
pub(crate) fn make(mapped: &[IdMappedMount], nodes: &[Node]) -> Result<(), Error> {
    let mut all = mapped.iter().map(|mount| &mount.at);
    let Some(first) = all.next().or(nodes.first().map(|node| &node.at)) else {
        return Ok(());
    };
    // All lie in directories of the container's state.
    let state = first.ancestors().nth(2).unwrap_or(first);
    SingleThreaded::check()
        .and_then(|alone| alone.unshare_mounts(state))
        .map_err(Error::Leave)?;
    make_nodes(nodes)?;
    mapped.iter().try_for_each(map)
}

fn map(mount: &IdMappedMount) -> Result<(), Error> {
    let attach = |source| Error::Attach {
        path: mount.source.clone(),
        at: mount.at.clone(),
        source,
    };
    mount_point(mount).map_err(attach)?;
    let clone = MountClone::of(&mount.source, true).map_err(attach)?;
    if let Some(namespace) = &mount.namespace {
        File::open(namespace)
            .and_then(|namespace| clone.map_ids(namespace.as_fd(), mount.recursive))
            .map_err(|source| Error::Map {
                path: mount.source.clone(),
                source,
            })?;
    }
    clone.attach(&mount.at).map_err(attach)
}

/// A directory to mount a directory on, or a file for a file.
fn mount_point(mount: &IdMappedMount) -> io::Result<()> {
    if mount.source.is_dir() {
        return std::fs::create_dir_all(&mount.at);
    }
    if let Some(dir) = mount.at.parent() {
        std::fs::create_dir_all(dir)?;
    }
    File::create(&mount.at).map(drop)
}

/// Makes device nodes, all in one directory: on a tmpfs, as what the bundle lies on may have no devices.
fn make_nodes(nodes: &[Node]) -> Result<(), Error> {
    let Some(dir) = nodes.first().and_then(|node| node.at.parent()) else {
        return Ok(());
    };
    mount_tmpfs(dir).map_err(|source| Error::Nodes {
        dir: dir.to_owned(),
        source,
    })?;
    for node in nodes {
        make_node(node).map_err(|source| Error::Node {
            major: node.major,
            minor: node.minor,
            source,
        })?;
    }
    Ok(())
}

fn mount_tmpfs(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    Ok(rustix::mount::mount(
        "tmpfs",
        dir,
        "tmpfs",
        flags,
        c"mode=755,size=64k",
    )?)
}

fn make_node(node: &Node) -> io::Result<()> {
    let kind = match node.kind {
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Char => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
    };
    let device = rustix::fs::makedev(node.major, node.minor);
    let mode = Mode::from_raw_mode(node.mode);
    rustix::fs::mknodat(CWD, &node.at, kind, Mode::empty(), device)?;
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(CWD, &node.at, Some(uid), Some(gid), AtFlags::empty())?;
    // Last: a change of the owner takes bits away, and the umask would have.
    Ok(rustix::fs::chmodat(CWD, &node.at, mode, AtFlags::empty())?)
}
