//! In the shim: what a tmpfs has of the directory that it covers, of which libcontainer knows nothing.

use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::FileType;

use super::error::Error;
use super::image::Image;
use crate::spec::has_option;

/// The option that has what the image has there copied into it.
const FILLED: &str = "tmpcopyup";

/// Whether a mount is to have what the image has where it lies.
pub(super) fn is_filled(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("tmpfs") && has_option(mount, &[FILLED])
}

/// Takes the option out that no file system knows, of any mount, as runc does. Whether it was
/// there.
pub(super) fn forget_filling(mount: &mut Mount) -> bool {
    if !has_option(mount, &[FILLED]) {
        return false;
    }
    let mut options = mount.options().clone().unwrap_or_default();
    options.retain(|option| option != FILLED);
    mount.set_options(Some(options));
    true
}

impl Image {
    /// A tmpfs for which no mode is asked gets that of the directory which it covers.
    pub(super) fn keep_mode(&self, mount: &mut Mount, at: &Path) -> Result<bool, Error> {
        let mut options = mount.options().clone().unwrap_or_default();
        if options.iter().any(|option| option.starts_with("mode=")) {
            return Ok(false);
        }
        let Some((_, stat)) = self.look(at)? else {
            return Ok(false);
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(false);
        }
        options.push(format!("mode={:o}", stat.st_mode & 0o7777));
        mount.set_options(Some(options));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve;
    use oci_spec::runtime::Spec;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    #[test]
    fn a_tmpfs_has_the_mode_of_the_dir_that_it_covers() {
        let rootfs = tempfile::tempdir().unwrap();
        let dir = rootfs.path().join("private");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o2750)).unwrap();
        symlink("/else", dir.join("link")).unwrap();
        let mut spec: Spec = serde_json::from_str(
            r#"{"ociVersion": "1.1.0", "root": {"path": "rootfs"}, "mounts": [
                {"destination": "/private", "type": "tmpfs", "source": "tmpfs",
                    "options": ["ro", "tmpcopyup"]},
                {"destination": "/private/link", "type": "bind", "source": "/x",
                    "options": ["bind", "tmpcopyup"]},
                {"destination": "/new", "type": "tmpfs", "source": "tmpfs"}]}"#,
        )
        .unwrap();
        let resolved = resolve(&mut spec, rootfs.path(), Path::new("/state")).unwrap();
        assert_eq!(resolved.filled, [Path::new("/private")]);
        let mounts = spec.mounts().iter().flatten();
        let seen: Vec<_> = mounts
            .map(|mount| {
                let options = mount.options().clone().unwrap_or_default().join(",");
                format!("{} {options}", mount.destination().display())
            })
            .collect();
        // A link of the image is seen through a tmpfs that has what the image has.
        assert_eq!(seen, ["/private ro,mode=2750", "/else bind", "/new "]);
    }
}
