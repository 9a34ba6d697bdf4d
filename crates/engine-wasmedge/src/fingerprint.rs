//! What native code depends on besides its module.

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use crate::{compile, ffi};

/// The configuration that code was made with; to be raised whenever that changes.
const CONFIGURATION: u32 = 1;

/// Of `/proc/cpuinfo`, this much is read, in bytes: the first processor's part has a few thousand.
const CPUINFO: u64 = 16 << 10;

/// Lines of the first processor that change while it runs, and that no code depends on.
const CHANGING: [&str; 4] = ["cpu MHz", "bogomips", "BogoMIPS", "microcode"];

/// The library's version, our configuration and the processor: native code is made for this one
/// machine.
pub(crate) fn of_this_machine() -> Result<String, String> {
    let version = library_version();
    if !compile::has_compiler() {
        return Ok(format!("{version}-{CONFIGURATION}-interpreted"));
    }
    let mut hasher = DefaultHasher::new();
    processor()
        .map_err(|error| format!("cannot read /proc/cpuinfo: {error}"))?
        .hash(&mut hasher);
    Ok(format!(
        "{version}-{CONFIGURATION}-{:016x}",
        hasher.finish()
    ))
}

/// The version of the library, such as `0.14.1`.
pub(crate) fn library_version() -> String {
    // SAFETY: it returns a string that ends with NUL and lives as long as the library.
    let version = unsafe { CStr::from_ptr(ffi::WasmEdge_VersionGet()) };
    version.to_string_lossy().into_owned()
}

/// What the kernel says of the first processor.
fn processor() -> std::io::Result<Vec<String>> {
    let mut text = String::new();
    std::fs::File::open("/proc/cpuinfo")?
        .take(CPUINFO)
        .read_to_string(&mut text)?;
    Ok(text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| !CHANGING.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect())
}
