//! A guest's native code: from the cache, or from a compiler.

use std::fs::File;
use std::io::{Read, Seek};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Once;

use medley_dispatch::{Module, WasmPlan};
use medley_engine::{Entry, Form, TrustedCode};
use medley_image::cache::{Error as CacheError, MAX_MODULE};
use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::compile::{self, Compiled};
use super::helper_client::Answer;
use super::place::Place;
use super::turn::Customer;
use super::{Error, Host, Settings, image_layers};
use crate::protocol::{Code, Reply, Request};

/// What a helper is given for the guest's native code.
pub(super) enum Source {
    /// The module: the helper looks for its code in the cache. On the way that most starts take
    /// no other process is needed.
    Module(File, Form),
    /// As `Module`, of which the digest is known: nobody has to read it.
    Digest(String, Form),
    /// The code itself.
    Code(TrustedCode, Form),
}

impl Source {
    /// Where a plan's native code is to come from first.
    pub(super) fn first(
        customer: &Customer<'_>,
        plan: &WasmPlan,
        module: &Module,
    ) -> Result<Self, Error> {
        match (customer.cache, form(plan), module) {
            (Some(_), Some(form), Module::File(file)) => {
                Ok(Self::Module(file.try_clone().map_err(Error::Spawn)?, form))
            }
            (Some(_), Some(form), Module::Layer(_, inside)) => {
                Ok(Self::Digest(inside.module.clone(), form))
            }
            // Text may turn out to be either form; nobody runs it who is in a hurry.
            _ => compile(customer, plan, &file(customer.host, module)?),
        }
    }

    /// The native code of a module that was not in the cache. However many starts come here at
    /// once, one compiles.
    ///
    /// The module may lie on a volume that somebody writes to. What is compiled and what names
    /// the result are therefore one sealed copy: bytes that were swapped in between would be
    /// kept, and run for other pods, as what they are not.
    pub(super) fn compiled(
        customer: &Customer<'_>,
        plan: &WasmPlan,
        module: &Module,
        fingerprint: Option<&str>,
    ) -> Result<Self, Error> {
        let module = &file(customer.host, module)?;
        let (Some(folder), Some(fingerprint), Some(form)) =
            (customer.cache, fingerprint, form(plan))
        else {
            return compile(customer, plan, module);
        };
        let module = sealed_copy(module)?;
        match Place::open(customer, folder, plan, &module, fingerprint) {
            Ok(place) => Ok(place.fill(customer, plan, &module, form)?.source),
            Err(Error::Cache(error)) => {
                warn(&error);
                compile(customer, plan, &module)
            }
            Err(error) => Err(error),
        }
    }

    /// The descriptor that goes to the helper.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Module(file, _) => Some(file.as_fd()),
            Self::Digest(..) => None,
            Self::Code(code, _) => Some(code.as_fd()),
        }
    }

    /// How the helper is to take it.
    pub(super) fn code(&self, cache: Option<&Path>) -> Code {
        match (self, cache) {
            (Self::Module(_, form), Some(cache)) => Code::Cached {
                cache: cache.to_owned(),
                form: *form,
                module: None,
            },
            (Self::Digest(module, form), Some(cache)) => Code::Cached {
                cache: cache.to_owned(),
                form: *form,
                module: Some(module.clone()),
            },
            (Self::Module(_, form) | Self::Digest(_, form) | Self::Code(_, form), _) => {
                Code::Given { form: *form }
            }
        }
    }
}

/// Asks a helper for a process that runs the guest of `plan`, with its native code from wherever it
/// is to be had first.
pub(super) fn with_code(
    customer: &Customer<'_>,
    plan: &WasmPlan,
    module: &Module,
    ask: impl Fn(&Source) -> Result<Answer, Error>,
) -> Result<Answer, Error> {
    if let Some(cache) = customer.cache {
        say_noexec(cache);
    }
    let compiled =
        |fingerprint: Option<&str>| ask(&Source::compiled(customer, plan, module, fingerprint)?);
    match ask(&Source::first(customer, plan, module)?) {
        // Checked before, and since then the disk has lost it.
        Err(Error::Page) => {
            let path = plan.module.display();
            log::warn!("not cached: the disk does not give the native code of {path} any more");
            compiled(None)
        }
        Err(error) => Err(error),
        Ok((
            Reply::NotCached {
                fingerprint,
                damage,
            },
            _,
        )) => {
            note(damage.as_deref());
            compiled(Some(&fingerprint))
        }
        Ok((Reply::NoCache { reason }, _)) => {
            log::warn!("not cached: {reason}");
            compiled(None)
        }
        Ok(answer) => Ok(answer),
    }
}

