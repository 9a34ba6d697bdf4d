//! What containerd reads: a file, and those that it imports.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::glob;
use crate::root::Root;

/// Most files that are looked at: more are a circle or a mistake.
const MAX_FILES: usize = 256;

/// The handler that runc has where no configuration says which is the default.
const RUNC: &str = "runc";

/// The files, the main one first. What a later one says counts more.
#[derive(Debug)]
pub(crate) struct Effective {
    files: Vec<(PathBuf, Config)>,
    /// The file that alone says what counts for the CRI; absent if all of them do.
    only: Option<PathBuf>,
}

/// A handler that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) runtime: String,
    /// The file that has it, a path of the node.
    pub(crate) file: PathBuf,
}

impl Effective {
    /// Reads them. A main file that is not there says nothing.
    pub(crate) fn read(root: &Root, main: &Path) -> Result<Self, Error> {
        let mut pending = vec![main.to_owned()];
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        while let Some(path) = pending.pop() {
            if !seen.insert(path.clone()) || seen.len() > MAX_FILES {
                continue;
            }
            let Some(bytes) = root.read(&path)? else {
                continue;
            };
            let config = Config::parse(&root.shown(&path), &bytes)?;
            let mut imported = Vec::new();
            for import in config.imports() {
                imported.extend(resolve(root, &path, &import)?);
            }
            pending.extend(imported.into_iter().rev());
            files.push((path, config));
        }
        Ok(Self { files, only: None })
    }

    /// The main file, if it is there.
    pub(crate) fn main(&self) -> Option<&Config> {
        self.files.first().map(|(_, config)| config)
    }

    /// From here on only what this file says of the CRI counts, as for containerd 1.x, which reads it from the
    /// last file that says something of it.
    pub(crate) fn count_only(&mut self, path: &Path) {
        self.only = Some(path.to_owned());
    }

    /// The files that say what counts for the CRI.
    fn counted(&self) -> impl DoubleEndedIterator<Item = &(PathBuf, Config)> {
        let counts =
            |(path, _): &&(PathBuf, Config)| self.only.as_ref().is_none_or(|only| only == path);
        self.files.iter().filter(counts)
    }

    /// The handler of this name.
    pub(crate) fn handler(&self, name: &str) -> Option<Present> {
        let all = self.counted().rev();
        all.flat_map(|(file, config)| {
            let handlers = config.handlers().into_iter();
            handlers.map(move |(name, runtime)| (name, runtime, file))
        })
        .find(|(found, runtime, _)| found == name && !runtime.is_empty())
        .map(|(_, runtime, file)| Present {
            runtime,
            file: file.clone(),
        })
    }

    /// Whether nothing is said of any handler.
    pub(crate) fn has_no_handler(&self) -> bool {
        self.counted()
            .all(|(_, config)| config.handlers().is_empty())
    }

    /// Whether systemd makes the cgroups of the default runtime's containers; `None` if no configuration says.
    /// Of a default that is this shim, or whose name a template has yet to fill in, it is runc's.
    pub(crate) fn systemd(&self) -> Option<bool> {
        let last = |find: &dyn Fn(&Config) -> Option<bool>| {
            self.counted().rev().find_map(|(_, config)| find(config))
        };
        let default = self
            .counted()
            .rev()
            .find_map(|(_, config)| config.default_runtime());
        let default = default.unwrap_or(RUNC);
        last(&|config| config.systemd(default)).or_else(|| last(&|config| config.systemd(RUNC)))
    }

    /// What is said of local pulls.
    pub(crate) fn local_pull(&self) -> Option<bool> {
        let all = self.counted().rev();
        all.into_iter().find_map(|(_, config)| config.local_pull())
    }

    /// Whether the CRI is switched off.
    pub(crate) fn has_no_cri(&self) -> bool {
        self.files.iter().any(|(_, config)| config.has_no_cri())
    }

    /// The address that containerd listens on, if it says one.
    pub(crate) fn address(&self) -> Option<PathBuf> {
        let of = |config: &Config| {
            let grpc = config.string(&["plugins", "io.containerd.server.v1.grpc"], "address");
            let address = grpc.or_else(|| config.string(&["grpc"], "address"))?;
            (!address.is_empty()).then(|| PathBuf::from(address))
        };
        self.files.iter().rev().find_map(|(_, config)| of(config))
    }

    /// The imported files.
    pub(crate) fn imported(&self) -> Vec<PathBuf> {
        let imported = self.files.iter().skip(1);
        imported.map(|(path, _)| path.clone()).collect()
    }

    /// The last of the imported files that says something of the CRI: where an imported one replaces all that is
    /// said of a plugin, its word counts.
    pub(crate) fn says_last_of_cri(&self) -> Option<&Path> {
        let mut imported = self.files.iter().skip(1).rev();
        let found = imported.find(|(_, config)| config.has_cri());
        found.map(|(path, _)| &**path)
    }

    /// The directory of which the main file imports a file of this name.
    pub(crate) fn drop_in_dir(&self, file: &str) -> Option<PathBuf> {
        let (path, config) = self.files.first()?;
        let imports = config.imports();
        let mut dirs = imports.iter().filter_map(|import| {
            let import = absolute(path, import);
            let (dir, name) = (import.parent()?, import.file_name()?);
            let is_one = !dir.iter().any(glob::is_pattern);
            let takes_it = name.as_bytes().contains(&b'*') && glob::fits(name, OsStr::new(file));
            (is_one && takes_it).then(|| dir.to_owned())
        });
        dirs.next()
    }
}

/// An import's path. A relative one is so to the file that has it.
fn absolute(from: &Path, import: &str) -> PathBuf {
    from.parent().unwrap_or(Path::new("/")).join(import)
}

/// The files that an import stands for. containerd takes it for a pattern only if it has a `*`.
fn resolve(root: &Root, from: &Path, import: &str) -> Result<Vec<PathBuf>, Error> {
    let path = absolute(from, import);
    if import.contains('*') {
        glob::paths(root, &path)
    } else {
        Ok(vec![path])
    }
}
