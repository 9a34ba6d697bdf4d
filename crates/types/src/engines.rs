//! One row for each engine: everything that the rest of the program knows of it. What an engine is
//! added by beside its row is in `docs/adding-an-engine.md`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What dispatch, the shim and the cache know of an engine.
#[derive(Debug)]
pub struct EngineDescriptor {
    /// Its name in annotations, messages, the cache's keys and requests to helpers.
    pub name: &'static str,
    /// Its name as people write it.
    pub title: &'static str,
    /// Whether it runs components; every engine runs core modules.
    pub components: bool,
    /// Whether it alone provides an import, given by module and name.
    pub claims_import: fn(module: &str, name: &str) -> bool,
    /// How many times the memory and processor time of Wasmtime's compiler its own takes.
    pub compile_cost: u64,
    /// The program that has it where it is not built into the shim; `None` if it always is.
    pub binary: Option<EngineProgram>,
    /// How to get it, for a shim without it.
    pub remedy: &'static str,
}

/// A program beside the shim that has one engine.
#[derive(Debug)]
pub struct EngineProgram {
    /// Its file name.
    pub file: &'static str,
    /// The variable of containerd's environment with the program's path, if it is not beside the
    /// shim; `off` for none.
    pub path_variable: &'static str,
    /// The variables of that environment that the engine reads itself.
    pub env: &'static [&'static str],
}

/// Makes [`EngineKind`] of the rows.
macro_rules! engines {
    ($($(#[$doc:meta])* $kind:ident = $row:expr;)*) => {
        /// A Wasm engine, whether this program has it or not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum EngineKind {
            $($(#[$doc])* $kind,)*
        }

        impl EngineKind {
            /// Every engine, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its row.
            #[must_use]
            pub const fn descriptor(self) -> &'static EngineDescriptor {
                match self {
                    $(Self::$kind => const { &$row },)*
                }
            }
        }
    };
}

engines! {
    /// <https://wasmtime.dev>: modules and components.
    Wasmtime = EngineDescriptor {
        name: "wasmtime",
        title: "Wasmtime",
        components: true,
        // What came before WASI preview 1.
        claims_import: |module, _| module == "wasi_unstable",
        compile_cost: 1,
        binary: None,
        remedy: "build it with the feature wasmtime",
    };
    /// <https://wasmedge.org>: modules, with its own sockets and plugins.
    Wasmedge = EngineDescriptor {
        name: "wasmedge",
        title: "WasmEdge",
        components: false,
        claims_import: |module, name| match module {
            "wasi_nn" | "wasi_ephemeral_nn" => true,
            PREVIEW_1 => name.starts_with("sock_") && !PREVIEW_1_SOCKETS.contains(&name),
            _ => module.starts_with("wasmedge_"),
        },
        compile_cost: 4,
        binary: Some(EngineProgram {
            file: "containerd-shim-wasm-v1-wasmedge",
            path_variable: "CONTAINERD_SHIM_WASM_WASMEDGE",
            // Where it looks for its plugins.
            env: &["WASMEDGE_PLUGIN_PATH"],
        }),
        remedy: "put containerd-shim-wasm-v1-wasmedge, which `make install` brings, beside it",
    };
    /// <https://wasmer.io>: modules, with WASIX.
    Wasmer = EngineDescriptor {
        name: "wasmer",
        title: "Wasmer",
        components: false,
        claims_import: |module, _| matches!(module, "wasix_32v1" | "wasix_64v1"),
        compile_cost: 4,
        binary: Some(EngineProgram {
            file: "containerd-shim-wasm-v1-wasmer",
            path_variable: "CONTAINERD_SHIM_WASM_WASMER",
            env: &[],
        }),
        remedy: "put containerd-shim-wasm-v1-wasmer, which `make install WASMER=on` brings, beside it",
    };
}

const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The socket calls of WASI preview 1 itself. WasmEdge adds `sock_open`, `sock_bind`, `sock_listen`,
/// `sock_connect`, `sock_getaddrinfo` and others, and a `_v2` of some.
const PREVIEW_1_SOCKETS: [&str; 4] = ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"];

impl EngineKind {
    /// The engine that alone provides an import, if there is one.
    #[must_use]
    pub fn that_provides(module: &str, name: &str) -> Option<Self> {
        let mut engines = Self::ALL.iter().copied();
        engines.find(|engine| (engine.descriptor().claims_import)(module, name))
    }

    /// The engine that components run on, unless they name another.
    #[must_use]
    pub fn for_components() -> Option<Self> {
        let mut engines = Self::ALL.iter().copied();
        engines.find(|engine| engine.descriptor().components)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.descriptor().name)
    }
}

/// A name that is no engine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no engine is called {:?}: {} are", .0, names())]
pub struct UnknownEngine(pub String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let mut engines = Self::ALL.iter().copied();
        engines
            .find(|engine| engine.descriptor().name == name)
            .ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// The engines' names in a sentence.
fn names() -> String {
    let names: Vec<_> = EngineKind::ALL.iter().map(ToString::to_string).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::EngineKind;
    use std::collections::HashSet;

    #[test]
    fn every_engine_is_found_by_the_name_that_it_shows() {
        for &engine in EngineKind::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
            // Requests to helpers name it so.
            let json = serde_json::to_string(&engine).unwrap();
            assert_eq!(json, format!("{:?}", engine.descriptor().name));
        }
        let names: HashSet<_> = EngineKind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), EngineKind::ALL.len());
    }

    #[test]
    fn a_name_that_is_no_engines_tells_those_that_are() {
        let error = "wasm".parse::<EngineKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no engine is called \"wasm\": wasmtime, wasmedge and wasmer are"
        );
    }

    #[test]
    fn an_engine_that_is_not_built_in_has_a_program_of_its_own() {
        for engine in EngineKind::ALL.iter().map(|engine| engine.descriptor()) {
            let Some(binary) = &engine.binary else {
                continue;
            };
            assert_eq!(
                binary.file,
                format!("containerd-shim-wasm-v1-{}", engine.name)
            );
            assert!(engine.remedy.contains(binary.file), "{}", engine.remedy);
        }
    }
}
