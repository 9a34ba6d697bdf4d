//! What a module imports and exports, and whether there is such a thing.

use std::ffi::CStr;
use std::ptr;

use medley_engine::invoke::{self, START};
use medley_engine::{Entry, ModuleError};

use crate::error::{NAME, engine_error};
use crate::ffi::{self, AstModule, ModuleInstance};
use crate::owned::{Owned, owned_text, text};
use crate::plugins::{self, Plugins};
use crate::signature::Signature;

/// The module of WASI, in which WasmEdge has its sockets too.
pub(crate) const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// What is to be called of `entry`.
pub(crate) fn export(entry: &Entry) -> &str {
    entry.export.as_deref().unwrap_or(START)
}

/// Checks that the module exports a function by the name that is to be called, which can be.
pub(crate) fn check_export(module: &Owned<AstModule>, entry: &Entry) -> Result<(), ModuleError> {
    let requested = export(entry);
    let mut functions = Vec::new();
    // SAFETY: the module lives, and the list is as long as WasmEdge says that it has to be.
    let exports = unsafe {
        let length = ffi::WasmEdge_ASTModuleListExportsLength(module.get());
        let mut exports = vec![ptr::null(); usize::try_from(length).unwrap_or_default()];
        ffi::WasmEdge_ASTModuleListExports(module.get(), exports.as_mut_ptr(), length);
        exports
    };
    for export in exports {
        // SAFETY: the export is a part of the module, which lives.
        let signature = unsafe {
            if ffi::WasmEdge_ExportTypeGetExternalType(export) != ffi::FUNCTION {
                continue;
            }
            let name = owned_text(ffi::WasmEdge_ExportTypeGetExternalName(export));
            if name != requested {
                functions.push(name);
                continue;
            }
            let kind = ffi::WasmEdge_ExportTypeGetFunctionType(module.get(), export);
            if kind.is_null() {
                return Err(engine_error(
                    entry,
                    "it does not know what its functions take",
                ));
            }
            Signature::new(kind)
        };
        let checked = invoke::check(requested, &signature.parameters(), &signature.results());
        return checked.map_err(|reason| ModuleError::Signature {
            path: entry.path.clone(),
            export: requested.to_owned(),
            reason,
        });
    }
    Err(ModuleError::NoExport {
        path: entry.path.clone(),
        requested: requested.to_owned(),
        exports: functions,
    })
}

/// Checks that there is everything that the module imports. Gives the modules that plugins are to
/// make; without `plugins` what these would have to have is taken for granted.
pub(crate) fn check_imports(
    module: &Owned<AstModule>,
    entry: &Entry,
    plugins: Option<&mut Plugins>,
) -> Result<Vec<plugins::Source>, ModuleError> {
    let mut plugins = plugins;
    let wasi = wasi(&[], &[], &[]).map_err(|reason| engine_error(entry, reason))?;
    let mut used: Vec<(plugins::Source, Owned<ModuleInstance>)> = Vec::new();
    // SAFETY: the module lives, and the list is as long as WasmEdge says that it has to be.
    let imports = unsafe {
        let length = ffi::WasmEdge_ASTModuleListImportsLength(module.get());
        let mut imports = vec![ptr::null(); usize::try_from(length).unwrap_or_default()];
        ffi::WasmEdge_ASTModuleListImports(module.get(), imports.as_mut_ptr(), length);
        imports
    };
    for import in imports {
        // SAFETY: the import is a part of the module, which lives.
        let (from, name, kind) = unsafe {
            let from = owned_text(ffi::WasmEdge_ImportTypeGetModuleName(import));
            let name = owned_text(ffi::WasmEdge_ImportTypeGetExternalName(import));
            let kind = ffi::WasmEdge_ImportTypeGetExternalType(import);
            (from, name, kind)
        };
        let provider = if from == PREVIEW_1 {
            &wasi
        } else if let Some(at) = used.iter().position(|(source, _)| source.module == from) {
            &used[at].1
        } else if let Some(plugins) = plugins.as_deref_mut() {
            let (source, instance) = plugins.find(&from).ok_or_else(|| {
                if plugins::is_plugins(&from) {
                    plugins.missing(entry, &from, &name)
                } else {
                    unknown(entry, &from, &name)
                }
            })?;
            used.push((source, instance));
            &used[used.len() - 1].1
        } else {
            continue;
        };
        if kind != ffi::FUNCTION {
            return Err(unknown(entry, &from, &name));
        }
        // SAFETY: provider, module and import live; a function that was found lives with its
        // provider.
        let fits = unsafe {
            let there = ffi::WasmEdge_ModuleInstanceFindFunction(provider.get(), text(&name));
            if there.is_null() {
                return Err(unknown(entry, &from, &name));
            }
            let there = ffi::WasmEdge_FunctionInstanceGetFunctionType(there);
            let requested = ffi::WasmEdge_ImportTypeGetFunctionType(module.get(), import);
            requested.is_null() || Signature::new(there).is(&Signature::new(requested))
        };
        if !fits {
            return Err(ModuleError::ImportSignature {
                path: entry.path.clone(),
                import: format!("{from}::{name}"),
                engine: NAME,
            });
        }
    }
    Ok(used.into_iter().map(|(source, _)| source).collect())
}

fn unknown(entry: &Entry, module: &str, name: &str) -> ModuleError {
    ModuleError::UnknownImport {
        path: entry.path.clone(),
        import: format!("{module}::{name}"),
        engine: NAME,
    }
}

/// The module of WASI, with arguments, environment and preopens.
pub(crate) fn wasi(
    args: &[&CStr],
    env: &[&CStr],
    preopens: &[&CStr],
) -> Result<Owned<ModuleInstance>, &'static str> {
    let pointers = |texts: &[&CStr]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let length = |texts: &[&CStr]| u32::try_from(texts.len()).unwrap_or(u32::MAX);
    let lists = (pointers(args), pointers(env), pointers(preopens));
    // SAFETY: each list holds as many strings as is said, which end with NUL and outlive the call:
    // WasmEdge copies them. What is created is ours.
    let wasi = unsafe {
        Owned::new(
            ffi::WasmEdge_ModuleInstanceCreateWASI(
                lists.0.as_ptr(),
                length(args),
                lists.1.as_ptr(),
                length(env),
                lists.2.as_ptr(),
                length(preopens),
            ),
            ffi::WasmEdge_ModuleInstanceDelete,
        )
    };
    wasi.ok_or("it cannot make the module of WASI")
}
