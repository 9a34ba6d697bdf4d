//! A guest's native code: from the cache, or from a compiler.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Once;

use medley_dispatch::{Module, WasmPlan};
use medley_engine::{Form, TrustedCode};
use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::io::Errno;

use super::cache_slot::{CacheSlot, CompileOutcome, note, warn};
use super::compile::{self, Compiled};
use super::compiler_limit::CompileContext;
use super::error::Error;
use super::image_layers::Images;
use super::module::{entry, file, form};
use super::sealed_module::SealedModule;
use super::settings::Settings;
use crate::protocol::{self, CacheMiss, Code, Fingerprint, MadeProcess, MakeReply};

/// Where a guest's native code is.
pub(super) enum CodeSource {
    /// In the cache of this directory, perhaps.
    Cached {
        cache: PathBuf,
        form: Form,
        module: protocol::Module<OwnedFd>,
    },
    /// Here.
    Ready { form: Form, code: TrustedCode },
}

impl CodeSource {
    /// How the helper is to take it.
    fn code(&self) -> Code<BorrowedFd<'_>> {
        match self {
            Self::Cached {
                cache,
                form,
                module,
            } => Code::Cached {
                cache: cache.clone(),
                form: *form,
                module: match module {
                    protocol::Module::Digest(digest) => protocol::Module::Digest(digest.clone()),
                    protocol::Module::File(file) => protocol::Module::File(file.as_fd()),
                },
            },
            Self::Ready { form, code } => Code::Given {
                form: *form,
                code: code.as_fd(),
            },
        }
    }
}

/// Where the native code of a plan is to come from first. The helper looks for it in the cache: on the
/// way that most starts take no other process is needed.
fn first(
    context: &CompileContext<'_>,
    plan: &WasmPlan,
    module: &Module,
) -> Result<CodeSource, Error> {
    let (Some(cache), Some(form)) = (context.cache, form(plan)) else {
        // Text may turn out to be either form, and is for development: it need not be quick.
        let _share = context.share(&plan.module)?;
        return compile(context, plan, &file(context.images, module)?);
    };
    let module = match module {
        Module::File(file) => {
            protocol::Module::File(file.try_clone().map_err(Error::Spawn)?.into())
        }
        // The digest is known: the module need not be read.
        Module::Layer(_, inside) => protocol::Module::Digest(inside.module.clone()),
    };
    Ok(CodeSource::Cached {
        cache: cache.to_owned(),
        form,
        module,
    })
}

/// The native code of a module that was not in the cache. However many starts come here at once, one
/// compiles.
///
/// The module may lie on a volume that others write to. What is compiled and what names the result
/// are therefore one sealed copy: bytes that were swapped in between would be kept, and run for other
/// pods, as what they are not.
fn compiled(
    context: &CompileContext<'_>,
    plan: &WasmPlan,
    module: &Module,
    fingerprint: Option<&str>,
) -> Result<CodeSource, Error> {
    let module = &file(context.images, module)?;
    let _share = context.share(&plan.module)?;
    let (Some(cache), Some(fingerprint), Some(form)) = (context.cache, fingerprint, form(plan))
    else {
        return compile(context, plan, module);
    };
    let module = SealedModule::of(module)?;
    match CacheSlot::open(context, cache, plan, &module, fingerprint) {
        Ok(place) => {
            let CompileOutcome { form, code, .. } = place.fill(context, plan, &module, form)?;
            Ok(CodeSource::Ready { form, code })
        }
        Err(Error::Cache(error)) => {
            warn(&error);
            compile(context, plan, module.file())
        }
        Err(error) => Err(error),
    }
}