/// Says once, and as soon as there is a cache, that nothing may be executed in it.
fn say_noexec(cache: &Path) {
    static SAID: Once = Once::new();
    let noexec = |code: File| {
        let error = medley_sys::memory::may_execute(&code).err()?;
        matches!(
            Errno::from_io_error(&error),
            Some(Errno::PERM | Errno::ACCESS)
        )
        .then_some(error)
    };
    if SAID.is_completed() {
        return;
    }
    let entry = std::fs::read_dir(cache.join("code"))
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| File::open(entry.path()).ok());
    let Some(entry) = entry else { return };
    SAID.call_once(|| {
        if let Some(error) = noexec(entry) {
            log::warn!(
                "native code can't be mapped from the cache {} ({error}): each container has a \
                 copy of its own in memory; mount it without noexec, allow it to the security \
                 module, or name another folder by CONTAINERD_SHIM_WASM_CACHE",
                cache.display()
            );
        }
    });
}

/// The module's bytes.
fn file(host: &Host, module: &Module) -> Result<File, Error> {
    match module {
        Module::File(file) => file.try_clone().map_err(Error::Spawn),
        Module::Layer(layer, inside) => image_layers::module(host, layer, inside),
    }
}

/// What a warmed cache has of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmed {
    /// It was there before.
    Found,
    /// It was compiled.
    Compiled,
}

/// What stands for a container's id where there is none.
const WARM: &str = "warm";

impl Host {
    /// Sees to it that the native code of a plan's module is in the cache, as soon as no more than
    /// `compilers` run for the node.
    ///
    /// # Errors
    /// [`Error`]: what a start would say of the module, or why the cache can't be used.
    pub fn warm(
        &self,
        cache: &Path,
        compilers: NonZeroU32,
        plan: &WasmPlan,
        module: &Module,
    ) -> Result<Warmed, Error> {
        let Some(form) = form(plan) else {
            return Err(Error::NotKept {
                path: plan.module.clone(),
            });
        };
        let fingerprint = match self.ask(&Request::Fingerprint(plan.engine), &[])? {
            (Reply::Fingerprint { fingerprint }, _) => fingerprint,
            _ => return Err(image_layers::unexpected()),
        };
        let module = sealed_copy(&file(self, module)?)?;
        let customer = Customer {
            host: self,
            cache: Some(cache),
            compilers,
            is_wanted: &|| true,
            id: WARM,
            in_pod: None,
        };
        let place = Place::open(&customer, cache, plan, &module, &fingerprint)?;
        let filled = place.fill(&customer, plan, &module, form)?;
        match filled.lost {
            Some(error) => Err(error.into()),
            None if filled.compiled => Ok(Warmed::Compiled),
            None => Ok(Warmed::Found),
        }
    }
}

/// The module as it is now, in memory, where nobody can change it.
fn sealed_copy(module: &File) -> Result<File, Error> {
    let size = module.metadata().map_err(Error::Spawn)?.len();
    if size > MAX_MODULE {
        return Err(CacheError::TooLarge { size }.into());
    }
    copy(module).map_err(Error::Spawn)
}

fn copy(module: &File) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("medley-module", flags)?);
    let mut module = module.try_clone()?;
    module.rewind()?;
    // It may grow meanwhile.
    std::io::copy(&mut module.take(MAX_MODULE), &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    copy.rewind()?;
    Ok(copy)
}

/// Tells of an entry that was damaged.
pub(super) fn note(damage: Option<&str>) {
    if let Some(damage) = damage {
        log::warn!("{damage}");
    }
}

pub(super) fn warn(error: &CacheError) {
    log::warn!("not cached: {}", medley_types::sentence(error));
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

/// How much stack a guest's process asks for, as a limit of its own, or else the node's options.
pub(super) fn stack(process: Option<&Process>, settings: &Settings) -> Option<u64> {
    let limits = process.and_then(|process| process.rlimits().as_ref());
    let stack = limits.into_iter().flatten().find_map(|limit| {
        (limit.typ() == PosixRlimitType::RlimitStack).then(|| limit.soft().min(limit.hard()))
    });
    stack.or(settings.stack)
}

fn compile(customer: &Customer<'_>, plan: &WasmPlan, module: &File) -> Result<Source, Error> {
    let compiled = compile::compile(customer, plan, module);
    let Compiled { code, form } = compiled.map_err(|failed| failed.error)?;
    Ok(Source::Code(code, form))
}

#[cfg(test)]
mod tests {
    use super::{Settings, sealed_copy, stack};
    use oci_spec::runtime::Process;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn the_stack_is_what_the_process_says_else_the_node() {
        let process = |limits: &str| -> Process {
            serde_json::from_str(&format!(
                r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["x"],"rlimits":[{limits}]}}"#
            ))
            .unwrap()
        };
        let limited = process(
            r#"{"type":"RLIMIT_NOFILE","soft":7,"hard":7},{"type":"RLIMIT_STACK","soft":9,"hard":8}"#,
        );
        let node = Settings {
            stack: Some(5),
            ..Settings::default()
        };
        assert_eq!(stack(Some(&limited), &node), Some(8));
        assert_eq!(stack(Some(&process("")), &node), Some(5));
        assert_eq!(stack(None, &Settings::default()), None);
    }

    /// Even if its file changes afterwards.
    #[test]
    fn a_module_is_compiled_as_it_was_copied() {
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
