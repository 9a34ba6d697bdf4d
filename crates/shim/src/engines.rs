//! The engines of this binary, and those that have a program of their own beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use medley_container::shim::EngineBinary;
use medley_dispatch::{EngineKind, Options};
use medley_engine::Engine;
use medley_node::Alias;
use medley_types::EngineProgram;

/// What containerd's environment calls the engine of modules that ask for none.
pub(crate) const DEFAULT: &str = "CONTAINERD_SHIM_WASM_ENGINE";

/// The variables of containerd's environment that are the engines'.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    let programs = EngineKind::ALL
        .iter()
        .filter_map(|engine| engine.descriptor().binary.as_ref());
    let variables = programs.flat_map(|it| it.env.iter().copied().chain([it.path_variable]));
    variables.chain([DEFAULT])
}

/// The other name of this program that it was called by: a link that is for one engine.
pub(crate) fn called_by() -> Option<&'static Alias> {
    medley_node::alias(&std::env::args_os().next()?)
}

/// The engine of this kind, if it is built in.
pub(crate) fn built_in(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        #[cfg(feature = "wasmtime")]
        EngineKind::Wasmtime => Some(&medley_engine_wasmtime::Wasmtime),
        #[cfg(feature = "wasmedge")]
        EngineKind::Wasmedge => Some(&medley_engine_wasmedge::Wasmedge),
        #[cfg(feature = "wasmer")]
        EngineKind::Wasmer => Some(&medley_engine_wasmer::Wasmer),
        _ => None,
    }
}

/// The programs with engines that are not built in.
pub(crate) fn beside() -> Vec<EngineBinary> {
    let own = std::env::current_exe().unwrap_or_default();
    let engines = EngineKind::ALL
        .iter()
        .filter(|engine| built_in(**engine).is_none());
    engines
        .filter_map(|engine| find(*engine, engine.descriptor().binary.as_ref()?, &own))
        .collect()
}

/// An engine's program, if it is there.
fn find(engine: EngineKind, program: &'static EngineProgram, own: &Path) -> Option<EngineBinary> {
    let path = path(program, std::env::var_os(program.path_variable), own)?;
    let variable = |name: &&'static str| Some((*name, std::env::var_os(name)?));
    path.is_file().then(|| EngineBinary {
        engine,
        path,
        env: program.env.iter().filter_map(variable).collect(),
    })
}

/// Where an engine's program is to be: where `named` says, else beside `own`.
fn path(program: &EngineProgram, named: Option<OsString>, own: &Path) -> Option<PathBuf> {
    match named {
        Some(named) if named == "off" => None,
        Some(named) if !named.is_empty() => Some(named.into()),
        _ => Some(own.with_file_name(program.file)),
    }
}

/// What dispatch may choose from.
pub(crate) fn options() -> Options {
    let beside = beside();
    Options {
        default_engine: default(std::env::var_os(DEFAULT)),
        built_in: EngineKind::ALL
            .iter()
            .copied()
            .filter(|kind| {
                built_in(*kind).is_some() || beside.iter().any(|beside| beside.engine == *kind)
            })
            .collect(),
        foreign_elf: has_emulators(),
    }
}

/// The engine that is configured for modules that ask for none.
fn default(named: Option<OsString>) -> EngineKind {
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return EngineKind::Wasmtime;
    };
    named.to_string_lossy().parse().unwrap_or_else(|error| {
        log::warn!("{DEFAULT}: {error}; modules that ask for no engine get wasmtime");
        EngineKind::Wasmtime
    })
}

/// The engines there are, for programs.
pub(crate) fn names() -> String {
    let names: Vec<_> = options().built_in.iter().map(ToString::to_string).collect();
    names.join(",")
}

/// The engines there are, and where each comes from, for people.
pub(crate) fn described() -> Vec<String> {
    let own = EngineKind::ALL
        .iter()
        .filter_map(|kind| built_in(*kind))
        .map(|engine| format!("{} {} (built in)", engine.name(), engine.version()));
    let beside = beside().into_iter().map(|beside| {
        let EngineBinary { engine, path, .. } = beside;
        let path_shown = path.display();
        match version(&path) {
            Ok(version) => format!("{engine} {version} ({path_shown})"),
            Err(reason) => format!("{engine} cannot be used: {path_shown}: {reason}"),
        }
    });
    own.chain(beside).collect()
}

/// What the program at `path` says of itself.
fn version(path: &Path) -> Result<String, String> {
    let done = Command::new(path)
        .arg("-v")
        .env_clear()
        .output()
        .map_err(|error| error.to_string())?;
    let said = if done.status.success() {
        &done.stdout
    } else {
        &done.stderr
    };
    let said = String::from_utf8_lossy(said).trim().replace('\n', " ");
    if done.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// Whether the node runs programs of other machines through `binfmt_misc`: qemu-user, Rosetta.
fn has_emulators() -> bool {
    /// How the file of a handler for ELF programs says what it is for.
    const ELF: &str = "magic 7f454c46";
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|handler| handler.contains(ELF))
}

#[cfg(test)]
mod tests {
    use super::{default, path, variables};
    use medley_dispatch::EngineKind;
    use std::path::{Path, PathBuf};

    #[test]
    fn an_engines_program_is_beside_the_shim_or_named_or_off() {
        let own = Path::new("/opt/bin/containerd-shim-wasm-v1");
        for engine in EngineKind::ALL {
            let Some(program) = &engine.descriptor().binary else {
                continue;
            };
            let beside = PathBuf::from(format!("{}-{engine}", own.display()));
            assert_eq!(path(program, None, own), Some(beside.clone()));
            assert_eq!(path(program, Some("".into()), own), Some(beside));
            assert_eq!(path(program, Some("/e".into()), own), Some("/e".into()));
            assert_eq!(path(program, Some("off".into()), own), None);
        }
    }

    #[test]
    fn every_variable_of_an_engine_reaches_the_shim() {
        let all: Vec<_> = variables().collect();
        for name in [
            "CONTAINERD_SHIM_WASM_ENGINE",
            "CONTAINERD_SHIM_WASM_WASMEDGE",
            "CONTAINERD_SHIM_WASM_WASMER",
            "WASMEDGE_PLUGIN_PATH",
        ] {
            assert!(all.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_default_engine_is_the_one_that_is_named_or_wasmtime() {
        assert_eq!(default(None), EngineKind::Wasmtime);
        assert_eq!(default(Some("wasmedge".into())), EngineKind::Wasmedge);
        assert_eq!(default(Some("wasm".into())), EngineKind::Wasmtime);
    }
}
