//! In the helper: what a container's process is going to do, made ready before it is cloned.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use medley_engine::{Engine, Entry, Form, Unfit};
use medley_image::{Cache, Key};

use crate::helper::Engines;
use crate::init_linux::LinuxInit;
use crate::init_wasm::WasmInit;
use crate::protocol::{Code, Program, Reply};

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the helper got no native code for a wasm program")]
    NoCode,
    #[error("the engine {engine} is not built in")]
    NoEngine { engine: medley_dispatch::EngineKind },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the engine does not work on this machine: {reason}")]
    Fingerprint { reason: String },
    #[error(transparent)]
    Cache(#[from] medley_image::cache::Error),
}

/// What a process is going to do.
pub(crate) enum Work {
    Linux(LinuxInit),
    Wasm(WasmInit),
}

/// Work, or what the shim has to do before.
pub(crate) enum Loaded {
    Ready(Work),
    Not(Reply),
}

/// Makes `program` ready. A guest's native code, or its module, is in `code`; `status` is the pipe
/// that tells how its start goes.
pub(crate) fn load(
    program: Program,
    code: Option<OwnedFd>,
    status: File,
    engines: Engines,
) -> Result<Loaded, Error> {
    let (engine, entry, source, preopens, argv_start) = match program {
        Program::Linux { path } => {
            return Ok(Loaded::Ready(Work::Linux(LinuxInit::new(path, status))));
        }
        Program::Wasm {
            engine,
            entry,
            code,
            preopens,
            argv_start,
        } => (engine, entry, code, preopens, argv_start),
    };
    let file = code.map(File::from).ok_or(Error::NoCode);
    let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
    // Before the clone: the process wakes up with everything mapped and linked.
    let program = match source {
        Code::Given { form } => engine.load(file?, form, &entry)?,
        Code::Cached {
            cache,
            form,
            module,
        } => match cached(engine, &cache, module.ok_or(file), form, &entry) {
            Ok(Cached::Found(program)) => program,
            Ok(Cached::Missing { fingerprint }) => {
                return Ok(Loaded::Not(Reply::NotCached { fingerprint }));
            }
            Err(Error::Unfit(unfit)) => return Err(unfit.into()),
            Err(error) => {
                return Ok(Loaded::Not(Reply::NoCache {
                    reason: medley_task::error::sentence(&error),
                }));
            }
        },
    };
    let init = WasmInit::new(program, entry, preopens, argv_start, status);
    Ok(Loaded::Ready(Work::Wasm(init)))
}

/// What the cache has for a module.
enum Cached {
    Found(Box<dyn medley_engine::Program>),
    Missing { fingerprint: String },
}

/// Looks for the native code of a module, of which the digest is known or the file is there. An
/// entry that the engine does not take is forgotten.
fn cached(
    engine: &dyn Engine,
    folder: &Path,
    module: Result<String, Result<File, Error>>,
    form: Form,
    entry: &Entry,
) -> Result<Cached, Error> {
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| Error::Fingerprint { reason })?;
    let key = match module {
        Ok(digest) => Key::of_digest(&digest, engine.name(), &fingerprint),
        Err(file) => Key::new(&file?, engine.name(), &fingerprint)?,
    };
    let cache = Cache::open(folder, medley_image::cache::DEFAULT_LIMIT)?;
    let Some(code) = cache.find(&key)? else {
        return Ok(Cached::Missing { fingerprint });
    };
    match engine.load(code, form, entry) {
        Ok(program) => Ok(Cached::Found(program)),
        Err(Unfit::Engine { reason, .. }) => {
            log::warn!(
                "the cached code of {} does not fit: {reason}",
                entry.path.display()
            );
            cache.forget(&key);
            Ok(Cached::Missing { fingerprint })
        }
        Err(unfit) => Err(unfit.into()),
    }
}
