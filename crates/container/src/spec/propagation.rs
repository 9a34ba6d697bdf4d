//! Which mounts go from the node into a container and back.
//!
//! libcontainer sets the propagation of the whole mount namespace, by one word of its own for each
//! kind, and leaves out that of single mounts: a volume that is to be private would see what is
//! mounted below it on the node. So the helper sets those itself: see `helper/propagation.rs`.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, Spec};
use rustix::mount::MountPropagationFlags;
use serde::{Deserialize, Serialize};

/// How mounts below one propagate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// None go, and none come.
    Private,
    /// They come, and none go.
    Slave,
    /// They come and go.
    Shared,
    /// As private, and it can't be mounted elsewhere.
    Unbindable,
}

/// The propagation that a mount is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Where it is, in the container.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Whether those below it are to have the same.
    pub(crate) recursive: bool,
}

impl Kind {
    /// Each, and its word. A word with an `r` before it is meant recursively.
    pub(crate) const WORDS: [(Self, &str); 4] = [
        (Self::Private, "private"),
        (Self::Slave, "slave"),
        (Self::Shared, "shared"),
        (Self::Unbindable, "unbindable"),
    ];

    /// The kind that a mount option means, and whether it is meant recursively.
    pub(crate) fn of_option(option: &str) -> Option<(Self, bool)> {
        let kind = |word: &str| {
            let found = Self::WORDS.iter().find(|(_, known)| *known == word);
            found.map(|(kind, _)| *kind)
        };
        let recursive = option.strip_prefix('r').and_then(kind);
        recursive
            .map(|kind| (kind, true))
            .or_else(|| Some((kind(option)?, false)))
    }

    /// The last that a mount's options ask for.
    pub(crate) fn of_mount(mount: &Mount) -> Option<Self> {
        let options = mount.options().as_deref().unwrap_or_default();
        let mut kinds = options.iter().filter_map(|option| Self::of_option(option));
        kinds.next_back().map(|(kind, _)| kind)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
            Self::Unbindable => "unbindable",
        }
    }

    pub(crate) fn flags(self) -> MountPropagationFlags {
        match self {
            Self::Private => MountPropagationFlags::PRIVATE,
            // A mount without a master is private, and stays so.
            Self::Slave => MountPropagationFlags::DOWNSTREAM,
            Self::Shared => MountPropagationFlags::SHARED,
            Self::Unbindable => MountPropagationFlags::UNBINDABLE,
        }
    }
}

/// The changes that a container's mounts ask for, in their order.
pub(crate) fn changes(spec: &Spec) -> Vec<Change> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let each = mounts.iter().flat_map(|mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        let requested = options.iter().filter_map(|option| Kind::of_option(option));
        requested.map(|(kind, recursive)| Change {
            path: mount.destination().clone(),
            kind,
            recursive,
        })
    });
    each.collect()
}

/// libcontainer's word for the propagation of the container's root, if the spec's is another:
/// containerd says `rshared` where one of the volumes is.
pub(crate) fn of_root(spec: &Spec) -> Option<&'static str> {
    let linux = spec.linux().as_ref();
    let word = linux.and_then(|linux| linux.rootfs_propagation().as_deref())?;
    let (kind, _) = Kind::of_option(word)?;
    Some(kind.word()).filter(|ours| *ours != word)
}

#[cfg(test)]
mod tests {
    use super::{Change, Kind, changes, of_root};
    use oci_spec::runtime::Spec;

    fn spec(propagation: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}},
            "mounts": [
                {{"destination": "/a", "type": "bind", "source": "/x", "options": ["rbind", "rprivate", "ro"]}},
                {{"destination": "/b", "type": "tmpfs", "source": "tmpfs", "options": ["relatime", "rw"]}},
                {{"destination": "/c", "type": "bind", "source": "/y", "options": ["bind", "slave"]}}
            ],
            "linux": {{"rootfsPropagation": "{propagation}"}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_propagation_of_each_mount_is_read_from_its_options() {
        let change = |path: &str, kind, recursive| Change {
            path: path.into(),
            kind,
            recursive,
        };
        assert_eq!(
            changes(&spec("")),
            [
                change("/a", Kind::Private, true),
                change("/c", Kind::Slave, false)
            ]
        );
    }

    #[test]
    fn a_roots_propagation_is_said_in_libcontainers_words() {
        assert_eq!(of_root(&spec("rshared")), Some("shared"));
        assert_eq!(of_root(&spec("rslave")), Some("slave"));
        assert_eq!(of_root(&spec("slave")), None);
        assert_eq!(of_root(&spec("else")), None);
    }
}
