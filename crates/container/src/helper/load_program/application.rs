//! The components of an application: the native code of each, from the cache or from the shim.

use std::fs::File;
use std::os::fd::OwnedFd;

use medley_engine::{Application, ComponentCode, Engine, ModuleError, Program, TrustedCode};
use medley_image::cache::{DEFAULT_LIMIT, Found};
use medley_image::{Cache, Key};

use super::{Error, executable, from_shim, key};
use crate::protocol::{CacheMiss, Code, Component};

/// What came of loading an application.
pub(super) enum Loaded {
    /// It, and the files of its native code.
    Ready(Box<dyn Program>, Vec<File>),
    CacheMiss(CacheMiss),
}

/// The native code of a component.
enum Looked {
    Given(TrustedCode),
    Cached(TrustedCode, Cache, Key),
    Missing(Option<String>),
}

/// Loads all components, if the native code of each is there.
pub(super) fn load(
    engine: &dyn Engine,
    application: &Application,
    (components, files): (Vec<Component<OwnedFd>>, Option<OwnedFd>),
    stack: Option<u64>,
) -> Result<Loaded, Error> {
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| Error::Fingerprint { reason })?;
    let mut codes = Vec::new();
    let mut entries = Vec::new();
    let (mut missing, mut damaged) = (Vec::new(), Vec::new());
    for (number, Component { id, entry, code }) in components.into_iter().enumerate() {
        let code = match look(engine, application, code, &fingerprint) {
            Ok(Looked::Given(code)) => code,
            Ok(Looked::Cached(code, cache, key)) => {
                entries.push((number, entry.path.clone(), cache, key));
                code
            }
            Ok(Looked::Missing(damage)) => {
                missing.push(number);
                damaged.extend(damage);
                continue;
            }
            Err(Error::Nested { manifest }) => return Err(Error::Nested { manifest }),
            Err(error) => {
                return Ok(Loaded::CacheMiss(CacheMiss::NoCache {
                    reason: medley_types::sentence(&error),
                }));
            }
        };
        codes.push(ComponentCode { id, entry, code });
    }
    let miss = |missing, damage| {
        Loaded::CacheMiss(CacheMiss::Components {
            fingerprint,
            missing,
            damage,
        })
    };
    if !missing.is_empty() {
        return Ok(miss(missing, damaged));
    }
    let held: Result<Vec<_>, _> = codes
        .iter()
        .map(|component| component.code.file().try_clone())
        .collect();
    let held = held.map_err(Error::Hold)?;
    let mut mappable = Vec::new();
    for ComponentCode { id, entry, code } in codes {
        let code = executable(code)?;
        mappable.push(ComponentCode { id, entry, code });
    }
    match engine.load_application(application, mappable, files.map(File::from), stack) {
        Ok(program) => Ok(Loaded::Ready(program, held)),
        Err(ModuleError::Engine { path, reason, .. })
            if entries.iter().any(|one| one.1 == path) =>
        {
            let unfit = entries.into_iter().filter(|one| one.1 == path);
            let unfit = unfit.map(|(number, _, cache, key)| {
                cache.forget(&key);
                number
            });
            let path = path.display();
            let damage =
                format!("the cached code of {path} does not fit, and is forgotten: {reason}");
            Ok(miss(unfit.collect(), vec![damage]))
        }
        Err(unfit) => Err(unfit.into()),
    }
}

fn look(
    engine: &dyn Engine,
    application: &Application,
    code: Code<OwnedFd>,
    fingerprint: &str,
) -> Result<Looked, Error> {
    let (dir, module) = match code {
        Code::Given { code, .. } => return Ok(Looked::Given(from_shim(code.into()))),
        Code::Cached { cache, module, .. } => (cache, module),
        Code::Application { .. } => {
            let manifest = application.manifest.clone();
            return Err(Error::Nested { manifest });
        }
    };
    let Some(cache) = Cache::existing(&dir, DEFAULT_LIMIT)? else {
        return Ok(Looked::Missing(None));
    };
    let Some(key) = key(&cache, engine, module, fingerprint)? else {
        return Ok(Looked::Missing(None));
    };
    match cache.find(&key)? {
        Found::Code(code) => Ok(Looked::Cached(code, cache, key)),
        Found::Missing { damage } => Ok(Looked::Missing(damage)),
    }
}
