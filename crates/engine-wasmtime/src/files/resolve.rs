//! Where a path of a guest leads, as it does for a Linux program of the container.
//!
//! Wasmtime opens paths beneath a folder, and refuses every symbolic link that is absolute or leads
//! out of it. In an image such links are common, and they mean the container's own root. So what it
//! refused is looked up here, link by link, and tried again beneath the folder of the guest in which
//! it ends. That is all that comes of it: nothing is opened here, and what is tried again is refused
//! as before if it leaves its folder. This process's root is the container's.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

/// Links that a path may lead through: the kernel's own limit.
const MOST_LINKS: usize = 40;

/// Where Linux has the descriptors of a process, of which a guest's process has none to show.
const DESCRIPTORS: [&str; 3] = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];

/// What links in these folders mean depends on who reads them.
const OF_THE_READER: [&str; 2] = ["/proc/self", "/proc/thread-self"];

/// Of the process's own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Descriptor 0.
    Stdin,
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
    /// The terminal, if the process has one.
    Terminal,
}

/// What is at the end of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A place, which need not exist, absolute and without links: but for the last part, if that is
    /// not to be followed.
    At(PathBuf),
    /// One of the process's own streams.
    Stream(Stream),
}

/// A folder that a path begins at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// Where it is, absolute; links in it are followed.
    pub(crate) path: &'a Path,
    /// Whether it is one that the guest was given: its part of the one tree of files that there is.
    /// From one that it opened itself, as a program does that wants to stay in it, no `..` leads out.
    pub(crate) given: bool,
}

/// Whether the name of a path's last part is one that a stream may have.
pub(crate) fn may_be_stream(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "stdin" | "stdout" | "stderr" | "tty" | "0" | "1" | "2"
    )
}

/// A part of a path that is still to be walked.
struct Part {
    name: OsString,
    /// Whether it is of the path itself, and not of a link.
    own: bool,
}

/// Where `path` leads; its last part is looked through only if `follow`.
///
/// # Errors
/// `EPERM` if it leaves what it may not, `ELOOP` for too many links, and those of `readlink`.
pub(crate) fn resolve(start: Start<'_>, path: &str, follow: bool) -> io::Result<End> {
    if path.starts_with('/') || path.is_empty() {
        return Err(Errno::PERM.into());
    }
    let base = match walk(Path::new("/"), parts(start.path, false), true, None)? {
        End::At(base) => base,
        End::Stream(_) => return Err(Errno::NOTDIR.into()),
    };
    // What ends with a slash is a folder, and a link to one counts as such.
    let follow = follow || path.ends_with('/') || path.ends_with("/.");
    let fence = (!start.given).then_some(base.as_path());
    walk(&base, parts(Path::new(path), true), follow, fence)
}

/// Walks from `base` on. Own parts never lead above it; of links, none does that is relative and
/// would leave `fence`.
fn walk(
    base: &Path,
    mut todo: VecDeque<Part>,
    follow: bool,
    fence: Option<&Path>,
) -> io::Result<End> {
    let mut at = base.to_owned();
    let mut links = 0;
    // An absolute link leads out of everything, and from there on the whole tree is meant.
    let mut jumped = false;
    while let Some(Part { name, own }) = todo.pop_front() {
        if name == ".." {
            if !jumped && (at == base && own || fence == Some(at.as_path())) {
                return Err(Errno::PERM.into());
            }
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let last = todo.is_empty();
        if last && !follow {
            return Ok(End::At(next));
        }
        if last && let Some(stream) = descriptor(&next) {
            return Ok(End::Stream(stream));
        }
        if OF_THE_READER.iter().any(|folder| next.starts_with(folder)) {
            at = next;
            continue;
        }
        match rustix::fs::readlinkat(CWD, &next, Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                    jumped = true;
                }
                for part in parts(&target, false).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            // No link: a file, or something that is not there yet.
            Err(Errno::INVAL) => match terminal(&next) {
                Some(terminal) if last => return Ok(End::Stream(terminal)),
                _ => at = next,
            },
            Err(Errno::NOENT) => match device(&next) {
                Some(stream) if last => return Ok(End::Stream(stream)),
                _ => at = next,
            },
            // What it is, the call itself will say.
            Err(_) => at = next,
        }
    }
    Ok(End::At(at))
}

fn parts(path: &Path, own: bool) -> VecDeque<Part> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .map(|name| Part { name, own })
        .collect()
}

/// The stream that a path of a descriptor means.
fn descriptor(path: &Path) -> Option<Stream> {
    let folder = path.parent()?;
    if !DESCRIPTORS.iter().any(|known| folder == Path::new(known)) {
        return None;
    }
    match path.file_name()?.as_bytes() {
        b"0" => Some(Stream::Stdin),
        b"1" => Some(Stream::Stdout),
        b"2" => Some(Stream::Stderr),
        _ => None,
    }
}

