//! Components: what they are for, told from what they export.

use std::fs::File;
use std::os::fd::AsRawFd;

use medley_engine::{Entry, Program, Unfit};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::command::LinkedCommand;
use crate::config::{self, Profile};
use crate::http::{HANDLER, LinkedHandler};
use crate::{NAME, host, malformed, unfit};

/// How a component's code is to be compiled. Bytes that are no component are anything: the
/// compiler will say what is wrong with them.
pub(crate) fn profile(bytes: &[u8]) -> Profile {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentExportSection(exports)) if depth == 0 => {
                let mut exports = exports.into_iter().flatten();
                if exports.any(|export| export.name.name.starts_with(HANDLER)) {
                    return Profile::Server;
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Profile::Command
}

/// Maps native code that [`crate::compile`] made of a component, and links it.
pub(crate) fn load(code: &File, entry: &Entry) -> Result<Box<dyn Program>, Unfit> {
    // Components can be mapped by path only. The helper still has the host's /proc.
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    let load = |engine: Engine| {
        // SAFETY: the contract of `medley_engine::Engine::load`: `code` is what `compile` of this
        // binary wrote, in a file that nobody can change while it is mapped.
        let component = unsafe { Component::deserialize_file(&engine, &path) }?;
        Ok::<_, wasmtime::Error>((engine, component))
    };
    // An engine refuses code of another profile, before it has mapped much of it.
    let loaded = config::engine(Profile::Command)
        .and_then(load)
        .or_else(|_| {
            // A node that allows no such address space has servers that are a little slower.
            let pooling = config::pooling_engine();
            load(pooling.or_else(|_| config::engine(Profile::Server))?)
        });
    let (engine, component) = loaded.map_err(|error| unfit(entry, &error))?;
    link(&engine, &component, entry)
}

/// Finds a component's imports, and what is to be called.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    entry: &Entry,
) -> Result<Box<dyn Program>, Unfit> {
    let linker = host::linker(engine, component).map_err(|error| unfit(entry, &error))?;
    let instance = linker.instantiate_pre(component).map_err(|error| {
        missing_import(engine, component, entry).unwrap_or_else(|| unfit(entry, &error))
    })?;
    let wanted = entry.export.as_deref();
    let serves = exports(engine, component)
        .iter()
        .any(|name| name.starts_with(HANDLER) && wanted.is_none_or(|wanted| is(name, wanted)));
    if serves {
        Ok(Box::new(LinkedHandler::new(component, instance, entry)?))
    } else {
        Ok(Box::new(LinkedCommand::new(
            engine, component, instance, entry,
        )?))
    }
}

/// Whether `wanted` names an interface, with or without its version.
pub(crate) fn is(interface: &str, wanted: &str) -> bool {
    let rest = interface.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// What a component exports.
pub(crate) fn exports(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Names the import that nothing provides. Wasmtime's own message does too, in a sentence about
/// its linker.
fn missing_import(engine: &Engine, component: &Component, entry: &Entry) -> Option<Unfit> {
    let ty = component.component_type();
    let imports = || ty.imports(engine).map(|(name, _)| name);
    let known = |name: &&str| {
        host::PROVIDED
            .iter()
            .any(|(package, _)| name.starts_with(package))
    };
    if let Some(import) = imports().find(|name| !known(name)) {
        return Some(Unfit::UnknownImport {
            path: entry.path.clone(),
            import: import.to_owned(),
            engine: NAME,
        });
    }
    imports().find_map(|name| other_version(name, entry))
}

/// Whether an interface, as it is imported or exported, is one of another WASI than ours.
pub(crate) fn other_version(name: &str, entry: &Entry) -> Option<Unfit> {
    let known = |(package, _): &&(&str, &str)| name.starts_with(package);
    let (_, provided) = host::PROVIDED.iter().find(known)?;
    let version = name.split_once('@')?.1;
    (!version.starts_with(provided)).then(|| Unfit::WasiVersion {
        path: entry.path.clone(),
        interface: name.to_owned(),
        engine: NAME,
        provided: (*provided).trim_end_matches('.'),
    })
}

/// The same of bytes that Wasmtime does not take for a component: those of a later WASI use what
/// only later components may.
fn built_for_another(bytes: &[u8], entry: &Entry) -> Option<Unfit> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let found = match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                None
            }
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                None
            }
            Payload::ComponentImportSection(imports) if depth == 0 => imports
                .into_iter()
                .flatten()
                .find_map(|import| other_version(import.name.name, entry)),
            Payload::ComponentExportSection(exports) if depth == 0 => exports
                .into_iter()
                .flatten()
                .find_map(|export| other_version(export.name.name, entry)),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Checks that a component can be linked, which is all that its compiler has to know.
pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<Vec<u8>, Unfit> {
    let engine = config::engine(profile(bytes)).map_err(|error| unfit(entry, &error))?;
    let component = Component::from_binary(&engine, bytes).map_err(|error| {
        built_for_another(bytes, entry).unwrap_or_else(|| malformed(bytes, &error, entry))
    })?;
    link(&engine, &component, entry)?;
    component.serialize().map_err(|error| unfit(entry, &error))
}
