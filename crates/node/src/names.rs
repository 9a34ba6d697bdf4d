//! The names by which containerd, its clients and Kubernetes know this shim.

use std::ffi::OsStr;
use std::iter;
use std::path::Path;

use medley_types::EngineKind;

/// The shim's file.
pub(crate) const SHIM: &str = "containerd-shim-wasm-v1";

/// The shim, and the programs with engines of their own that may lie beside it.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    let engines = EngineKind::ALL.iter();
    let beside = engines.filter_map(|engine| engine.descriptor().binary.as_ref());
    iter::once(SHIM).chain(beside.map(|program| program.file))
}

/// Another name of the shim that is no runtime of containerd's: the OCI runtime command line.
pub(crate) const COMMAND_LINE: &str = "medley";

/// The handler that containerd and Docker have without being told.
pub(crate) const RUNC: &str = "runc";

/// Where the libraries are that the program with WasmEdge brings along, by their version: it is linked to
/// their loader there (`release/wasmedge`).
pub(crate) const LIBRARIES: &str = "/var/lib/containerd-shim-wasm/wasmedge";

/// The shim's runtime type.
pub(crate) const RUNTIME: &str = "io.containerd.wasm.v1";

/// The handler that is added if none is asked for.
pub(crate) const HANDLER: &str = "wasm";

/// What of a pod's annotations the shim has to hear of. Patterns of Go's `path.Match`, in which `*`
/// does not go beyond a `/`.
pub(crate) const ANNOTATIONS: [&str; 2] = ["module.wasm.image/*", "run.oci.handler"];

/// The directories in which each containerd looks for shims, as they are in the PATH that systemd
/// and container images set.
pub(crate) const SEARCHED: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Another name of the shim: a link, by which other shims' users find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The link's name.
    pub file: &'static str,
    /// The runtime type by which containerd comes to that name.
    pub runtime: &'static str,
    /// The engine of a module that asks for none.
    pub engine: EngineKind,
}

/// All of them.
pub const ALIASES: [Alias; 4] = [
    Alias {
        file: "containerd-shim-wasmedge-v1",
        runtime: "io.containerd.wasmedge.v1",
        engine: EngineKind::Wasmedge,
    },
    Alias {
        file: "containerd-shim-wasmtime-v1",
        runtime: "io.containerd.wasmtime.v1",
        engine: EngineKind::Wasmtime,
    },
    Alias {
        file: "containerd-shim-wasmer-v1",
        runtime: "io.containerd.wasmer.v1",
        engine: EngineKind::Wasmer,
    },
    Alias {
        file: "containerd-shim-spin-v2",
        runtime: "io.containerd.spin.v2",
        engine: EngineKind::Wasmtime,
    },
];

/// The alias that a program was called by: its first argument, a path.
#[must_use]
pub fn alias(called: &OsStr) -> Option<&'static Alias> {
    let name = Path::new(called).file_name()?;
    ALIASES.iter().find(|alias| name == alias.file)
}

/// The alias that runs a handler of this name: `crun-wasmedge` and `wasmedge` are WasmEdge's.
pub(crate) fn alias_of_handler(handler: &str) -> Option<&'static Alias> {
    let name = handler.strip_prefix("crun-").unwrap_or(handler);
    ALIASES.iter().find(|alias| {
        let short = alias.file.strip_prefix("containerd-shim-");
        short.is_some_and(|short| short.split('-').next() == Some(name))
    })
}

/// The runtime type for a handler of this name.
pub(crate) fn runtime_of_handler(handler: &str) -> &'static str {
    alias_of_handler(handler).map_or(RUNTIME, |alias| alias.runtime)
}

/// Whether a runtime type is this shim's, be it by an alias.
pub(crate) fn is_ours(runtime: &str) -> bool {
    runtime == RUNTIME || ALIASES.iter().any(|alias| alias.runtime == runtime)
}

/// Whether Kubernetes takes it for a handler's name: RFC 1123's label.
pub(crate) fn is_handler(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{alias, is_handler, runtime_of_handler};
    use medley_types::EngineKind;
    use std::ffi::OsStr;

    #[test]
    fn an_alias_is_known_by_the_file_that_was_called() {
        let engine = |path: &str| alias(OsStr::new(path)).map(|alias| alias.engine);
        let path = "/usr/local/bin/containerd-shim-wasmedge-v1";
        assert_eq!(engine(path), Some(EngineKind::Wasmedge));
        assert_eq!(
            engine("containerd-shim-spin-v2"),
            Some(EngineKind::Wasmtime)
        );
        assert_eq!(engine("/bin/containerd-shim-wasm-v1"), None);
        assert_eq!(engine("/bin/containerd-shim-wasmedge-v1/other"), None);
        assert_eq!(engine(""), None);
    }

    #[test]
    fn each_handler_has_the_runtime_that_its_name_promises() {
        for (handler, runtime) in [
            ("wasm", "io.containerd.wasm.v1"),
            ("crun", "io.containerd.wasm.v1"),
            ("slight", "io.containerd.wasm.v1"),
            ("crun-wasmedge", "io.containerd.wasmedge.v1"),
            ("crun-wasmtime", "io.containerd.wasmtime.v1"),
            ("wasmer", "io.containerd.wasmer.v1"),
            ("spin", "io.containerd.spin.v2"),
        ] {
            assert_eq!(runtime_of_handler(handler), runtime, "{handler}");
        }
    }

    #[test]
    fn a_handlers_name_is_one_that_a_runtime_class_can_have() {
        for good in ["wasm", "crun-wasmedge", "a", "0", &"a".repeat(63)] {
            assert!(is_handler(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "Wasm",
            "wasm_edge",
            "a.b",
            "-a",
            "a-",
            "a b",
            "a]\n",
            &long,
        ] {
            assert!(!is_handler(bad), "{bad}");
        }
    }
}
