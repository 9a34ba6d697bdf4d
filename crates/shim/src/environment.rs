//! What containerd's environment says to the shim.

use std::num::NonZeroU32;
use std::path::PathBuf;

use medley_runtime::options::{self, CacheDir};

/// The cache's directory, or `off`.
pub(crate) const CACHE: &str = "CONTAINERD_SHIM_WASM_CACHE";

/// How many compilers may run at a time.
pub(crate) const COMPILERS: &str = "CONTAINERD_SHIM_WASM_COMPILERS";

/// Where native code is kept unless the runtime options say: the directory that containerd's
/// environment names, or none at all if it says `off`. A pod's environment never gets here.
pub(crate) fn cache() -> CacheDir {
    let named = std::env::var_os(CACHE).map(PathBuf::from);
    CacheDir::named(named.unwrap_or_else(|| "/var/lib/containerd-shim-wasm/cache".into()))
}

/// How many compilers may run at a time, if containerd's environment says so.
pub(crate) fn compilers() -> Option<NonZeroU32> {
    let text = std::env::var_os(COMPILERS).filter(|text| !text.is_empty())?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    let compilers = number.and_then(options::compilers);
    if compilers.is_none() {
        log::warn!("{} is {text:?}: {}", COMPILERS, options::COMPILERS);
    }
    compilers
}
