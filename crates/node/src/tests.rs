//! Whole installs, on roots as the distributions have them.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::args::Settings;
use crate::error::{Error, told};
use crate::install::install;
use crate::uninstall::uninstall;

mod bad;
mod distributions;
mod nodes;
mod state;

use nodes::Fixture;

/// A root of its own.
struct Node {
    dir: tempfile::TempDir,
    /// The program that is installed.
    program: tempfile::NamedTempFile,
}

impl Node {
    fn of(fixture: &Fixture) -> Self {
        let node = Self::empty();
        for (path, text) in fixture.files {
            node.write(path, text);
        }
        node
    }

    fn empty() -> Self {
        let program = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&program, "the shim").unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            program,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    /// Writes a file; one that ends in `/` is a directory.
    fn write(&self, path: &str, text: &str) {
        let at = self.at(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(&at).unwrap();
            return;
        }
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, text).unwrap();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            root: self.dir.path().to_owned(),
            program: self.program.path().to_owned(),
            ..Settings::default()
        }
    }

    fn with_handlers(&self, handlers: &[&str]) -> Settings {
        Settings {
            handlers: handlers.iter().map(ToString::to_string).collect(),
            ..self.settings()
        }
    }

    fn install(&self) -> String {
        install(self.settings()).unwrap_or_else(|error| panic!("{}", told(&error)))
    }

    fn uninstall(&self) -> String {
        uninstall(self.settings()).unwrap_or_else(|error| panic!("{}", told(&error)))
    }

    /// What a dry run says, with paths of the node.
    fn dry_run(&self, settings: Settings) -> Result<String, Error> {
        let settings = Settings {
            dry_run: true,
            ..settings
        };
        let shown = install(settings)?;
        Ok(shown.replace(&*self.dir.path().to_string_lossy(), ""))
    }

    /// Every path, with its mode and what is there.
    fn everything(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut all = BTreeMap::new();
        walk(self.dir.path(), &mut all);
        all
    }
}

fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_dir() {
            walk(&path, all);
            Vec::new()
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            target.to_string_lossy().into_owned().into_bytes()
        } else {
            std::fs::read(&path).unwrap()
        };
        all.insert(path, (meta.mode(), content));
    }
}

/// What an install of this must be refused with.
fn refused(node: &Node, settings: Settings, words: &[&str]) {
    let before = node.everything();
    let error = install(settings).unwrap_err();
    let told = told(&error);
    for word in words {
        assert!(told.contains(word), "no {word:?} in: {told}");
    }
    assert_eq!(node.everything(), before, "something changed: {told}");
}

fn link(target: &str, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}
