//! Components: what they are for, told from what they export.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use medley_engine::{Entry, ModuleError, Program, TrustedCode};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::command::LinkedCommand;
use crate::config::{self, Profile};
use crate::error::{NAME, engine_error, is_of_the_machine, malformed};
use crate::http::{self, LinkedHandler};
use crate::linker;
use crate::traps::may_trap;
use crate::wasi_version::{PROVIDED, is, is_of_0_3, is_provided, other_version};

/// How a component's code is to be compiled. Bytes that are no component are anything: the
/// compiler will say what is wrong with them.
pub(crate) fn profile(bytes: &[u8]) -> Profile {
    let interfaces = interfaces(bytes);
    let serves = |(exported, name): &(bool, String)| *exported && http::is_handler(name);
    Profile::of(
        interfaces.iter().any(serves),
        // The functions of Spin's later packages are asynchronous.
        (interfaces.iter()).any(|(_, name)| is_of_0_3(name) || name.starts_with("spin:")),
    )
}

/// What a component imports and exports, as far as its bytes can be read, and whether it exports
/// it.
fn interfaces(bytes: &[u8]) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(imports)) if depth == 0 => {
                let imports = imports.into_iter().flatten();
                found.extend(imports.map(|import| (false, import.name.name.to_owned())));
            }
            Ok(Payload::ComponentExportSection(exports)) if depth == 0 => {
                let exports = exports.into_iter().flatten();
                found.extend(exports.map(|export| (true, export.name.name.to_owned())));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

/// Maps native code that [`compile`] made of a component, and links it.
pub(crate) fn load(
    code: &TrustedCode,
    entry: &Entry,
    stack: Option<u64>,
) -> Result<Box<dyn Program>, ModuleError> {
    let code = code.file();
    // Components can be mapped by path only. The helper still has the host's /proc.
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    let loaded = engine_of(code, stack).and_then(|engine| {
        // SAFETY: by its type, `compile` of this program made the code, and nothing changes it while
        // it is mapped.
        let component = unsafe { Component::deserialize_file(&engine, &path) }?;
        Ok((engine, component))
    });
    let (engine, component) = loaded.map_err(|error| engine_error(entry, &error))?;
    link(&engine, &component, entry)
}

/// Engines that were made for the components of one application, by their profiles.
pub(crate) type Engines = Vec<(Profile, Engine)>;

/// Maps native code of a component of an application, which has its engine in common with the others.
pub(crate) fn load_part(
    code: &TrustedCode,
    entry: &Entry,
    stack: Option<u64>,
    engines: &mut Engines,
) -> Result<Part, ModuleError> {
    let code = code.file();
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    let loaded = profile_of(code).and_then(|profile| {
        let known = engines.iter().find(|(known, _)| *known == profile);
        let engine = match known {
            Some((_, engine)) => engine.clone(),
            None => {
                let engine = engine_for(profile, stack)?;
                engines.push((profile, engine.clone()));
                engine
            }
        };
        // SAFETY: as in `load`.
        let component = unsafe { Component::deserialize_file(&engine, &path) }?;
        Ok((engine, component))
    });
    let (engine, component) = loaded.map_err(|error| engine_error(entry, &error))?;
    link_part(&engine, &component, entry)
}

/// The profile of native code, by its last byte.
fn profile_of(code: &File) -> wasmtime::Result<Profile> {
    let mut number = [0];
    let last = code.metadata()?.len().saturating_sub(1);
    code.read_exact_at(&mut number, last)?;
    Profile::numbered(number[0])
        .ok_or_else(|| wasmtime::format_err!("its native code is of no known profile"))
}

/// The engine that native code is for.
fn engine_of(code: &File, stack: Option<u64>) -> wasmtime::Result<Engine> {
    engine_for(profile_of(code)?, stack)
}

fn engine_for(profile: Profile, stack: Option<u64>) -> wasmtime::Result<Engine> {
    if profile.serves() {
        // A node that allows no such address space has servers that are a little slower.
        config::pooling_engine(profile, stack).or_else(|_| config::engine_with(profile, stack))
    } else {
        config::engine_with(profile, stack)
    }
}

/// A component, by what is called of it.
pub(crate) enum Part {
    Handler(LinkedHandler),
    Command(LinkedCommand),
}

/// Finds a component's imports, and what is to be called.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    entry: &Entry,
) -> Result<Box<dyn Program>, ModuleError> {
    Ok(match link_part(engine, component, entry)? {
        Part::Handler(handler) => Box::new(handler),
        Part::Command(command) => Box::new(command),
    })
}

