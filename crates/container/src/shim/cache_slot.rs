//! A module's place in the cache, from when its code is asked for until it is there, or is known
//! not to be possible.

use std::path::Path;
use std::time::Duration;

use medley_dispatch::WasmPlan;
use medley_engine::{Form, TrustedCode};
use medley_image::cache::{
    Cache, CompileLock, DEFAULT_LIMIT, Error as CacheError, Found, Key, Lock,
};

use super::compile::{self, Compiled, Failed};
use super::compiler_limit::CompileContext;
use super::error::Error;
use super::module::entry;
use super::sealed_module::SealedModule;

/// How long a shim may take from the end of a compiler to the entry's being in its place: gigabytes
/// may go to a slow disk.
const HANDLING: Duration = Duration::from_secs(120);

/// A place in the cache, ours alone while we fill it.
pub(super) struct CacheSlot {
    cache: Cache,
    key: Key,
    /// What a failure depends on besides the key; absent if that is not known.
    asked: Option<String>,
    /// Absent if another process has it for too long.
    lock: Option<Lock>,
}

/// What came of filling a place.
pub(super) struct CompileOutcome {
    pub(super) form: Form,
    pub(super) code: TrustedCode,
    /// Whether a compiler ran.
    pub(super) compiled: bool,
    /// Why the cache does not keep it.
    pub(super) lost: Option<CacheError>,
}

impl CacheSlot {
    pub(super) fn open(
        context: &CompileContext<'_>,
        dir: &Path,
        plan: &WasmPlan,
        module: &SealedModule,
        fingerprint: &str,
    ) -> Result<Self, Error> {
        let cache = Cache::open(dir, DEFAULT_LIMIT)?;
        let engine = plan.engine.to_string();
        let key = Key::of_digest(module.digest(), &engine, fingerprint).of_size(module.bytes());
        let requested = format!("{:?}", entry(plan));
        // As long as a compiler may take, and what its shim does then.
        let timeout = compile::TIMEOUT + HANDLING;
        let lock = match cache.lock(&key, &requested, timeout, context.is_wanted)? {
            CompileLock::Acquired(lock) => Some(lock),
            CompileLock::Failed { reason } => return Err(Error::Refused { reason }),
            CompileLock::TimedOut => None,
            CompileLock::GivenUp => {
                return Err(Error::GivenUp {
                    module: plan.module.clone(),
                    compilers: context.compilers,
                });
            }
        };
        // A later version of ours may have what this one lacks, with the same engine.
        let program = context.images.helpers.binaries().identity(plan.engine);
        let asked = program.map(|program| format!("{requested} {program}"));
        Ok(Self {
            cache,
            key,
            asked,
            lock,
        })
    }

    /// A cache that fails costs time: the code is used without it.
    pub(super) fn fill(
        self,
        context: &CompileContext<'_>,
        plan: &WasmPlan,
        module: &SealedModule,
        form: Form,
    ) -> Result<CompileOutcome, Error> {
        match self.cache.find(&self.key) {
            // Another process has compiled it while we waited, or its size was not noted.
            Ok(Found::Code(code)) => {
                self.cache.note_size(module.bytes());
                return Ok(CompileOutcome {
                    form,
                    code,
                    compiled: false,
                    lost: None,
                });
            }
            Ok(Found::Missing { damage }) => note(damage.as_deref()),
            Err(error) => warn(&error),
        }
        if let Some(asked) = &self.asked
            && let Some(reason) = self.cache.failure(&self.key, asked)
        {
            log::info!("not compiled again: {reason}");
            return Err(Error::UnfitModule { reason });
        }
        let Compiled { code, form } = match compile::compile(context, plan, module.file()) {
            Ok(compiled) => compiled,
            Err(failed) => return Err(self.fail(plan, failed)),
        };
        let (code, lost) = match self.cache.store(&self.key, &plan.module, &code) {
            Ok(entry) => (entry, None),
            Err(error) => {
                warn(&error);
                (code, Some(error))
            }
        };
        Ok(CompileOutcome {
            form,
            code,
            compiled: true,
            lost,
        })
    }

    /// Tells those who wait, and those who come later if it may not be tried again.
    fn fail(self, plan: &WasmPlan, failed: Failed) -> Error {
        let Failed { error, lasting } = failed;
        let sentence = medley_types::sentence(&error);
        if let (Some(lasting), Some(asked)) = (lasting, &self.asked) {
            let reason = format!("{sentence}{}", lasting.cure());
            let kept = self
                .cache
                .keep_failure(&self.key, asked, &plan.module, &reason);
            if let Err(error) = kept {
                warn(&error);
            }
        }
        match (&error, self.lock) {
            // Who waits for the same is not given up: it is their turn.
            (Error::GivenUp { .. }, _) | (_, None) => {}
            (_, Some(lock)) => lock.fail(&sentence),
        }
        error
    }
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
