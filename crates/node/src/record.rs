//! What an install has changed, so that it can be taken back.

use std::fs::File;
use std::path::{Path, PathBuf};

use medley_image::digest;
use serde::{Deserialize, Serialize};

use crate::config::Pulls;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::root::Root;

/// The directory of all that is kept on a node.
pub(crate) const STATE: &str = "/var/lib/containerd-shim-wasm";

/// The format of the record.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Of the program that wrote it.
    pub(crate) version: String,
    pub(crate) distribution: Distribution,
    /// What was told of containerd, so that it needs not be told again.
    #[serde(default)]
    pub(crate) config: Option<PathBuf>,
    #[serde(default)]
    pub(crate) address: Option<PathBuf>,
    /// Whether the way images are pulled is to stay as it is.
    #[serde(default)]
    pub(crate) keeps_pulls: bool,
    pub(crate) files: Vec<Filed>,
    /// Directories that were made, the outermost first.
    pub(crate) dirs: Vec<PathBuf>,
}

/// A path of the node that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filed {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
    /// What was there; `None` if nothing was.
    pub(crate) before: Option<Before>,
    pub(crate) after: Content,
    /// Whether what was there, with what was added, is all of it: else another program has changed the file
    /// between two installs, and it is not put back as it was.
    pub(crate) is_exact: bool,
    /// The handlers that were added.
    #[serde(default)]
    pub(crate) handlers: Vec<String>,
    /// Whether and how the way images are pulled was changed.
    #[serde(default)]
    pub(crate) pulls: Option<Pulls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// containerd's configuration.
    Config,
    /// k3s' and RKE2's template of it.
    Template,
    /// Docker's.
    Docker,
    Program,
    Link,
}

/// A file that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// Its copy, a name in the record's directory.
    pub(crate) backup: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    /// A file, by the digest of its bytes in hex.
    Sha256(String),
    /// A symlink, by what it says.
    Link(PathBuf),
}

impl Record {
    pub(crate) fn new(distribution: Distribution) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            distribution,
            config: None,
            address: None,
            keeps_pulls: false,
            files: Vec::new(),
            dirs: Vec::new(),
        }
    }

    /// Reads the one of a node, if there is one.
    pub(crate) fn read(root: &Root, state: &Path) -> Result<Option<Self>, Error> {
        let path = path(state);
        let Some(bytes) = root.read(&path)? else {
            return Ok(None);
        };
        let path = root.shown(&path);
        let failed = |source| Error::Record {
            path: path.clone(),
            source,
        };
        let format: Format = serde_json::from_slice(&bytes).map_err(failed)?;
        if format.format > FORMAT {
            return Err(Error::NewerRecord { path });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(failed)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The handlers that were added, each once.
    pub(crate) fn handlers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.files.iter().flat_map(|filed| &filed.handlers) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Strikes files off, and the directories that held nothing else.
    pub(crate) fn forget(&mut self, paths: &[PathBuf]) {
        self.files.retain(|filed| !paths.contains(&filed.path));
        let files = &self.files;
        let held = |dir: &PathBuf| paths.iter().any(|path| path.starts_with(dir));
        let holds = |dir: &PathBuf| files.iter().any(|filed| filed.path.starts_with(dir));
        self.dirs.retain(|dir| !held(dir) || holds(dir));
    }

    /// A name for another backup.
    pub(crate) fn free_backup(&self) -> String {
        let used = |name: &str| {
            let mut all = self.files.iter().filter_map(|filed| filed.before.as_ref());
            all.any(|before| before.backup == name)
        };
        let mut n = 0;
        loop {
            let name = format!("backup-{n}");
            if !used(&name) {
                return name;
            }
            n += 1;
        }
    }
}

/// The part that every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The record's directory.
pub(crate) fn dir(state: &Path) -> PathBuf {
    state.join("install")
}

/// The record.
pub(crate) fn path(state: &Path) -> PathBuf {
    dir(state).join("record.json")
}

pub(crate) fn digest(bytes: &[u8]) -> Content {
    Content::Sha256(digest::of_bytes(bytes))
}

/// The digest of a file, from its beginning.
pub(crate) fn digest_of(file: &File) -> std::io::Result<Content> {
    digest::of_file(file).map(Content::Sha256)
}
