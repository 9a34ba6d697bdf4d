//! The programs that helpers are started from: our own, and those beside it that have an engine
//! which is not built in.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use medley_sys::own_binary::OwnBinary;
use medley_types::EngineKind;

use super::error::Error;

/// A program that is a helper for the containers of one engine.
///
/// It is another file because of what it is linked with: libraries of many megabytes, which every
/// shim and every container would have to relocate.
#[derive(Debug)]
pub struct EngineBinary {
    /// Its engine.
    pub engine: EngineKind,
    /// Where it is.
    pub path: PathBuf,
    /// The environment that it is given: the engine's own variables.
    pub env: Vec<(&'static str, OsString)>,
}

/// Every program, protected from what runs in containers.
#[derive(Debug)]
pub(super) struct EngineBinaries {
    own: OwnBinary,
    beside: Vec<(EngineBinary, OnceLock<OwnBinary>)>,
}

/// What to start for one request.
pub(super) struct Chosen<'a> {
    pub(super) binary: &'a OwnBinary,
    /// `None` for our own.
    pub(super) beside: Option<&'a EngineBinary>,
}

impl EngineBinaries {
    pub(super) fn new(beside: Vec<EngineBinary>) -> io::Result<Self> {
        let own = OwnBinary::read_only().or_else(|error| {
            warn("the shim's binary", &error);
            OwnBinary::unprotected()
        })?;
        let beside = beside
            .into_iter()
            .map(|beside| (beside, OnceLock::new()))
            .collect();
        Ok(Self { own, beside })
    }

    fn own(&self) -> Chosen<'_> {
        Chosen {
            binary: &self.own,
            beside: None,
        }
    }

    /// Tells the program that has `engine` from another version of it in the same place. `None` if
    /// that is not known.
    pub(super) fn identity(&self, engine: EngineKind) -> Option<String> {
        let program = self.choose(Some(engine)).ok()?.binary.path();
        let found = std::fs::metadata(program).ok()?;
        Some(format!(
            "{} {} {}.{:09}",
            env!("CARGO_PKG_VERSION"),
            found.len(),
            found.mtime(),
            found.mtime_nsec()
        ))
    }

    /// The program that has `engine`; our own, if none is needed.
    pub(super) fn choose(&self, engine: Option<EngineKind>) -> Result<Chosen<'_>, Error> {
        let found = self
            .beside
            .iter()
            .find(|(beside, _)| Some(beside.engine) == engine);
        let Some((beside, binary)) = found else {
            return Ok(self.own());
        };
        let binary = match binary.get() {
            Some(binary) => binary,
            // For the first of its containers, and no earlier: most pods have none. Of two that
            // come at once the second lets its own go.
            None => {
                let opened = open(&beside.path).map_err(|source| Error::EngineBinary {
                    path: beside.path.clone(),
                    engine: beside.engine,
                    source,
                })?;
                binary.get_or_init(|| opened)
            }
        };
        Ok(Chosen {
            binary,
            beside: Some(beside),
        })
    }
}

/// How a program begins. The C library hands what does not to a shell.
const ELF: &[u8; 4] = b"\x7fELF";

fn open(path: &Path) -> io::Result<OwnBinary> {
    let mut magic = [0; ELF.len()];
    let read = File::open(path)?.read_exact(&mut magic);
    if read.is_err() || magic != *ELF {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no ELF program",
        ));
    }
    OwnBinary::read_only_at(path).or_else(|error| {
        let unprotected = OwnBinary::unprotected_at(path)?;
        warn(&path.display().to_string(), &error);
        Ok(unprotected)
    })
}

fn warn(what: &str, error: &io::Error) {
    log::warn!(
        "{what} cannot be protected by a read-only mount ({error}); containers that share a pid \
         namespace with the node may reach it"
    );
}
