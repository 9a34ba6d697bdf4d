use super::{Change, End, Last, PATH_MAX, Place, Start, Stream, beneath, resolve};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A dir below the real root, gone at the end.
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

    fn from(&self, dir: &str, given: bool, path: &str) -> std::io::Result<End> {
        let dir = self.0.join(dir);
        resolve(start(&dir, given), path, Last::Followed)
    }

    /// Where a path leads, with what comes after it.
    fn place(&self, path: &str, last: Last) -> Result<String, i32> {
        let end = resolve(start(&self.0, true), path, last);
        match end.map_err(|error| error.raw_os_error().unwrap())? {
            End::At(Place { path, tail, .. }) => {
                let path = path.strip_prefix(&self.0).unwrap();
                Ok(format!("{}{tail}", path.display()))
            }
            End::Stream(stream) => panic!("{stream:?}"),
        }
    }

    fn followed(&self, dir: &str, given: bool, path: &str) -> PathBuf {
        let End::At(place) = self.from(dir, given, path).unwrap() else {
            panic!("{path} is a stream");
        };
        place
            .path
            .strip_prefix(&self.0)
            .unwrap_or(&place.path)
            .to_owned()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn start(path: &Path, given: bool) -> Start<'_> {
    Start {
        path,
        real: None,
        given,
    }
}