fn link_part(engine: &Engine, component: &Component, entry: &Entry) -> Result<Part, ModuleError> {
    let linker = linker::linker(engine, component).map_err(|error| engine_error(entry, &error))?;
    let instance = linker.instantiate_pre(component).map_err(|error| {
        missing_import(engine, component, entry).unwrap_or_else(|| engine_error(entry, &error))
    })?;
    let requested = entry.export.as_deref();
    let exports = exports(engine, component);
    let handler = exports.iter().find(|name| {
        http::is_handler(name) && requested.is_none_or(|requested| is(name, requested))
    });
    match handler {
        Some(name) => LinkedHandler::new(component, instance, name, entry).map(Part::Handler),
        None => LinkedCommand::new(component, instance, &exports, entry).map(Part::Command),
    }
}

/// What a component exports.
fn exports(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Names the import that nothing provides. Wasmtime's own message does too, in a sentence about
/// its linker.
fn missing_import(engine: &Engine, component: &Component, entry: &Entry) -> Option<ModuleError> {
    let ty = component.component_type();
    let imports = || ty.imports(engine).map(|(name, _)| name);
    let known = |name: &&str| {
        let mut packages = PROVIDED.iter();
        is_provided(name)
            || may_trap(engine, component, name)
            || packages.any(|(package, _)| name.starts_with(package))
    };
    if let Some(import) = imports().find(|name| !known(name)) {
        if import.starts_with("wasi:nn/") {
            return Some(ModuleError::NotBuiltIn {
                path: entry.path.clone(),
                import: import.to_owned(),
                engine: NAME,
                by: "WASI_NN=on",
            });
        }
        return Some(ModuleError::UnknownImport {
            path: entry.path.clone(),
            import: import.to_owned(),
            engine: NAME,
        });
    }
    imports()
        .filter(|name| !may_trap(engine, component, name))
        .find_map(|name| other_version(name, entry))
}

/// The bytes as Wasmtime takes them: by the engine that their interfaces ask for, or else by a
/// concurrent one.
pub(crate) fn compiled(bytes: &[u8]) -> wasmtime::Result<(Engine, Component, Profile)> {
    let compile = |profile| {
        let engine = config::engine(profile)?;
        let component = Component::from_binary(&engine, bytes)?;
        Ok((engine, component, profile))
    };
    let profile = profile(bytes);
    compile(profile).or_else(|error| {
        if profile.is_concurrent() {
            return Err(error);
        }
        compile(Profile::of(profile.serves(), true))
    })
}

/// Checks that a component can be linked, which is all that its compiler has to know.
pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<Vec<u8>, ModuleError> {
    let (engine, component, profile) = compiled(bytes).map_err(|error| {
        if is_of_the_machine(&error) {
            return engine_error(entry, &error);
        }
        // Those of a later WASI use what only later components may.
        let mut interfaces = interfaces(bytes).into_iter();
        interfaces
            .find_map(|(_, name)| other_version(&name, entry))
            .unwrap_or_else(|| malformed(bytes, &error, entry))
    })?;
    link(&engine, &component, entry)?;
    let mut code = component
        .serialize()
        .map_err(|error| engine_error(entry, &error))?;
    code.push(profile.number());
    Ok(code)
}
