//! The flags of bind mounts, and of a `/dev` that is read-only.
//!
//! A bind mount begins with the flags of the mount that it shows. With runc those that its options name take
//! their place, unless it names none; libcontainer only adds flags, so that what it shows of a read-only
//! mount can't be written to where the spec has `rw`. It does not make a `/dev` read-only either, as it makes
//! devices there. So the helper sets these flags itself: see `helper/mount_flags.rs`.

use std::path::{Path, PathBuf};

use medley_sys::mount::flags;
use oci_spec::runtime::{Mount, Spec};
use serde::{Deserialize, Serialize};

use super::{has_option, is_bind};

/// Options with the flags that they set, and with those that they take away.
const OPTIONS: [(&str, u32, u32); 18] = [
    ("ro", flags::RDONLY, 0),
    ("rw", 0, flags::RDONLY),
    ("nosuid", flags::NOSUID, 0),
    ("suid", 0, flags::NOSUID),
    ("nodev", flags::NODEV, 0),
    ("dev", 0, flags::NODEV),
    ("noexec", flags::NOEXEC, 0),
    ("exec", 0, flags::NOEXEC),
    ("nosymfollow", flags::NOSYMFOLLOW, 0),
    ("symfollow", 0, flags::NOSYMFOLLOW),
    ("noatime", flags::NOATIME, 0),
    ("nodiratime", flags::NODIRATIME, 0),
    ("strictatime", flags::STRICTATIME, 0),
    ("relatime", flags::RELATIME, 0),
    // As with mount(8), what they would take away stays.
    ("atime", 0, 0),
    ("diratime", 0, 0),
    ("norelatime", 0, 0),
    ("nostrictatime", 0, 0),
];

/// The same for a mount and what is below it, which libcontainer sets as runc does.
const RECURSIVE: [&str; 14] = [
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnosymfollow",
    "rsymfollow",
    "rnoatime",
    "rnodiratime",
    "rstrictatime",
    "rrelatime",
];

/// The flags that a mount is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Where it is, in the container.
    pub(crate) path: PathBuf,
    pub(crate) set: u32,
    /// What it must not have; it has no other either, if it can be had so.
    pub(crate) cleared: u32,
    /// Whether it keeps those that are not named.
    pub(crate) keeps: bool,
}

/// The changes that a container's mounts ask for.
pub(crate) fn changes(spec: &Spec) -> Vec<Change> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref());
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_deref());
    let covers = masked.into_iter().chain(read_only).flatten();
    let covers: Vec<&Path> = covers.map(Path::new).collect();
    let each = mounts.iter().enumerate().filter_map(|(at, mount)| {
        let mut later = mounts[at + 1..]
            .iter()
            .map(|later| later.destination().as_path());
        let path = mount.destination();
        // What stands there in the end is another.
        let is_hidden = later.any(|later| path.starts_with(later))
            || covers.iter().any(|cover| path.starts_with(cover));
        change(mount).filter(|_| !is_hidden)
    });
    each.collect()
}

fn change(mount: &Mount) -> Option<Change> {
    let path = mount.destination().clone();
    if !is_bind(mount) {
        let read_only = path == Path::new("/dev") && has_option(mount, &["ro"]);
        return read_only.then_some(Change {
            path,
            set: flags::RDONLY,
            cleared: 0,
            keeps: true,
        });
    }
    if has_option(mount, &RECURSIVE) {
        return None;
    }
    let options = mount.options().as_deref().unwrap_or_default();
    let named = options.iter().filter_map(|option| {
        let found = OPTIONS.iter().find(|(known, _, _)| known == option);
        found.map(|(_, set, cleared)| (*set, *cleared))
    });
    // The last word about a flag counts.
    let all = named.fold(None, |all: Option<(u32, u32)>, (set, cleared)| {
        let (before, without) = all.unwrap_or_default();
        Some(((before | set) & !cleared, (without | cleared) & !set))
    });
    all.map(|(set, cleared)| Change {
        path,
        set,
        cleared,
        keeps: false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Change, changes};
    use medley_sys::mount::flags;
    use oci_spec::runtime::Spec;

    fn changed(mounts: &str) -> Vec<Change> {
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "mounts": [{mounts}],
            "linux": {{"maskedPaths": ["/masked"], "readonlyPaths": ["/ro"]}}}}"#
        );
        let spec: Spec = serde_json::from_str(&json).unwrap();
        changes(&spec)
    }

    fn bind(at: &str, options: &str) -> String {
        format!(
            r#"{{"destination": "{at}", "type": "bind", "source": "/x", "options": ["rbind", {options}]}}"#
        )
    }

    #[test]
    fn the_flags_of_a_bind_mount_are_those_that_its_options_name() {
        let change = |set, cleared| Change {
            path: "/a".into(),
            set,
            cleared,
            keeps: false,
        };
        for (options, set, cleared) in [
            (r#""rprivate", "rw""#, 0, flags::RDONLY),
            (r#""ro", "nosuid""#, flags::RDONLY | flags::NOSUID, 0),
            (r#""ro", "exec", "rw""#, 0, flags::RDONLY | flags::NOEXEC),
            (r#""norelatime""#, 0, 0),
            (r#""noatime""#, flags::NOATIME, 0),
        ] {
            let found = changed(&bind("/a", options));
            assert_eq!(found, [change(set, cleared)], "{options}");
        }
        for options in [r#""rprivate""#, r#""rro", "nosuid""#] {
            assert_eq!(changed(&bind("/a", options)), [], "{options}");
        }
    }

    #[test]
    fn what_stands_there_in_the_end_is_left_as_it_is() {
        let tmpfs = r#"{"destination": "/a", "type": "tmpfs", "source": "tmpfs"}"#;
        for mounts in [
            format!("{}, {tmpfs}", bind("/a/b", r#""rw""#)),
            bind("/masked", r#""rw""#),
            bind("/ro/below", r#""rw""#),
        ] {
            assert_eq!(changed(&mounts), [], "{mounts}");
        }
        let both = format!("{tmpfs}, {}", bind("/a/b", r#""rw""#));
        assert_eq!(changed(&both).len(), 1);
    }

    #[test]
    fn a_read_only_dev_is_made_so() {
        let dev =
            r#"{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}"#;
        let found = changed(dev);
        assert_eq!(found.len(), 1);
        assert!(found[0].keeps && found[0].set == flags::RDONLY);
    }
}
