//! What an entry is found by, and what is written down of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::limits::MAX_MODULE;
use crate::digest;

/// Names one entry: a digest of all that its content depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    engine: String,
    version: String,
    module: String,
    bytes: Option<u64>,
}

impl Key {
    /// The key of `module`'s native code by `engine`, whose `fingerprint` tells version,
    /// configuration and processor; its first word is the version.
    ///
    /// # Errors
    /// [`Error::Module`] if the module can't be read, [`Error::TooLarge`].
    pub fn new(module: &File, engine: &str, fingerprint: &str) -> Result<Self, Error> {
        let bytes = size(module)?;
        let module = digest::of_file(module).map_err(Error::Module)?;
        Ok(Self::of_digest(&module, engine, fingerprint).of_size(bytes))
    }

    /// As [`Self::new`], for a module whose SHA-256, in hex, is known.
    #[must_use]
    pub fn of_digest(module: &str, engine: &str, fingerprint: &str) -> Self {
        Self {
            name: digest::of_parts(&[engine, fingerprint, module]),
            engine: engine.to_owned(),
            version: fingerprint
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
            module: module.to_owned(),
            bytes: None,
        }
    }

    /// The same key, of a module of so many `bytes`.
    #[must_use]
    pub fn of_size(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// The module's size, if it is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The module's SHA-256.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// What is written down of the module and its engine, if the module is called `name`.
    pub(super) fn info(&self, name: &Path) -> ModuleInfo {
        ModuleInfo {
            engine: self.engine.clone(),
            version: self.version.clone(),
            module: self.module.clone(),
            bytes: self.bytes,
            name: name.to_owned(),
        }
    }
}

/// The size of a module that may be compiled.
///
/// # Errors
/// [`Error::Module`] if it can't be told, [`Error::TooLarge`].
pub fn size(module: &File) -> Result<u64, Error> {
    let size = module.metadata().map_err(Error::Module)?.len();
    if size > MAX_MODULE {
        return Err(Error::TooLarge { size });
    }
    Ok(size)
}

/// What is written down of a module and of the engine that was to compile it. For people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Which engine.
    pub engine: String,
    /// Which version of it.
    pub version: String,
    /// The module's SHA-256.
    pub module: String,
    /// The module's size, in bytes, if it was known.
    pub bytes: Option<u64>,
    /// What the module was called when it was compiled.
    pub name: PathBuf,
}

/// What is written down of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its key: a file that has come to hold another's content is no record.
    pub key: String,
    /// The digest of its native code.
    pub code: String,
    /// What it is the native code of.
    #[serde(flatten)]
    pub info: ModuleInfo,
}

impl Record {
    pub(super) fn new(key: &Key, code: &str, name: &Path) -> Self {
        Self {
            key: key.name.clone(),
            code: code.to_owned(),
            info: key.info(name),
        }
    }

    /// The record in the file of `key`, if it is one.
    pub(super) fn parse(bytes: &[u8], key: &str) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        (record.key == key && digest::is_digest(&record.code)).then_some(record)
    }
}
