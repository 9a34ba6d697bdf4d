//! Trees that are alike.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// What is later than this was changed by a call, and not by one that sets times.
const NOW: i64 = 1_000_000_000;

/// A tree below the real root, gone at the end if it was made here.
pub(super) struct Tree {
    path: PathBuf,
    made: bool,
}

impl Tree {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("medley-{name}-{}", std::process::id());
        // In memory, if there is such a place: it is made anew many times.
        let memory = Path::new("/dev/shm");
        let path = if memory.is_dir() {
            memory.join(name)
        } else {
            std::env::temp_dir().join(name)
        };
        fs::create_dir_all(&path).unwrap();
        let tree = Self {
            path: path.canonicalize().unwrap(),
            made: true,
        };
        tree.renew();
        tree
    }

    /// One that is there.
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            made: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it as it was at first.
    pub(super) fn renew(&self) {
        for entry in fs::read_dir(&self.path).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        for dir in ["dir/sub", "dir/empty", "sub/inner", "empty", "other/folder"] {
            fs::create_dir_all(self.path.join(dir)).unwrap();
        }
        for (file, text) in [("file", "1"), ("dir/file", "22"), ("dir/sub/file", "333")] {
            fs::write(self.path.join(file), text).unwrap();
        }
        fs::write(self.path.join("other/file"), "4444").unwrap();
        self.links();
        for (time, path) in (1000..).zip(self.all()) {
            self.set_time(&path, time);
        }
    }

    fn links(&self) {
        let absolute = |path: &str| format!("{}/{path}", self.path.display());
        for (from, to) in [
            ("abs", absolute("dir")),
            ("rel", "dir".to_owned()),
            ("chain", "second".to_owned()),
            ("second", absolute("abs")),
            ("slashed", absolute("dir/")),
            ("loop", absolute("pool")),
            ("pool", absolute("loop")),
            ("dangling", absolute("missing")),
            ("dir/sub/up", absolute("dir/sub/..")),
        ] {
            symlink(to, self.path.join(from)).unwrap();
        }
        for at in ["", "dir/"] {
            for (from, to) in [
                ("to-file", absolute("dir/sub/file")),
                ("to-sub", "sub".to_owned()),
                ("to-dir", absolute("dir/sub")),
                ("to-dir-slash", absolute("dir/sub/")),
                ("to-file-slash", absolute("dir/file/")),
                ("to-none", absolute("dir/made")),
                ("to-none-rel", "made".to_owned()),
                ("to-none-slash", absolute("dir/made/")),
                ("to-itself", absolute(&format!("{at}to-itself"))),
                ("up", absolute("dir/sub/../")),
            ] {
                symlink(to, self.path.join(at).join(from)).unwrap();
            }
        }
    }

    fn set_time(&self, path: &str, seconds: i64) {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = self.path.join(path);
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// The paths of all that is in it, deepest first, and of itself.
    fn all(&self) -> Vec<String> {
        let mut found = vec![String::new()];
        let mut next = 0;
        while next < found.len() {
            let dir = found[next].clone();
            next += 1;
            if !self.path.join(&dir).symlink_metadata().unwrap().is_dir() {
                continue;
            }
            let names = fs::read_dir(self.path.join(&dir)).unwrap();
            let mut names: Vec<_> = names
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            found.extend(names.iter().map(|name| match dir.as_str() {
                "" => name.clone(),
                _ => format!("{dir}/{name}"),
            }));
        }
        found.reverse();
        found
    }

    /// What is in it, with everything that a call may change.
    fn told(&self) -> Vec<String> {
        let told = self.all().into_iter().map(|path| {
            let place = self.path.join(&path);
            let stat = place.symlink_metadata().unwrap();
            let time = if stat.mtime() > NOW { -1 } else { stat.mtime() };
            let holds = if stat.is_symlink() {
                let target = fs::read_link(&place).unwrap();
                target
                    .to_str()
                    .unwrap()
                    .replace(self.path.to_str().unwrap(), "")
            } else if stat.is_file() {
                fs::read_to_string(&place).unwrap()
            } else {
                String::new()
            };
            let kind = stat.mode() & libc::S_IFMT;
            format!("{path} {kind:o} {} {time} {holds}", stat.nlink())
        });
        told.collect()
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.told() == other.told()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.made {
            fs::remove_dir_all(&self.path).unwrap();
        }
    }
}
