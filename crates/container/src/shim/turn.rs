//! Whose turn it is to have a module compiled: as many compilers as the node takes run at a time.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use medley_image::cache::{Slot, Slots};
use oci_spec::runtime::Spec;

use super::{Error, Host};
use medley_cgroup::Cgroup;
use medley_cgroup::compilers::{self, Compilers};

/// Where the slots are of those who have no cache, or none that can be written to.
const WITHOUT_CACHE: &str = "/run/containerd-shim-wasm";

/// Most compilers that a node can be told to run at a time.
pub const MOST_COMPILERS: u32 = 256;

/// Whom a module is compiled for.
pub(super) struct Customer<'a> {
    pub(super) host: &'a Host,
    /// Where native code is kept, if it is.
    pub(super) cache: Option<&'a Path>,
    /// How many compilers may run at a time.
    pub(super) compilers: NonZeroU32,
    /// Whether the code is still wanted.
    pub(super) is_wanted: &'a dyn Fn() -> bool,
    /// The container's id, or another name that nobody in this process has besides.
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
    const LEAST: u32 = 2;
    const MOST: u32 = 16;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let half = u32::try_from(processors / 2).unwrap_or(MOST);
    NonZeroU32::new(half.clamp(LEAST, MOST)).unwrap_or(NonZeroU32::MIN)
}

impl Customer<'_> {
    /// Where its compilers count.
    pub(super) fn cgroups(&self) -> Compilers {
        let name = compilers::name(self.id, self.host.own.pid());
        match self.in_pod {
            Some(container) => Compilers::of_pod(container, &name),
            None => Compilers::of_node(&name),
        }
    }

    /// Waits until a compiler may run for `module`; none is counted where nothing can be locked,
    /// which is no reason not to start.
    pub(super) fn turn(&self, module: &Path) -> Result<Option<Slot>, Error> {
        let Some(slots) = self.slots() else {
            return Ok(None);
        };
        let given_up = || Error::GivenUp {
            module: PathBuf::from(module),
            compilers: self.compilers,
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
            Ok(None) => Err(given_up()),
            Err(error) => {
                log::warn!("compilers are not counted: {error}");
                Ok(None)
            }
        }
    }

    fn slots(&self) -> Option<Slots> {
        let folders = self.cache.into_iter().chain([Path::new(WITHOUT_CACHE)]);
        for folder in folders {
            match Slots::open(folder, self.compilers) {
                Ok(slots) => return Some(slots),
                Err(error) => log::debug!(
                    "compilers are not counted in {}: {}",
                    folder.display(),
                    medley_types::sentence(&error)
                ),
            }
        }
        log::warn!("compilers are not counted: nothing can be locked in {WITHOUT_CACHE}");
        None
    }
}
