//! In the helper: what a container's process is going to do, made ready before it is cloned.

mod application;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use medley_engine::{Engine, Entry, Form, ModuleError, TrustedCode};
use medley_image::cache::Found;
use medley_image::{Cache, Key};
use rustix::io::Errno;

use self::application::Loaded;
use crate::helper::Engines;
use crate::init::Init;
use crate::init::linux::LinuxInit;
use crate::init::wasm::WasmInit;
use crate::protocol::{CacheMiss, Code, Failure, Guest, Module, Program};
use medley_cgroup::guest_memory_limit::LimitChannel;

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the engine {engine} is not built in")]
    NoEngine { engine: medley_types::EngineKind },
    #[error(transparent)]
    UnfitModule(#[from] ModuleError),
    #[error("the engine does not work on this machine: {reason}")]
    Fingerprint { reason: String },
    #[error("cannot hold on to the native code")]
    Hold(#[source] std::io::Error),
    #[error("cannot copy native code to memory, from a cache that nothing may be executed in")]
    Copy(#[source] std::io::Error),
    #[error(transparent)]
    Cache(#[from] medley_image::cache::Error),
    #[error("the request has an application within the application {}", manifest.display())]
    Nested { manifest: std::path::PathBuf },
    #[error("cannot make a channel to the guest's process")]
    LimitChannel(#[source] std::io::Error),
}

/// What a process will run, or what the shim has to do before.
pub(crate) enum LoadOutcome {
    Ready(Init),
    CacheMiss(CacheMiss),
}

/// Makes `program` ready. `status` is the pipe that tells how its start goes.
pub(crate) fn load(
    program: Program<OwnedFd>,
    status: File,
    engines: Engines,
) -> Result<LoadOutcome, Error> {
    let guest = match program {
        Program::Linux { path } => {
            return Ok(LoadOutcome::Ready(Init::Linux(LinuxInit::new(
                path, status,
            ))));
        }
        Program::Wasm(guest) => guest,
    };
    let Guest {
        engine,
        entry,
        code,
        preopens,
        argv_start,
        stack,
    } = guest;
    let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
    let wasm = |program, held| -> Result<LoadOutcome, Error> {
        let channel = LimitChannel::new().map_err(Error::LimitChannel)?;
        let init = WasmInit::new(
            program,
            held,
            entry.clone(),
            preopens,
            argv_start,
            status,
            channel,
        );
        Ok(LoadOutcome::Ready(Init::Wasm(init)))
    };
    // As long as the guest lives, its code stays in the cache for the next replica to share. An
    // engine may well map it by another descriptor than this one, which has the lock.
    let held;
    // Before the clone: the process wakes up with everything mapped and linked.
    let program = match code {
        Code::Given { form, code } => {
            let code = from_shim(code.into());
            held = vec![code.file().try_clone().map_err(Error::Hold)?];
            engine.load(executable(code)?, form, &entry, stack)?
        }
        Code::Cached {
            cache,
            form,
            module,
        } => match cached(engine, &cache, module, form, &entry, stack) {
            Ok(Cached::Found(program, code)) => {
                held = vec![code];
                program
            }
            Ok(Cached::Missing {
                fingerprint,
                damage,
            }) => {
                return Ok(LoadOutcome::CacheMiss(CacheMiss::NotCached {
                    fingerprint,
                    damage,
                }));
            }
            Err(Error::UnfitModule(unfit)) => return Err(unfit.into()),
            Err(error) => {
                return Ok(LoadOutcome::CacheMiss(CacheMiss::NoCache {
                    reason: medley_types::sentence(&error),
                }));
            }
        },
        Code::Application {
            application,
            components,
            files,
        } => match application::load(engine, &application, (components, files), stack)? {
            Loaded::Ready(program, code) => {
                held = code;
                program
            }
            Loaded::CacheMiss(miss) => return Ok(LoadOutcome::CacheMiss(miss)),
        },
    };
    wasm(program, held)
}

/// Tells an engine's fingerprint.
pub(crate) fn fingerprint(
    engine: medley_types::EngineKind,
    engines: Engines,
) -> Result<String, Failure> {
    engines(engine)
        .ok_or(Error::NoEngine { engine })
        .and_then(|engine| {
            engine
                .fingerprint()
                .map_err(|reason| Error::Fingerprint { reason })
        })
        .map_err(|error| Failure::of(&error))
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
    dir: &Path,
    module: Module<OwnedFd>,
    form: Form,
    entry: &Entry,
    stack: Option<u64>,
) -> Result<Cached, Error> {
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| Error::Fingerprint { reason })?;
    let missing = |damage| Cached::Missing {
        fingerprint: fingerprint.clone(),
        damage,
    };
    let Some(cache) = Cache::existing(dir, medley_image::cache::DEFAULT_LIMIT)? else {
        return Ok(missing(None));
    };
    let Some(key) = key(&cache, engine, module, &fingerprint)? else {
        return Ok(missing(None));
    };
    let code = match cache.find(&key)? {
        Found::Code(code) => code,
        Found::Missing { damage } => return Ok(missing(damage)),
    };
    let held = code.file().try_clone().map_err(Error::Hold)?;
    match engine.load(executable(code)?, form, entry, stack) {
        Ok(program) => Ok(Cached::Found(program, held)),
        Err(ModuleError::Engine { reason, .. }) => {
            cache.forget(&key);
            let path = entry.path.display();
            Ok(missing(Some(format!(
                "the cached code of {path} does not fit, and is forgotten: {reason}"
            ))))
        }
        Err(unfit) => Err(unfit.into()),
    }
}

/// By what a module is kept in the cache; none if the cache has nothing of its size.
fn key(
    cache: &Cache,
    engine: &dyn Engine,
    module: Module<OwnedFd>,
    fingerprint: &str,
) -> Result<Option<Key>, Error> {
    match module {
        Module::Digest(digest) => Ok(Some(Key::of_digest(&digest, engine.name(), fingerprint))),
        Module::File(file) => {
            let file = File::from(file);
            // It is not in the cache, so the shim will read it to have it compiled: not here as well.
            if !cache.may_have(medley_image::cache::size(&file)?) {
                return Ok(None);
            }
            Ok(Some(Key::new(&file, engine.name(), fingerprint)?))
        }
    }
}