fn stream(end: std::io::Result<End>) -> Stream {
    match end.unwrap() {
        End::Stream(stream) => stream,
        End::At(place) => panic!("{place:?}"),
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
    for (start, given, path, place) in [
        ("", true, "etc/certs/a", "data/file"),
        ("etc", false, "certs/a", "data/file"),
        ("etc/whole", false, "c", "data/file"),
        ("", true, "etc/whole/new", "data/new"),
        ("", true, "etc/whole/../data/in/.", "data/in"),
    ] {
        assert_eq!(
            tree.followed(start, given, path),
            Path::new(place),
            "{path}"
        );
    }
}

#[test]
fn a_link_that_is_not_followed_stays() {
    let tree = Tree::new("kept");
    tree.link("etc/b", tree.0.join("data/file"));
    tree.link("etc/whole", tree.0.join("data"));
    for (path, place) in [
        ("etc/b", "etc/b"),
        ("etc/whole/in", "data/in"),
        ("etc/whole/", "data/"),
        ("etc/whole/.", "data/."),
    ] {
        assert_eq!(tree.place(path, Last::Kept).unwrap(), place, "{path}");
    }
}

#[test]
fn a_name_to_be_changed_is_never_looked_through() {
    let tree = Tree::new("named");
    tree.link("etc/whole", tree.0.join("data"));
    tree.link("etc/none", tree.0.join("data/none"));
    let (exists, dir, not_empty) = (Err(17), Err(21), Err(39));
    let at = |place: &str| Ok(place.to_owned());
    for (path, change, place) in [
        ("etc/whole/in", Change::RemoveDir, at("data/in")),
        ("etc/whole/in/", Change::RemoveDir, at("data/in")),
        // Which fails, as it has to.
        ("etc/whole/in/.", Change::RemoveDir, at("data/in/.")),
        ("etc/whole/in/..", Change::RemoveDir, not_empty),
        ("etc/whole", Change::RemoveDir, at("etc/whole")),
        ("etc/whole/", Change::RemoveDir, at("etc/whole")),
        ("etc/whole/in/..", Change::Move, at("data/.")),
        ("etc/whole/new/", Change::Move, at("data/new/")),
        ("etc/none/", Change::MakeLink, exists),
        ("etc/whole/new/", Change::MakeLink, Err(2)),
        ("etc/whole/new/", Change::MakeDir, at("data/new")),
        ("etc/whole/in/", Change::RemoveFile, dir),
        ("etc/whole/", Change::RemoveFile, Err(20)),
        ("etc/none/new", Change::MakeDir, Err(2)),
    ] {
        let said = tree.place(path, Last::Named(change));
        assert_eq!(said, place, "{change:?} {path}");
    }
}

#[test]
fn nothing_is_gone_through_that_is_no_directory() {
    let tree = Tree::new("through");
    tree.link("etc/whole", tree.0.join("data"));
    for (path, error) in [
        ("etc/whole/none/../file", 2),
        ("etc/whole/file/../file", 20),
        ("etc/whole/file/.", 20),
        ("etc/whole/file/", 20),
        ("", 2),
    ] {
        assert_eq!(tree.place(path, Last::Followed), Err(error), "{path}");
    }
    let create = Last::Created { follow: true };
    assert_eq!(tree.place("etc/whole/new/", create), Err(21));
    assert_eq!(tree.place("etc/whole/new", create).unwrap(), "data/new");
    let long = "a/".repeat(PATH_MAX / 2);
    assert_eq!(tree.place(&long, Last::Kept), Err(36));
    let name = "a".repeat(300);
    assert_eq!(tree.place(&name, Last::Followed), Err(36));
}

#[test]
fn a_dir_that_took_the_place_of_another_is_none_to_begin_at() {
    let tree = Tree::new("moved");
    let etc = fs::File::open(tree.0.join("etc")).unwrap();
    let path = tree.0.join("etc");
    let begin = Start {
        path: &path,
        real: Some(&etc),
        given: false,
    };
    assert!(resolve(begin, "certs", Last::Followed).is_ok());
    fs::rename(&path, tree.0.join("moved")).unwrap();
    fs::create_dir_all(path.join("certs")).unwrap();
    assert!(denied(resolve(begin, "certs", Last::Followed)));
}

#[test]
fn links_that_mean_open_files_lead_nowhere() {
    let pid = std::process::id();
    let root = start(Path::new("/"), true);
    for path in ["root/etc", "cwd/Cargo.toml", "exe", "fd/0", "ns/net"] {
        let path = format!("proc/{pid}/{path}");
        assert!(denied(resolve(root, &path, Last::Followed)), "{path}");
    }
    let plain = resolve(root, "proc/mounts", Last::Followed).unwrap();
    assert!(matches!(plain, End::At(place) if place.path == Path::new("/proc/self/mounts")));
}

#[test]
fn a_path_itself_never_leads_out_of_its_dir() {
    let tree = Tree::new("out");
    for path in ["../data/file", "certs/../../data/file", "/etc", ".."] {
        assert!(denied(tree.from("etc", true, path)), "{path}");
        assert!(denied(tree.from("etc", false, path)), "{path}");
    }
}

#[test]
fn a_relative_link_leads_out_of_what_was_given_alone() {
    let tree = Tree::new("relative");
    tree.link("etc/up", "../data/file");
    tree.link("etc/far", "../../../../../../../../../../..");
    assert_eq!(tree.followed("etc", true, "up"), Path::new("data/file"));
    assert_eq!(tree.followed("etc", true, "far"), Path::new("/"));
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
    for (path, meant) in [
        ("etc/access.log", Stream::Stdout),
        ("etc/error.log", Stream::Stderr),
    ] {
        assert_eq!(stream(tree.from("", true, path)), meant);
    }
    let root = start(Path::new("/"), true);
    for (path, meant) in [
        ("dev/fd/0", Stream::Stdin),
        ("dev/stderr", Stream::Stderr),
        ("proc/thread-self/fd/1", Stream::Stdout),
    ] {
        assert_eq!(stream(resolve(root, path, Last::Followed)), meant, "{path}");
    }
    let other = resolve(root, "proc/self/fd/3", Last::Followed).unwrap();
    assert!(matches!(other, End::At(place) if place.path == Path::new("/proc/self/fd/3")));
    let dir = resolve(root, "dev/fd/1/", Last::Followed).unwrap_err();
    assert_eq!(dir.raw_os_error(), Some(20));
}

#[test]
fn a_place_is_reached_from_the_deepest_dir_around_it() {
    let dirs = ["/", "/data", "/data/deep", "/other"].map(Path::new);
    let found = |place: &str| beneath(Path::new(place), dirs);
    assert_eq!(found("/data/deep/x/y"), Some((2, "x/y".to_owned())));
    assert_eq!(found("/data/deeper"), Some((1, "deeper".to_owned())));
    assert_eq!(found("/data"), Some((1, ".".to_owned())));
    assert_eq!(found("/etc/x"), Some((0, "etc/x".to_owned())));
    assert_eq!(beneath(Path::new("/etc"), dirs[1..].iter().copied()), None);
}
