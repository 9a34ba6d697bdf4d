//! The file of a spec: reading it, and writing a changed one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::{asked, environment, words};
use crate::confinement;

/// Why a spec can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("cannot read the container's spec {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It can't be understood.
    #[error("the container's spec {} is not a valid OCI config.json", path.display())]
    Parse {
        path: PathBuf,
        /// Where and what.
        source: words::Error,
    },
    /// It has no `root`.
    #[error("the container's spec {} has no root.path", path.display())]
    NoRoot { path: PathBuf },
    /// It has no `linux`.
    #[error("the container's spec {} has no linux section: it is for another platform", path.display())]
    NoLinux { path: PathBuf },
    /// It asks for something that is not done.
    #[error(transparent)]
    Asked(#[from] asked::Refused),
    /// Its process's environment.
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// What its process is to be confined by.
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    /// The changed spec could not be written for the helper.
    #[error("cannot write the changed spec {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The name of a bundle's spec.
const CONFIG: &str = "config.json";

/// Reads a bundle's spec.
///
/// # Errors
/// [`Error`] if it is missing, malformed, or not one of a Linux container.
pub fn load(bundle: &Path) -> Result<Spec, Error> {
    read(bundle).map(|read| read.value)
}

/// Whether a bundle's spec asks for a terminal.
///
/// # Errors
/// As for [`load`].
pub fn wants_terminal(bundle: &Path) -> Result<bool, Error> {
    let spec = load(bundle)?;
    let process = spec.process().as_ref();
    Ok(process.is_some_and(|process| process.terminal() == Some(true)))
}

/// As [`load`], and tells which capabilities in it are not known and were left out.
pub(crate) fn read(bundle: &Path) -> Result<words::Read<Spec>, Error> {
    let path = bundle.join(CONFIG);
    let text = std::fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let read = words::spec(&text).map_err(|source| Error::Parse {
        path: path.clone(),
        source,
    })?;
    if read.value.root().is_none() {
        return Err(Error::NoRoot { path });
    }
    if read.value.linux().is_none() {
        return Err(Error::NoLinux { path });
    }
    Ok(read)
}

/// Tells of capabilities that were left out, as runc does.
pub(crate) fn warn_of_unknown(id: &str, capabilities: &[String]) {
    if !capabilities.is_empty() {
        log::warn!(
            "{id}: ignoring unknown or unavailable capabilities: {}",
            capabilities.join(", ")
        );
    }
}

/// The annotations of a bundle's spec, and nothing else of it.
///
/// # Errors
/// [`Error`] if the spec is missing or malformed.
pub fn annotations(bundle: &Path) -> Result<HashMap<String, String>, Error> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let path = bundle.join(CONFIG);
    let text = std::fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let spec: Annotated = serde_json::from_slice(&text).map_err(|source| Error::Parse {
        path,
        source: source.into(),
    })?;
    Ok(spec.annotations)
}

/// Writes a spec where the helper finds it.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn save(dir: &Path, spec: &Spec) -> Result<(), Error> {
    let path = dir.join(CONFIG);
    let write = || -> io::Result<()> {
        let mut file = io::BufWriter::new(std::fs::File::create(&path)?);
        serde_json::to_writer(&mut file, spec)?;
        io::Write::flush(&mut file)
    };
    write().map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })
}
