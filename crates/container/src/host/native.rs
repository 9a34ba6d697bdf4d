//! A guest's native code: from the cache, or from a compiler.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use medley_dispatch::WasmPlan;
use medley_engine::{Entry, Form};
use medley_image::cache::{Cache, DEFAULT_LIMIT, Key};
use rustix::fs::{MemfdFlags, SealFlags};

use super::{Error, Host, process};
use crate::protocol::{Code, CompileOrder, Reply, Request};

/// What a helper is given for the guest's native code.
pub(super) enum Source {
    /// The module: the helper looks for its code in the cache. On the way that most starts take
    /// no other process is needed.
    Module(File, Form),
    /// The code itself.
    Code(OwnedFd, Form),
}

impl Source {
    /// Where a plan's native code is to come from first.
    pub(super) fn first(
        host: &Host,
        cache: Option<&Path>,
        plan: &WasmPlan,
        module: &File,
    ) -> Result<Self, Error> {
        let module = module.try_clone().map_err(Error::Spawn)?;
        match (cache, form(plan)) {
            (Some(_), Some(form)) => Ok(Self::Module(module, form)),
            // Text may turn out to be either form; nobody runs it who is in a hurry.
            _ => compile(host, plan, &module),
        }
    }

    /// The native code of a module that was not in the cache. However many starts come here at
    /// once, one compiles.
    ///
    /// The module may lie on a volume that somebody writes to. What is compiled and what names
    /// the result are therefore one sealed copy: bytes that were swapped in between would be
    /// kept, and run for other pods, as what they are not.
    pub(super) fn compiled(
        host: &Host,
        cache: Option<&Path>,
        plan: &WasmPlan,
        module: &File,
        fingerprint: Option<&str>,
    ) -> Result<Self, Error> {
        let (Some(folder), Some(fingerprint), Some(form)) = (cache, fingerprint, form(plan)) else {
            return compile(host, plan, module);
        };
        let module = sealed_copy(module).map_err(Error::Spawn)?;
        match Place::open(folder, plan, &module, fingerprint) {
            Ok(place) => place.fill(host, plan, &module, form),
            Err(error) => {
                warn(&error);
                compile(host, plan, &module)
            }
        }
    }

    /// The descriptor that goes to the helper.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Module(file, _) => file.as_fd(),
            Self::Code(fd, _) => fd.as_fd(),
        }
    }

    /// How the helper is to take it.
    pub(super) fn code(&self, cache: Option<&Path>) -> Code {
        match (self, cache) {
            (Self::Module(_, form), Some(cache)) => Code::Cached {
                cache: cache.to_owned(),
                form: *form,
            },
            (Self::Module(_, form) | Self::Code(_, form), _) => Code::Given { form: *form },
        }
    }
}

/// Asks a helper for a process that runs the guest of `plan`, with its native code from wherever it
/// is to be had first.
pub(super) fn with_code(
    host: &Host,
    cache: Option<&Path>,
    plan: &WasmPlan,
    module: &File,
    ask: impl Fn(&Source) -> Result<Reply, Error>,
) -> Result<Reply, Error> {
    match ask(&Source::first(host, cache, plan, module)?)? {
        Reply::NotCached { fingerprint } => ask(&Source::compiled(
            host,
            cache,
            plan,
            module,
            Some(&fingerprint),
        )?),
        Reply::NoCache { reason } => {
            log::warn!("not cached: {reason}");
            ask(&Source::compiled(host, cache, plan, module, None)?)
        }
        reply => Ok(reply),
    }
}

/// A place in the cache, ours alone while we fill it.
struct Place {
    cache: Cache,
    key: Key,
    _lock: Option<medley_image::cache::Lock>,
}

impl Place {
    fn open(
        folder: &Path,
        plan: &WasmPlan,
        module: &File,
        fingerprint: &str,
    ) -> Result<Self, medley_image::cache::Error> {
        let cache = Cache::open(folder, DEFAULT_LIMIT)?;
        let key = Key::new(module, &plan.engine.to_string(), fingerprint)?;
        let lock = cache.lock(&key)?;
        Ok(Self {
            cache,
            key,
            _lock: lock,
        })
    }

    /// A cache that fails costs time: the code is used without it.
    fn fill(
        self,
        host: &Host,
        plan: &WasmPlan,
        module: &File,
        form: Form,
    ) -> Result<Source, Error> {
        match self.cache.find(&self.key) {
            // Somebody else has compiled it while we waited.
            Ok(Some(code)) => return Ok(Source::Code(code.into(), form)),
            Ok(None) => {}
            Err(error) => warn(&error),
        }
        let source = compile(host, plan, module)?;
        let Source::Code(code, form) = source else {
            return Ok(source);
        };
        let code = File::from(code);
        match self.cache.store(&self.key, &code) {
            Ok(entry) => Ok(Source::Code(entry.into(), form)),
            Err(error) => {
                warn(&error);
                Ok(Source::Code(code.into(), form))
            }
        }
    }
}

/// The module as it is now, in memory, where nobody can change it.
fn sealed_copy(module: &File) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("medley-module", flags)?);
    let mut module = module.try_clone()?;
    module.rewind()?;
    std::io::copy(&mut module, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    copy.rewind()?;
    Ok(copy)
}

fn warn(error: &medley_image::cache::Error) {
    log::warn!("not cached: {}", medley_task::error::sentence(error));
}

/// What a plan knows of its module before anybody has looked into it.
fn form(plan: &WasmPlan) -> Option<Form> {
    match plan.form {
        medley_dispatch::Form::Module => Some(Form::Module),
        medley_dispatch::Form::Component => Some(Form::Component),
        medley_dispatch::Form::Text => None,
    }
}

/// What is to be called of a plan's module.
pub(super) fn entry(plan: &WasmPlan) -> Entry {
    Entry {
        path: plan.module.clone(),
        export: plan.export.clone(),
    }
}

fn compile(host: &Host, plan: &WasmPlan, module: &File) -> Result<Source, Error> {
    let request = Request::Compile(CompileOrder {
        engine: plan.engine,
        entry: entry(plan),
    });
    let (reply, fds) = process::ask(host, &request, &[module.as_fd()])?;
    match (reply, fds.into_iter().next()) {
        (Reply::Compiled { form }, Some(code)) => Ok(Source::Code(code, form)),
        _ => Err(Error::NoAnswer {
            reason: "the compiler gave no native code".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::sealed_copy;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn a_module_that_changes_after_it_was_copied_is_compiled_as_it_was() {
        let path = std::env::temp_dir().join(format!("medley-module-{}", std::process::id()));
        std::fs::write(&path, b"\0asm of one").unwrap();
        let mut copy = sealed_copy(&File::open(&path).unwrap()).unwrap();
        std::fs::write(&path, b"\0asm of two").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0asm of one");
        assert!(copy.write_all(b"x").is_err(), "the copy is not sealed");
    }
}
