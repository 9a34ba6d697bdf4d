//! Whose turn it is to have a module compiled: as many compilers as the node takes run at a time.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use medley_image::cache::{Slot, Slots};
use oci_spec::runtime::Spec;

use super::error::Error;
use super::image_layers::Images;
use medley_cgroup::Cgroup;
use medley_cgroup::compilers::{self, Compilers};

/// Where the slots are of those who have no cache, or none that can be written to.
const WITHOUT_CACHE: &str = "/run/containerd-shim-wasm";

/// Most compilers that a node can be told to run at a time.
pub const MAX_COMPILERS: u32 = 256;

/// Whom a module is compiled for.
pub(super) struct CompileContext<'a> {
    /// What reads the module, and compiles it.
    pub(super) images: Images<'a>,
    /// Where native code is kept, if it is.
    pub(super) cache: Option<&'a Path>,
    /// How many compilers may run at a time.
    pub(super) compilers: NonZeroU32,
    /// Whether the code is still wanted.
    pub(super) is_wanted: &'a dyn Fn() -> bool,
    /// The container's id, or another name that is used once in this process.
    pub(super) id: &'a str,
    /// The container's own cgroup, if it is of a pod.
    pub(super) in_pod: Option<&'a Cgroup>,
}

/// Whether a container is one of a pod of the CRI's, which has a cgroup around those of its containers.
pub(super) fn is_in_pod(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.is_some_and(|it| it.contains_key("io.kubernetes.cri.sandbox-id"))
}

/// How many compilers run at a time where nothing else is said: half as many as there are
/// processors, each of which Wasmtime's takes; two at least, so that one that takes its ten minutes
/// does not hold up the others, and no more than 16, each of which may take 8 GiB.
#[must_use]
pub fn default_compilers() -> NonZeroU32 {
    const MIN: u32 = 2;
    const MAX: u32 = 16;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let half = u32::try_from(processors / 2).unwrap_or(MAX);
    NonZeroU32::new(half.clamp(MIN, MAX)).unwrap_or(NonZeroU32::MIN)
}

/// One of the compilers that this shim, and so its pod, may have at a time: one less than the node has,
/// so that a pod whose modules take long does not keep every other from its start. It is taken before the
/// lock of a place in the cache, which other pods may wait for.
#[derive(Debug)]
pub(super) struct CompilerSlot(&'static CompilerSlots);

/// How many of this process's compilers run.
#[derive(Debug)]
struct CompilerSlots {
    /// Held for an instant.
    running: Mutex<u32>,
    ended: Condvar,
}

impl CompilerSlot {
    /// Waits for a share, as long as `is_wanted` says so; `None` if it does not any more.
    fn take(compilers: NonZeroU32, module: &Path, is_wanted: &dyn Fn() -> bool) -> Option<Self> {
        static SLOTS: CompilerSlots = CompilerSlots {
            running: Mutex::new(0),
            ended: Condvar::new(),
        };
        Self::of(&SLOTS, compilers, is_wanted, || {
            log::info!(
                "{} waits to be compiled: as many compilers run for this pod as may",
                module.display()
            );
        })
    }

    fn of(
        shares: &'static CompilerSlots,
        compilers: NonZeroU32,
        is_wanted: &dyn Fn() -> bool,
        waits: impl FnOnce(),
    ) -> Option<Self> {
        /// Pause between two looks at whether it is still wanted.
        const PAUSE: Duration = Duration::from_millis(100);
        let max = compilers.get().saturating_sub(1).max(1);
        let mut running = shares
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *running >= max {
            waits();
        }
        while *running >= max {
            if !is_wanted() {
                return None;
            }
            let waited = shares.ended.wait_timeout(running, PAUSE);
            (running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Some(Self(shares))
    }
}

impl Drop for CompilerSlot {
    fn drop(&mut self) {
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_sub(1);
        drop(running);
        self.0.ended.notify_one();
    }
}

impl CompileContext<'_> {
    /// Where its compilers count.
    pub(super) fn cgroups(&self) -> Compilers {
        let name = compilers::name(self.id, self.images.helpers.shim().pid());
        match self.in_pod {
            Some(container) => Compilers::of_pod(container, &name),
            None => Compilers::of_node(&name),
        }
    }

    /// Waits until one of this pod's compilers may be for `module`.
    pub(super) fn share(&self, module: &Path) -> Result<CompilerSlot, Error> {
        CompilerSlot::take(self.compilers, module, self.is_wanted)
            .ok_or_else(|| self.given_up(module))
    }

    fn given_up(&self, module: &Path) -> Error {
        Error::GivenUp {
            module: PathBuf::from(module),
            compilers: self.compilers,
        }
    }

    /// Waits until a compiler of this node may run for `module`; none is counted where nothing can be
    /// locked, which is no reason not to start.
    pub(super) fn turn(&self, module: &Path) -> Result<Option<Slot>, Error> {
        let Some(slots) = self.slots() else {
            return Ok(None);
        };
        let taken = slots.try_take().and_then(|taken| match taken {
            Ok(slot) => Ok(Some(slot)),
            Err(slots) => {
                log::info!(
                    "{} waits to be compiled: as many compilers run as may, {}",
                    module.display(),
                    self.compilers
                );
                slots.take(self.is_wanted)
            }
        });
        match taken {
            Ok(Some(slot)) => Ok(Some(slot)),
            Ok(None) => Err(self.given_up(module)),
            Err(error) => {
                log::warn!("compilers are not counted: {error}");
                Ok(None)
            }
        }
    }

    fn slots(&self) -> Option<Slots> {
        let dirs = self.cache.into_iter().chain([Path::new(WITHOUT_CACHE)]);
        for dir in dirs {
            match Slots::open(dir, self.compilers) {
                Ok(slots) => return Some(slots),
                Err(error) => log::debug!(
                    "compilers are not counted in {}: {}",
                    dir.display(),
                    medley_types::sentence(&error)
                ),
            }
        }
        log::warn!("compilers are not counted: nothing can be locked in {WITHOUT_CACHE}");
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{CompilerSlot, CompilerSlots};
    use std::num::NonZeroU32;
    use std::sync::{Condvar, Mutex};

    fn shares() -> &'static CompilerSlots {
        Box::leak(Box::new(CompilerSlots {
            running: Mutex::new(0),
            ended: Condvar::new(),
        }))
    }

    fn take(shares: &'static CompilerSlots, compilers: u32) -> Option<CompilerSlot> {
        CompilerSlot::of(
            shares,
            NonZeroU32::new(compilers).unwrap(),
            &|| false,
            || {},
        )
    }

    #[test]
    fn a_pod_leaves_one_compiler_to_the_others() {
        let three = shares();
        let first = take(three, 3).unwrap();
        let _second = take(three, 3).unwrap();
        assert!(take(three, 3).is_none());
        drop(first);
        assert!(take(three, 3).is_some());
    }

    #[test]
    fn a_pod_has_one_compiler_at_least() {
        for compilers in [1, 2] {
            let shares = shares();
            let _only = take(shares, compilers).unwrap();
            assert!(take(shares, compilers).is_none());
        }
    }

    #[test]
    fn who_waits_for_a_share_gets_the_one_that_is_let_go() {
        let shares = shares();
        let first = take(shares, 1).unwrap();
        std::thread::scope(|scope| {
            let (says, waits) = std::sync::mpsc::channel();
            let waits_for = move || says.send(()).unwrap();
            let waiting = scope.spawn(move || {
                CompilerSlot::of(shares, NonZeroU32::MIN, &|| true, waits_for).is_some()
            });
            waits.recv().unwrap();
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }
}
