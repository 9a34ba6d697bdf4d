//! In the shim: where the mounts of a container go, found before libcontainer makes them.
//!
//! libcontainer makes no mount point behind a symlink that leads to nothing, and writes to some
//! paths below the rootfs as if no image had symlinks: /dev, and what a cgroup mount holds. So every
//! destination is resolved here, with the rootfs as `/`, and an image in which libcontainer would
//! follow a link to the node is refused.

pub(crate) mod cgroups;
mod dev;
mod nodes;
mod tmpfs;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use medley_sys::in_root;
use oci_spec::runtime::{Mount, MountBuilder, Spec};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::protocol::{BoundDev, Node};

/// As many symlinks as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Below it libcontainer makes devices and links by paths of the node.
const DEV: &str = "/dev";

/// Kinds of mounts that have to be where their name is, and not where a link leads.
const NEVER_BEHIND_LINKS: [&str; 2] = ["proc", "sysfs"];

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
        "{} of the image is {what}: it must be a folder, or not there, for the container's own to \
         be put there",
        path.display()
    )]
    NoFolder {
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
         mount it at a folder",
        path.display()
    )]
    Root {
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
        "{} is to be {what}, but a folder of the node is mounted at /dev: mount only what is needed \
         of it",
        path.display()
    )]
    Covered {
        /// What the spec wants of it.
        what: &'static str,
        /// As the spec has it.
        path: PathBuf,
    },
    /// A mount of our own could not be put into words.
    #[error("cannot describe the mount {}", path.display())]
    Mount {
        /// As the container sees it.
        path: PathBuf,
        source: oci_spec::OciSpecError,
    },
}

/// A mount of our own.
fn mount(kind: &str, source: &Path, at: &Path, options: &[&str]) -> Result<Mount, Error> {
    let mount = MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(at)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build();
    mount.map_err(|source| Error::Mount {
        path: at.to_owned(),
        source,
    })
}

/// What has become of a container's mounts.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Whether the spec is another now.
    pub(crate) changed: bool,
    /// Device nodes that are mounted, and have to be made before.
    pub(crate) nodes: Vec<Node>,
    /// Each tmpfs that is to have what the image has where it lies.
    pub(crate) filled: Vec<PathBuf>,
    /// What is mounted at `/dev`, where it is a directory of the node.
    pub(crate) dev: Option<BoundDev>,
}

/// The rootfs of a container, as its mounts will find it one after the other.
struct Image {
    root: OwnedFd,
    /// Where something is mounted by then: what the image has there cannot be seen.
    covered: Vec<PathBuf>,
}

/// Puts in place of the destination of each mount the path that it is in the end, and keeps the mode
/// of a directory that a tmpfs covers, as runc does. Devices outside of `/dev` become mounts too, from
/// nodes in `dir`.
///
/// # Errors
/// [`Error`].
pub(crate) fn resolve(spec: &mut Spec, rootfs: &Path, dir: &Path) -> Result<Resolved, Error> {
    let mut image = Image::open(rootfs)?;
    image.has_dir_or_nothing(Path::new(DEV))?;
    let mut changed = false;
    let mut filled = Vec::new();
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let kind = mount.typ().clone().unwrap_or_default();
        let asked = mount.destination().clone();
        let found = if NEVER_BEHIND_LINKS.contains(&kind.as_str()) {
            let found = image.resolve_dir_of(&asked)?;
            image.has_dir_or_nothing(&found)?;
            found
        } else {
            image.resolve(&asked)?
        };
        if found == Path::new("/") {
            return Err(Error::Root { path: asked });
        }
        let is_filled = tmpfs::is_filled(mount);
        changed |= tmpfs::forget_filling(mount);
        if kind == "tmpfs" {
            changed |= image.keep_mode(mount, &found)?;
        }
        if found.as_os_str() != asked.as_os_str() {
            mount.set_destination(found.clone());
            changed = true;
        }
        if is_filled {
            // What the image has there is seen all the same, links among it.
            filled.push(found);
        } else {
            image.covered.push(found);
        }
    }
    let (nodes, has_nodes) = nodes::adapt(spec, &image, dir)?;
    let dev = dev::adapt(spec)?;
    Ok(Resolved {
        changed: changed || has_nodes || dev.is_some(),
        dev,
        nodes,
        filled,
    })
}

impl Image {
    fn open(rootfs: &Path) -> Result<Self, Error> {
        let root = in_root::root(rootfs).map_err(|errno| Error::Look {
            path: "/".into(),
            source: errno.into(),
        })?;
        Ok(Self {
            root,
            covered: Vec::new(),
        })
    }

    fn is_covered(&self, path: &Path) -> bool {
        self.covered.iter().any(|at| path.starts_with(at))
    }

