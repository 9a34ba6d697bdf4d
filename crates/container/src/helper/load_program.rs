//! In the helper: what a container's process is going to do, made ready before it is cloned.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use medley_engine::{Engine, Entry, Form, TrustedCode, Unfit};
use medley_image::cache::Found;
use medley_image::{Cache, Key};
use rustix::io::Errno;

use crate::helper::Engines;
use crate::init::Work;
use crate::init::linux::LinuxInit;
use crate::init::wasm::WasmInit;
use crate::protocol::{Code, Program, Reply};
use medley_cgroup::guest_memory_limit::LimitChannel;

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
    #[error("cannot hold on to the native code")]
    Hold(#[source] std::io::Error),
    #[error("cannot copy native code to memory, from a cache that nothing may be executed in")]
    Copy(#[source] std::io::Error),
    #[error(transparent)]
    Cache(#[from] medley_image::cache::Error),
    #[error("cannot make a channel to the guest's process")]
    LimitChannel(#[source] std::io::Error),
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
    let (engine, entry, source, preopens, argv_start, stack) = match program {
        Program::Linux { path } => {
            return Ok(Loaded::Ready(Work::Linux(LinuxInit::new(path, status))));
        }
        Program::Wasm {
            engine,
            entry,
            code,
            preopens,
            argv_start,
            stack,
        } => (engine, entry, code, preopens, argv_start, stack),
    };
    let file = code.map(File::from).ok_or(Error::NoCode);
    let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
    // As long as the guest lives, nobody takes the code away that the next replica could share. An
    // engine may well map it by another descriptor than this one, which has the lock.
    let held;
    // Before the clone: the process wakes up with everything mapped and linked.
    let program = match source {
        Code::Given { form } => {
            let code = from_shim(file?);
            held = Some(code.file().try_clone().map_err(Error::Hold)?);
            engine.load(executable(code)?, form, &entry, stack)?
        }
        Code::Cached {
            cache,
            form,
            module,
        } => match cached(engine, &cache, module.ok_or(file), form, &entry, stack) {
            Ok(Cached::Found(program, code)) => {
                held = Some(code);
                program
            }
            Ok(Cached::Missing {
                fingerprint,
                damage,
            }) => {
                return Ok(Loaded::Not(Reply::NotCached {
                    fingerprint,
                    damage,
                }));
            }
            Err(Error::Unfit(unfit)) => return Err(unfit.into()),
            Err(error) => {
                return Ok(Loaded::Not(Reply::NoCache {
                    reason: medley_types::sentence(&error),
                }));
            }
        },
    };
    let channel = LimitChannel::new().map_err(Error::LimitChannel)?;
    let init = WasmInit::new(program, held, entry, preopens, argv_start, status, channel);
    Ok(Loaded::Ready(Work::Wasm(init)))
}

/// Tells an engine's fingerprint.
pub(crate) fn fingerprint(engine: medley_dispatch::EngineKind, engines: Engines) -> Reply {
    let fingerprint = engines(engine)
        .ok_or(Error::NoEngine { engine })
        .and_then(|engine| {
            engine
                .fingerprint()
                .map_err(|reason| Error::Fingerprint { reason })
        });
    match fingerprint {
        Ok(fingerprint) => Reply::Fingerprint { fingerprint },
        Err(error) => Reply::Failed {
            reason: medley_types::sentence(&error),
        },
    }
}

/// Native code that may be mapped: the file itself, or what is in it where its file system is
/// mounted `noexec` or a security module forbids that.
fn executable(code: TrustedCode) -> Result<TrustedCode, Error> {
    let Err(error) = medley_sys::memory::may_execute(code.file()) else {
        return Ok(code);
    };
    if !matches!(
        Errno::from_io_error(&error),
        Some(Errno::PERM | Errno::ACCESS)
    ) {
        // The engine will tell, if it meets it too.
        return Ok(code);
    }
    code.copy_to_memory().map_err(Error::Copy)
}

/// The native code that came with a request.
#[allow(unsafe_code, reason = "what is in the file will be executed")]
fn from_shim(code: File) -> TrustedCode {
    // SAFETY: the request came by the socket that this helper was started with, from the shim, which
    // sends as `Code::Given` what it has as a `TrustedCode`.
    unsafe { TrustedCode::new(code) }
}

/// What the cache has for a module.
enum Cached {
    Found(Box<dyn medley_engine::Program>, File),
    Missing {
        fingerprint: String,
        damage: Option<String>,
    },
}

/// Looks for the native code of a module, of which the digest is known or the file is there. An
/// entry that the engine does not take is forgotten.
fn cached(
    engine: &dyn Engine,
    folder: &Path,
    module: Result<String, Result<File, Error>>,
    form: Form,
    entry: &Entry,
    stack: Option<u64>,
) -> Result<Cached, Error> {
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| Error::Fingerprint { reason })?;
    let key = match module {
        Ok(digest) => Key::of_digest(&digest, engine.name(), &fingerprint),
        Err(file) => Key::new(&file?, engine.name(), &fingerprint)?,
    };
    let missing = |damage| Cached::Missing {
        fingerprint: fingerprint.clone(),
        damage,
    };
    let Some(cache) = Cache::existing(folder, medley_image::cache::DEFAULT_LIMIT)? else {
        return Ok(missing(None));
    };
    let code = match cache.find(&key)? {
        Found::Code(code) => code,
        Found::Missing { damage } => return Ok(missing(damage)),
    };
    let held = code.file().try_clone().map_err(Error::Hold)?;
    match engine.load(executable(code)?, form, entry, stack) {
        Ok(program) => Ok(Cached::Found(program, held)),
        Err(Unfit::Engine { reason, .. }) => {
            cache.forget(&key);
            let path = entry.path.display();
            Ok(missing(Some(format!(
                "the cached code of {path} does not fit, and is forgotten: {reason}"
            ))))
        }
        Err(unfit) => Err(unfit.into()),
    }
}
