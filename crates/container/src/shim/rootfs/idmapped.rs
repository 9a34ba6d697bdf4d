//! A rootfs whose files belong to the ids of a user namespace, with nothing copied or changed: its
//! layers are seen through mounts that map the ids.
//!
//! containerd 2 says so with the options `uidmap=` and `gidmap=`, which are no file system's. An
//! overlay's upper directory is made for the container, and has the right owner already.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use medley_sys::mount::MountClone;
use medley_types::RootfsMount;
use rustix::mount::UnmountFlags;

use crate::shim::bundle_layout::LAYERS;

/// More layers than an overlay has.
const PLENTY: usize = 512;

const OPTIONS: [&str; 2] = ["uidmap=", "gidmap="];

const LOWER: &str = "lowerdir=";

/// Whether a mount asks for mapped ids.
pub(super) fn is_wanted(mount: &RootfsMount) -> bool {
    mount.options.iter().any(|option| is_ours(option))
}

fn is_ours(option: &str) -> bool {
    OPTIONS.iter().any(|ours| option.starts_with(ours))
}

/// The mount without the options that are ours to follow.
pub(super) fn plain(mount: &RootfsMount) -> RootfsMount {
    let mut plain = mount.clone();
    plain.options.retain(|option| !is_ours(option));
    plain
}

/// An overlay's layers, mapped, until the overlay is mounted.
pub(super) struct Layers {
    dir: PathBuf,
}

impl Layers {
    /// Maps the lower layers of `overlay`, and puts the mapped ones in their place.
    pub(super) fn map(
        overlay: &mut RootfsMount,
        bundle: &Path,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let dir = bundle.join(LAYERS);
        let layers = Self { dir: dir.clone() };
        let lower = overlay.options.iter_mut();
        for option in lower.filter(|option| option.starts_with(LOWER)) {
            let mut mapped = Vec::new();
            for (number, layer) in option.trim_start_matches(LOWER).split(':').enumerate() {
                let at = dir.join(number.to_string());
                std::fs::create_dir_all(&at)?;
                let clone = MountClone::of(Path::new(layer), false)?;
                // Nothing can be written to a layer, and nothing removed should we die here.
                clone.make_read_only()?;
                clone.map_ids(namespace, false)?;
                clone.attach(&at)?;
                mapped.push(at.display().to_string());
            }
            *option = format!("{LOWER}{}", mapped.join(":"));
        }
        Ok(layers)
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            log::warn!(
                "mapped layers are left behind in {}: {error}",
                self.dir.display()
            );
        }
    }
}

/// Removes what a shim that died in the middle has left in a bundle.
pub(crate) fn remove_after_crash(bundle: &Path) -> io::Result<()> {
    remove(&bundle.join(LAYERS))
}

fn remove(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for number in 0..PLENTY {
        let at = dir.join(number.to_string());
        if !at.exists() {
            break;
        }
        match rustix::mount::unmount(&at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Never more than the empty directory: a layer that is still mounted stays as it is.
        std::fs::remove_dir(&at)?;
    }
    std::fs::remove_dir(dir)
}

/// Puts a mapped clone of what is mounted at `path` on top of it.
pub(super) fn cover(path: &Path, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let clone = MountClone::of(path, false)?;
    clone.map_ids(namespace, false)?;
    clone.attach(path)
}

#[cfg(test)]
mod tests {
    use super::{is_wanted, plain};
    use medley_types::RootfsMount;

    #[test]
    fn the_options_for_ids_are_told_from_the_file_systems_own() {
        let mount = RootfsMount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: ["uidmap=0:1000:10", "gidmap=0:1000:10", "lowerdir=/a:/b"]
                .map(String::from)
                .into(),
        };
        assert!(is_wanted(&mount));
        let plain = plain(&mount);
        assert!(!is_wanted(&plain));
        assert_eq!(plain.options, ["lowerdir=/a:/b"]);
    }
}