    /// What the image has at `path`, which lies behind no symlink; none where something is mounted.
    fn look(&self, path: &Path) -> Result<Option<(OwnedFd, Stat)>, Error> {
        if self.is_covered(path) {
            return Ok(None);
        }
        let looked = in_root::open(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::Look {
                path: path.to_owned(),
                source: errno.into(),
            }),
        }
    }

    fn has_dir_or_nothing(&self, path: &Path) -> Result<(), Error> {
        let what = match self.look(path)? {
            None => return Ok(()),
            Some((_, stat)) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok(()),
                FileType::Symlink => "a symlink",
                _ => "a file",
            },
        };
        Err(Error::NoFolder {
            path: path.to_owned(),
            what,
        })
    }

    /// `path` without symlinks and `..`, as a process in the container would go. What is not there
    /// is taken for directories to be made.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        let mut here = PathBuf::from("/");
        let mut links = 0;
        let mut rest: VecDeque<OsString> = words(path).collect();
        while let Some(word) = rest.pop_front() {
            if word == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&word);
            let link = match self.look(&next)? {
                Some((fd, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    fd
                }
                _ => {
                    here = next;
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Loop {
                    path: path.to_owned(),
                });
            }
            let target = rustix::fs::readlinkat(&link, "", Vec::new());
            let target = target.map_err(|errno| Error::Look {
                path: next,
                source: errno.into(),
            })?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(word);
            }
        }
        Ok(here)
    }

    /// The same, but for the last name, which is no link's to lead elsewhere.
    fn resolve_dir_of(&self, path: &Path) -> Result<PathBuf, Error> {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) => Ok(self.resolve(dir)?.join(name)),
            _ => self.resolve(path),
        }
    }
}

/// The names in a path, with `..` among them.
fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, resolve};
    use oci_spec::runtime::Spec;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Where mounts at `destinations` go in `rootfs`, with their options.
    fn resolved(rootfs: &Path, mounts: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(kind, at)| {
                format!(r#"{{"destination": "{at}", "type": "{kind}", "source": "{kind}"}}"#)
            })
            .collect();
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "mounts": [{}]}}"#,
            mounts.join(",")
        );
        let mut spec: Spec = serde_json::from_str(&json).unwrap();
        resolve(&mut spec, rootfs, Path::new("/state"))?;
        let mounts = spec.mounts().iter().flatten();
        Ok(mounts
            .map(|mount| {
                let options = mount.options().clone().unwrap_or_default().join(",");
                format!("{} {options}", mount.destination().display())
                    .trim_end()
                    .to_owned()
            })
            .collect())
    }

    #[test]
    fn a_destination_behind_links_is_found_inside_the_rootfs() {
        let rootfs = tempfile::tempdir().unwrap();
        let at = |path: &str| rootfs.path().join(path);
        std::fs::create_dir(at("etc")).unwrap();
        symlink("../run/resolve/stub.conf", at("etc/resolv.conf")).unwrap();
        symlink("/mnt/data", at("data")).unwrap();
        symlink("data", at("chain")).unwrap();
        symlink("../../../up", at("out")).unwrap();
        let seen = resolved(
            rootfs.path(),
            &[
                ("bind", "/etc/resolv.conf"),
                ("bind", "/data"),
                ("bind", "/chain/below/it"),
                ("bind", "/out"),
                ("bind", "plain/../relative/"),
            ],
        );
        assert_eq!(
            seen.unwrap(),
            [
                "/run/resolve/stub.conf",
                "/mnt/data",
                "/mnt/data/below/it",
                "/up",
                "/relative"
            ]
        );
        assert!(!at("mnt").exists(), "looking makes nothing");
    }

    #[test]
    fn links_below_an_earlier_mount_are_not_the_images() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(rootfs.path().join("data")).unwrap();
        symlink("/elsewhere", rootfs.path().join("data/link")).unwrap();
        let mounts = [
            ("bind", "/data/link"),
            ("bind", "/data"),
            ("bind", "/data/link"),
        ];
        assert_eq!(
            resolved(rootfs.path(), &mounts).unwrap(),
            ["/elsewhere", "/data", "/data/link"]
        );
    }

    #[test]
    fn links_that_lead_to_each_other_are_refused() {
        let rootfs = tempfile::tempdir().unwrap();
        symlink("b", rootfs.path().join("a")).unwrap();
        symlink("a", rootfs.path().join("b")).unwrap();
        let error = resolved(rootfs.path(), &[("bind", "/a/c")]).unwrap_err();
        assert!(matches!(error, Error::Loop { .. }), "{error}");
    }

    #[test]
    fn an_image_whose_dev_or_proc_is_no_folder_is_refused() {
        for (name, kind) in [("dev", "tmpfs"), ("proc", "proc"), ("sys", "sysfs")] {
            let rootfs = tempfile::tempdir().unwrap();
            symlink("/", rootfs.path().join(name)).unwrap();
            let at = format!("/{name}");
            let error = resolved(rootfs.path(), &[(kind, &at)]).unwrap_err();
            assert!(error.to_string().contains(&at), "{error}");
            std::fs::remove_file(rootfs.path().join(name)).unwrap();
            std::fs::write(rootfs.path().join(name), "").unwrap();
            assert!(resolved(rootfs.path(), &[(kind, &at)]).is_err());
            std::fs::remove_file(rootfs.path().join(name)).unwrap();
            assert!(resolved(rootfs.path(), &[(kind, &at)]).is_ok());
        }
    }

    #[test]
    fn nothing_is_mounted_over_the_root() {
        let rootfs = tempfile::tempdir().unwrap();
        symlink("..", rootfs.path().join("up")).unwrap();
        for at in ["/", "/a/..", "/up"] {
            let error = resolved(rootfs.path(), &[("bind", at)]).unwrap_err();
            assert!(matches!(error, Error::Root { .. }), "{error}");
        }
    }
}
