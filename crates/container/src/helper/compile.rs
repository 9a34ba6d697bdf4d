//! In the compiler: hostile bytes in, native code out.
//!
//! The process has no container around it, so it gives away what it does not need before it
//! looks at the first byte: its privileges, and the right to use the machine without end.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use medley_engine::Entry;
use medley_image::cache::MAX_MODULE;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{Gid, Uid};

use crate::filter::Filter;
use crate::helper::Engines;
use crate::protocol::{Compile, Compiled, Failure};
use crate::spec::seccomp;

/// Longest processor time for one module, in seconds over all threads: some thirty times what
/// Wasmtime takes for 10 MB.
pub(crate) const CPU_SECONDS: u64 = 600;

/// How much longer a compiler may take that was told to end, in seconds.
const GRACE_SECONDS: u64 = 5;

/// Largest file that may come out, in bytes: native code is a few times the size of its module.
const MAX_OUTPUT: u64 = 4 << 30;

/// Most memory that it may write to, in bytes: some thirty times what Wasmtime takes for 10 MB. Not
/// address space, of which an allocator reserves much for each thread.
pub(crate) const MAX_MEMORY: u64 = 8 << 30;

/// Most descriptors: an engine needs a handful.
const MAX_FILES: u64 = 64;

/// Most bytes of files that an engine may keep beside its memory, for those that work through
/// files.
const MAX_SCRATCH: u64 = 2 << 30;

/// Why a module could not be compiled.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the engine {engine} is not built in")]
    NoEngine { engine: medley_types::EngineKind },
    #[error("the compiler cannot give up its privileges")]
    Confine(#[source] std::io::Error),
    #[error("cannot read {}", path.display())]
    Read {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("the compiler cannot be confined by a seccomp filter: {reason}")]
    Filter { reason: String },
    #[error("{} has {size} bytes; the most that is compiled is {MAX_MODULE}", path.display())]
    TooLarge { path: std::path::PathBuf, size: u64 },
    #[error(transparent)]
    UnfitModule(#[from] medley_engine::ModuleError),
    #[error("cannot keep the native code of {}", path.display())]
    Write {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}

/// Compiles the module and replies with a sealed memfd.
pub(crate) fn run(call: Compile<OwnedFd>, engines: Engines) -> Result<Compiled<OwnedFd>, Failure> {
    let _whole = medley_sys::trace::span("compile");
    compile(call, engines).map_err(|error| {
        let reason = medley_types::sentence(&error);
        match error {
            Error::UnfitModule(unfit) if unfit.is_lasting() => Failure::UnfitModule { reason },
            _ => Failure::Failed { reason },
        }
    })
}

fn compile(call: Compile<OwnedFd>, engines: Engines) -> Result<Compiled<OwnedFd>, Error> {
    let Compile {
        engine,
        entry,
        module,
    } = call;
    let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
    confine(engine.needs_scratch()).map_err(Error::Confine)?;
    medley_sys::signals::tell_faults().map_err(Error::Confine)?;
    filter()?;
    let bytes = read(File::from(module), &entry)?;
    let native = engine.compile(&bytes, &entry)?;
    let code = native.seal().map_err(|source| Error::Write {
        path: entry.path.clone(),
        source,
    })?;
    Ok(Compiled {
        form: native.form,
        code,
    })
}

/// A limit of a compiler: ours, or the lower one that its parent was given.
pub(crate) fn allowed(resource: Resource, max: u64) -> u64 {
    let given = rustix::process::getrlimit(resource).current;
    given.unwrap_or(u64::MAX).min(max)
}

fn confine(scratch: bool) -> std::io::Result<()> {
    let user = medley_sys::child::unused_user()?;
    // Of all processes on the node this is the one to kill for want of memory.
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    medley_sys::child::leave_namespaces()?;
    medley_sys::child::enter_empty_root(MAX_SCRATCH)?;
    if scratch {
        // Every user may write to the empty root: a directory of temporary files goes away with it.
        let dir = std::env::temp_dir();
        std::fs::create_dir_all(&dir)?;
        rustix::fs::chown(&dir, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?;
    }
    let limit = |resource, max, grace| {
        let given = rustix::process::getrlimit(resource);
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(allowed(resource, max)),
                maximum: Some(given.maximum.unwrap_or(u64::MAX).min(max + grace)),
            },
        )
    };
    // Told to end, and then killed: the signal says which limit it was.
    limit(Resource::Cpu, CPU_SECONDS, GRACE_SECONDS)?;
    limit(Resource::Fsize, MAX_OUTPUT, 0)?;
    limit(Resource::Data, MAX_MEMORY, 0)?;
    limit(Resource::Nofile, MAX_FILES, 0)?;
    limit(Resource::Core, 0, 0)?;
    medley_sys::child::give_up_rights(user)
}

/// The last step before hostile bytes: from here on the process can compute, and answer.
fn filter() -> Result<(), Error> {
    let unknown = || Error::Filter {
        reason: format!("no profile for {}", std::env::consts::ARCH),
    };
    let profile = seccomp::compiler_profile(std::process::id()).ok_or_else(unknown)?;
    let refused = |error: &dyn std::error::Error| Error::Filter {
        reason: medley_types::sentence(error),
    };
    let filter = Filter::of(&profile).map_err(|error| refused(&error))?;
    // It asks no agent.
    filter.load().map(drop).map_err(|error| refused(&error))
}

fn read(mut module: File, entry: &Entry) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: entry.path.clone(),
        source,
    };
    let size = module.metadata().map_err(failed)?.len();
    if size > MAX_MODULE {
        return Err(Error::TooLarge {
            path: entry.path.clone(),
            size,
        });
    }
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut module).map_err(failed)?;
    module
        .take(MAX_MODULE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}
