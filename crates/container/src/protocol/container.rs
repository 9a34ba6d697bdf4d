//! A container that the shim has prepared, for the helper to make.

use std::path::PathBuf;

use medley_cgroup::Cgroup;
use serde::{Deserialize, Serialize};

use crate::confinement::Labels;
use crate::spec::mount_flags;
use crate::spec::propagation::{self, Change};

/// A container to make: all that the helper needs to know of it besides its spec.
///
/// A shim that was started before an upgrade may have the program of an engine from after it: what one of
/// them does not know is refused, and not passed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreparedContainer {
    /// The container's id.
    pub(crate) id: String,
    /// The directory of the `config.json` to use.
    pub(crate) bundle: PathBuf,
    /// The one that its caller has made, which hooks are told.
    pub(crate) callers_bundle: PathBuf,
    /// The directory below which libcontainer keeps its state.
    pub(crate) state: PathBuf,
    /// The cgroup to enter, which is there; none if systemd is to make it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) cgroup: Option<Cgroup>,
    /// Whether the root is moved instead of pivoted.
    pub(crate) no_pivot_root: bool,
    /// Whether everything is logged.
    pub(crate) debug: bool,
    /// The supplementary groups that a Wasm container's init has, as ids on the node. A Linux
    /// one gets them from its spec.
    pub(crate) groups: Vec<u32>,
    /// What init is confined by. A Linux one gets its AppArmor profile from its spec.
    pub(crate) labels: Labels,
    /// Capabilities that init is to inherit and not to have, by their numbers.
    pub(crate) inheritable: u64,
    /// Whether the container has a session keyring of its own.
    pub(crate) keyring: bool,
    /// The working directory, where it is left to init, as the container's user, to enter it.
    pub(crate) late_cwd: Option<PathBuf>,
    /// The terminal that init gets.
    pub(crate) terminal: Option<TerminalRequest>,
    /// Mounts to map before.
    pub(crate) mapped: Vec<IdMappedMount>,
    /// Device nodes to make before.
    pub(crate) nodes: Vec<Node>,
    /// Each tmpfs to copy into what the image has where it lies.
    pub(crate) filled: Vec<PathBuf>,
    /// What is mounted at `/dev`, where it is a directory of the node.
    pub(crate) dev: Option<BoundDev>,
    /// Where the hierarchies of cgroup v1 belong.
    pub(crate) cgroups: Vec<CgroupMount>,
    /// Whether it has a network namespace of its own, in which loopback is to be brought up.
    pub(crate) own_network: bool,
    /// The flags of its mounts.
    pub(crate) mount_flags: Vec<mount_flags::Change>,
    /// The propagation of its mounts.
    pub(crate) propagation: Vec<Change>,
}

/// A terminal to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TerminalRequest {
    /// The user of the node that it belongs to.
    pub(crate) owner: u32,
    /// Its lines, and the characters in one; the kernel's own choice if none is given.
    pub(crate) size: Option<(u16, u16)>,
}

/// A mount to show to a user namespace, with its ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdMappedMount {
    /// The path that is mounted.
    pub(crate) source: PathBuf,
    /// Where, for libcontainer to mount it from.
    pub(crate) at: PathBuf,
    /// The namespace; none for a mount that is shown as it is, where the container's root may not
    /// pass the directories above its source.
    pub(crate) namespace: Option<PathBuf>,
    /// Whether the mounts below it are shown so too.
    pub(crate) recursive: bool,
}

/// A device node to make, for libcontainer to mount it from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Where: all of a container's in one directory.
    pub(crate) at: PathBuf,
    pub(crate) kind: NodeKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Who may do what with it.
    pub(crate) mode: u32,
    /// Its owner, as an id on the node.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What a device node leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeKind {
    Block,
    Char,
    Fifo,
}

/// A directory of the node at `/dev`, and what is mounted below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoundDev {
    /// The directory, and then the others.
    pub(crate) staged: Vec<Staged>,
    /// How mounts below the directory propagate.
    pub(crate) propagation: propagation::Kind,
    /// Whether init's terminal is mounted over the console there.
    pub(crate) console: bool,
}

/// A mount that is made in one place, and belongs in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// Where it is made, in the container.
    pub(crate) from: PathBuf,
    /// Where it belongs.
    pub(crate) at: PathBuf,
}

/// Where the container's cgroups are to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupMount {
    /// A tmpfs of the container's.
    pub(crate) at: PathBuf,
    /// Whether nothing can be written there.
    pub(crate) read_only: bool,
}

/// The ids of a user namespace, in the lines of `/proc/<pid>/uid_map`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMappings {
    pub(crate) uids: String,
    pub(crate) gids: String,
}

impl IdMappings {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}
