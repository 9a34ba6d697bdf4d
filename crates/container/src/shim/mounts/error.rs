//! Why an image and its mounts do not go together.

use std::io;
use std::path::PathBuf;

/// Why an image and its mounts do not go together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rootfs could not be looked into.
    #[error("cannot look up {} in the rootfs", path.display())]
    Look {
        /// What was looked for, as the container sees it.
        path: PathBuf,
        source: io::Error,
    },
    /// A symlink, or a file, where a directory has to be.
    #[error(
        "{} of the image is {what}: it must be a directory, or not there, for the container's own to \
         be put there",
        path.display()
    )]
    NoDir {
        /// As the container sees it.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Symlinks that lead to each other.
    #[error(
        "the mount destination {} lies behind too many symlinks of the image, which may lead to \
         each other",
        path.display()
    )]
    Loop {
        /// As the spec has it.
        path: PathBuf,
    },
    /// Nothing can be mounted over the root.
    #[error(
        "the mount destination {} is the root of the container, which the image is mounted at: \
         mount it at a directory",
        path.display()
    )]
    Root {
        /// As the spec has it.
        path: PathBuf,
    },
    /// Programs would read there what the image says, and take it for the kernel's.
    #[error(
        "the mount destination {} lies in /proc, where the kernel's own files are: mount it elsewhere",
        path.display()
    )]
    OverProc {
        /// As the spec has it.
        path: PathBuf,
    },
    /// No such node can be made.
    #[error(
        "the device {} is none that can be made: its type must be b, c, u or p, and its numbers not \
         negative",
        path.display()
    )]
    Device {
        /// As the spec has it.
        path: PathBuf,
    },
    /// Nothing is masked in a directory of the node that is mounted at `/dev`, and none works there.
    #[error(
        "{} is to be {what}, but a directory of the node is mounted at /dev: mount only what is needed \
         of it",
        path.display()
    )]
    Covered {
        /// What the spec wants of it.
        what: &'static str,
        /// As the spec has it.
        path: PathBuf,
    },
    /// A mount of our own could not be written as one of the spec's.
    #[error("cannot describe the mount {}", path.display())]
    Mount {
        /// As the container sees it.
        path: PathBuf,
        source: oci_spec::OciSpecError,
    },
}