/// Asks a helper for a process that runs the guest of `plan`, with its native code from wherever it
/// is to be had first.
pub(super) fn with_code(
    context: &CompileContext<'_>,
    plan: &WasmPlan,
    module: &Module,
    mut ask: impl FnMut(Code<BorrowedFd<'_>>) -> Result<MakeReply<OwnedFd>, Error>,
) -> Result<MadeProcess<OwnedFd>, Error> {
    if let Some(cache) = context.cache {
        say_noexec(cache);
    }
    let fingerprint = match ask(first(context, plan, module)?.code()) {
        Ok(MakeReply::Made(made)) => return Ok(made),
        // Checked before, and since then the disk has lost it.
        Err(Error::Page) => {
            let path = plan.module.display();
            log::warn!("not cached: the disk does not give the native code of {path} any more");
            None
        }
        Err(error) => return Err(error),
        Ok(MakeReply::CacheMiss(CacheMiss::NotCached {
            fingerprint,
            damage,
        })) => {
            note(damage.as_deref());
            Some(fingerprint)
        }
        Ok(MakeReply::CacheMiss(CacheMiss::NoCache { reason })) => {
            log::warn!("not cached: {reason}");
            None
        }
        Ok(MakeReply::CacheMiss(CacheMiss::Components { .. })) => {
            return Err(Error::NoAnswer {
                reason: "it looked for the components of an application that it was not given"
                    .into(),
            });
        }
    };
    let source = compiled(context, plan, module, fingerprint.as_deref())?;
    made(ask(source.code())?)
}

/// As [`with_code`], for all components of an application: those whose native code is not in the cache are
/// compiled one after the other.
pub(super) fn with_application(
    context: &CompileContext<'_>,
    application: &medley_engine::Application,
    (components, files): (&[(String, WasmPlan, Module)], Option<&File>),
    mut ask: impl FnMut(Code<BorrowedFd<'_>>) -> Result<MakeReply<OwnedFd>, Error>,
) -> Result<MadeProcess<OwnedFd>, Error> {
    if let Some(cache) = context.cache {
        say_noexec(cache);
    }
    let sources = components
        .iter()
        .map(|(_, plan, module)| first(context, plan, module));
    let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
    // Each round gives at least one of them to the helper, which then looks for it no more.
    for _ in components {
        let (fingerprint, missing) =
            match ask(of_application(application, components, files, &sources)) {
                Ok(MakeReply::Made(made)) => return Ok(made),
                Err(Error::Page) => {
                    log::warn!("not cached: the disk does not give the native code any more");
                    (None, (0..components.len()).collect())
                }
                Err(error) => return Err(error),
                Ok(MakeReply::CacheMiss(CacheMiss::Components {
                    fingerprint,
                    missing,
                    damage,
                })) => {
                    damage.iter().for_each(|damage| note(Some(damage)));
                    (Some(fingerprint), missing)
                }
                Ok(MakeReply::CacheMiss(CacheMiss::NoCache { reason })) => {
                    log::warn!("not cached: {reason}");
                    (None, (0..components.len()).collect())
                }
                Ok(MakeReply::CacheMiss(CacheMiss::NotCached { .. })) => break,
            };
        for number in missing {
            if let (Some((_, plan, module)), Some(source)) =
                (components.get(number), sources.get_mut(number))
            {
                *source = compiled(context, plan, module, fingerprint.as_deref())?;
            }
        }
    }
    made(ask(of_application(
        application,
        components,
        files,
        &sources,
    ))?)
}

/// How the helper is to take an application.
fn of_application<'s>(
    application: &medley_engine::Application,
    components: &[(String, WasmPlan, Module)],
    files: Option<&'s File>,
    sources: &'s [CodeSource],
) -> Code<BorrowedFd<'s>> {
    let components = components.iter().zip(sources);
    Code::Application {
        application: Box::new(application.clone()),
        files: files.map(AsFd::as_fd),
        components: components
            .map(|((id, plan, _), source)| protocol::Component {
                id: id.clone(),
                entry: entry(plan),
                code: source.code(),
            })
            .collect(),
    }
}

/// The process, of a helper that was given all that it needs.
pub(super) fn made(reply: MakeReply<OwnedFd>) -> Result<MadeProcess<OwnedFd>, Error> {
    match reply {
        MakeReply::Made(made) => Ok(made),
        MakeReply::CacheMiss(_) => Err(Error::NoAnswer {
            reason: "it looked for native code that it was given".into(),
        }),
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
                 module, or name another directory by CONTAINERD_SHIM_WASM_CACHE",
                cache.display()
            );
        }
    });
}

/// What a warmed cache has of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmOutcome {
    /// It was there before.
    Found,
    /// It was compiled.
    Compiled,
}

/// What stands for a container's id where there is none.
const WARM: &str = "warm";

/// Sees to it that a module's native code is in the cache: `ContainerManager::warm`.
pub(super) fn warm(
    images: Images<'_>,
    cache: &Path,
    compilers: NonZeroU32,
    plan: &WasmPlan,
    module: &Module,
) -> Result<WarmOutcome, Error> {
    let Some(form) = form(plan) else {
        return Err(Error::NotKept {
            path: plan.module.clone(),
        });
    };
    let fingerprint = images.helpers.call(Fingerprint {
        engine: plan.engine,
    })?;
    let module = SealedModule::of(&file(images, module)?)?;
    let context = CompileContext {
        images,
        cache: Some(cache),
        compilers,
        is_wanted: &|| true,
        id: WARM,
        in_pod: None,
    };
    let _share = context.share(&plan.module)?;
    let place = CacheSlot::open(&context, cache, plan, &module, &fingerprint)?;
    let filled = place.fill(&context, plan, &module, form)?;
    match filled.lost {
        Some(error) => Err(error.into()),
        None if filled.compiled => Ok(WarmOutcome::Compiled),
        None => Ok(WarmOutcome::Found),
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

fn compile(
    context: &CompileContext<'_>,
    plan: &WasmPlan,
    module: &File,
) -> Result<CodeSource, Error> {
    let compiled = compile::compile(context, plan, module);
    let Compiled { code, form } = compiled.map_err(|failed| failed.error)?;
    Ok(CodeSource::Ready { form, code })
}

#[cfg(test)]
mod tests {
    use super::{Settings, stack};
    use oci_spec::runtime::Process;

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
}