/// The stream that a name in /dev means where nothing has it.
fn device(path: &Path) -> Option<Stream> {
    match path.as_os_str().as_bytes() {
        b"/dev/stdin" => Some(Stream::Stdin),
        b"/dev/stdout" => Some(Stream::Stdout),
        b"/dev/stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

/// Whether it is the device that means the process's own terminal.
fn terminal(path: &Path) -> Option<Stream> {
    (path == Path::new("/dev/tty")).then_some(Stream::Terminal)
}

/// The folder, of those that a guest was given, in which a place lies deepest, by its number, and the
/// way to it from there.
pub(crate) fn beneath<'f>(
    place: &Path,
    folders: impl IntoIterator<Item = &'f Path>,
) -> Option<(usize, String)> {
    let (number, folder) = folders
        .into_iter()
        .enumerate()
        .filter(|(_, folder)| place.starts_with(folder))
        .max_by_key(|(_, folder)| folder.components().count())?;
    let rest = place.strip_prefix(folder).ok()?.to_str()?;
    let rest = if rest.is_empty() { "." } else { rest };
    Some((number, rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{End, Start, Stream, beneath, resolve};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// A folder below the real root, gone at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("medley-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("etc/certs")).unwrap();
            fs::create_dir_all(path.join("data/in")).unwrap();
            fs::write(path.join("data/file"), "x").unwrap();
            Self(path.canonicalize().unwrap())
        }

        fn link(&self, at: &str, to: impl AsRef<Path>) {
            symlink(to, self.0.join(at)).unwrap();
        }

        fn from(&self, start: &str, given: bool, path: &str) -> std::io::Result<End> {
            let path_of_start = self.0.join(start);
            let start = Start {
                path: &path_of_start,
                given,
            };
            resolve(start, path, true)
        }

        fn at(&self, path: &str) -> End {
            End::At(self.0.join(path))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn denied(result: std::io::Result<End>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(1))
    }

    #[test]
    fn absolute_links_lead_from_the_root_through_chains_and_back() {
        let tree = Tree::new("absolute");
        tree.link("etc/certs/a", tree.0.join("etc/b"));
        tree.link("etc/b", "../data/c");
        tree.link("data/c", tree.0.join("data/in/../file"));
        tree.link("etc/whole", tree.0.join("data"));
        assert_eq!(
            tree.from("", true, "etc/certs/a").unwrap(),
            tree.at("data/file")
        );
        assert_eq!(
            tree.from("etc", false, "certs/a").unwrap(),
            tree.at("data/file")
        );
        assert_eq!(
            tree.from("etc/whole", false, "c").unwrap(),
            tree.at("data/file")
        );
        assert_eq!(
            tree.from("", true, "etc/whole/new").unwrap(),
            tree.at("data/new")
        );
        assert_eq!(
            tree.from("", true, "etc/whole/../data/in/.").unwrap(),
            tree.at("data/in")
        );
    }

    #[test]
    fn a_link_that_is_not_followed_stays() {
        let tree = Tree::new("kept");
        tree.link("etc/b", tree.0.join("data/file"));
        tree.link("etc/whole", tree.0.join("data"));
        let start = Start {
            path: &tree.0,
            given: true,
        };
        assert_eq!(resolve(start, "etc/b", false).unwrap(), tree.at("etc/b"));
        assert_eq!(
            resolve(start, "etc/whole/in", false).unwrap(),
            tree.at("data/in")
        );
        assert_eq!(
            resolve(start, "etc/whole/", false).unwrap(),
            tree.at("data")
        );
    }

    #[test]
    fn a_path_itself_never_leads_out_of_its_folder() {
        let tree = Tree::new("out");
        for path in ["../data/file", "certs/../../data/file", "/etc", "", ".."] {
            assert!(denied(tree.from("etc", true, path)), "{path}");
            assert!(denied(tree.from("etc", false, path)), "{path}");
        }
    }

    #[test]
    fn a_relative_link_leads_out_of_what_was_given_alone() {
        let tree = Tree::new("relative");
        tree.link("etc/up", "../data/file");
        tree.link("etc/far", "../../../../../../../../../../..");
        assert_eq!(tree.from("etc", true, "up").unwrap(), tree.at("data/file"));
        assert_eq!(tree.from("etc", true, "far").unwrap(), End::At("/".into()));
        assert!(denied(tree.from("etc", false, "up")));
        assert!(denied(tree.from("etc", false, "far")));
    }

    #[test]
    fn links_in_a_circle_are_given_up() {
        let tree = Tree::new("circle");
        tree.link("etc/a", tree.0.join("etc/b"));
        tree.link("etc/b", tree.0.join("etc/a"));
        let error = tree.from("", true, "etc/a").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(40));
    }

    #[test]
    fn streams_are_found_by_their_names_and_through_links() {
        let tree = Tree::new("streams");
        tree.link("etc/access.log", "/dev/fd/1");
        tree.link("etc/error.log", "/proc/self/fd/2");
        for (path, stream) in [
            ("etc/access.log", Stream::Stdout),
            ("etc/error.log", Stream::Stderr),
        ] {
            assert_eq!(tree.from("", true, path).unwrap(), End::Stream(stream));
        }
        let root = Start {
            path: Path::new("/"),
            given: true,
        };
        for (path, stream) in [
            ("dev/fd/0", Stream::Stdin),
            ("dev/stderr", Stream::Stderr),
            ("proc/thread-self/fd/1", Stream::Stdout),
        ] {
            assert_eq!(
                resolve(root, path, true).unwrap(),
                End::Stream(stream),
                "{path}"
            );
        }
        let other = resolve(root, "proc/self/fd/3", true).unwrap();
        assert_eq!(other, End::At("/proc/self/fd/3".into()));
    }

    #[test]
    fn a_place_is_reached_from_the_deepest_folder_around_it() {
        let folders = ["/", "/data", "/data/deep", "/other"].map(Path::new);
        let found = |place: &str| beneath(Path::new(place), folders);
        assert_eq!(found("/data/deep/x/y"), Some((2, "x/y".to_owned())));
        assert_eq!(found("/data/deeper"), Some((1, "deeper".to_owned())));
        assert_eq!(found("/data"), Some((1, ".".to_owned())));
        assert_eq!(found("/etc/x"), Some((0, "etc/x".to_owned())));
        assert_eq!(
            beneath(Path::new("/etc"), folders[1..].iter().copied()),
            None
        );
    }
}
