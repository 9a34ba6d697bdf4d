//! In the compiler process: from a module's bytes to a shared object.
//!
//! Everything that can be known of a module without running it and without the node's plugins is
//! checked here, so that Create fails with the reason, and before the long work.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use medley_engine::{CompiledModule, Entry, Form, ModuleError};

use crate::error::{component_refused, engine_error};
use crate::ffi::{self, AstModule, Compiler, Configure};
use crate::owned::{Mode, Owned, check, configure};
use crate::{imports, sections};

pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError> {
    let malformed = |reason| ModuleError::Malformed {
        path: entry.path.clone(),
        reason,
    };
    let bytes = wat::parse_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
    if wasmparser::Parser::is_component(&bytes) {
        return Err(component_refused(entry));
    }
    let module = sections::strip(&bytes).map_err(|error| malformed(error.to_string()))?;
    let configure = configure(Mode::Interpreted).map_err(|reason| engine_error(entry, reason))?;
    let parsed = parse(&configure, &module)
        .and_then(|parsed| validate(&configure, &parsed).map(|()| parsed))
        .map_err(|reason| malformed(explain(reason, &bytes)))?;
    imports::check_export(&parsed, entry)?;
    imports::check_imports(&parsed, entry, None)?;
    let code = match compiler(&configure) {
        Some(compiler) => {
            to_native(&compiler, &module).map_err(|reason| engine_error(entry, &reason))?
        }
        // What is interpreted is the module itself.
        None => module,
    };
    Ok(CompiledModule {
        code,
        form: Form::Module,
    })
}

/// Whether the library has a compiler.
pub(crate) fn has_compiler() -> bool {
    configure(Mode::Interpreted).is_ok_and(|configure| compiler(&configure).is_some())
}

fn compiler(configure: &Owned<Configure>) -> Option<Owned<Compiler>> {
    // SAFETY: the configuration lives; WasmEdge copies it. What is created is ours; it is null in a
    // library without LLVM.
    unsafe {
        Owned::new(
            ffi::WasmEdge_CompilerCreate(configure.get()),
            ffi::WasmEdge_CompilerDelete,
        )
    }
}

fn parse(configure: &Owned<Configure>, module: &[u8]) -> Result<Owned<AstModule>, &'static str> {
    let length = u32::try_from(module.len()).map_err(|_| "it is too large")?;
    let mut parsed = std::ptr::null_mut();
    // SAFETY: the configuration lives, and WasmEdge copies it; the bytes outlive the call, as many
    // as is said; what is created is ours.
    unsafe {
        let loader = Owned::new(
            ffi::WasmEdge_LoaderCreate(configure.get()),
            ffi::WasmEdge_LoaderDelete,
        );
        let loader = loader.ok_or("it cannot load")?;
        check(ffi::WasmEdge_LoaderParseFromBuffer(
            loader.get(),
            &raw mut parsed,
            module.as_ptr(),
            length,
        ))?;
        Owned::new(parsed, ffi::WasmEdge_ASTModuleDelete).ok_or("it is no module")
    }
}

/// Checks a module. None can be instantiated that was not.
pub(crate) fn validate(
    configure: &Owned<Configure>,
    module: &Owned<AstModule>,
) -> Result<(), &'static str> {
    // SAFETY: the configuration lives, and WasmEdge copies it; so does the module, in which the
    // validator leaves its mark. What is created is ours.
    unsafe {
        let validator = Owned::new(
            ffi::WasmEdge_ValidatorCreate(configure.get()),
            ffi::WasmEdge_ValidatorDelete,
        );
        let validator = validator.ok_or("it cannot validate")?;
        check(ffi::WasmEdge_ValidatorValidate(
            validator.get(),
            module.get(),
        ))
    }
}

/// WasmEdge's word, and where: it does not tell the offset.
fn explain(reason: &str, module: &[u8]) -> String {
    let size = module.len();
    match wasmparser::validate(module) {
        Err(error) => format!("{reason}: {error} (the file has {size} bytes)"),
        Ok(_) => format!("{reason} (the file has {size} bytes)"),
    }
}

/// A dir for the linker's files, which goes away with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("medley-wasmedge-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The compiler's dir for temporary files goes away with its process.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Guards the linker, which keeps what it works on in globals.
static LINKER: Mutex<()> = Mutex::new(());

fn to_native(compiler: &Owned<Compiler>, module: &[u8]) -> Result<Vec<u8>, String> {
    // Nothing is guarded that a panic could leave half done.
    let _alone = LINKER.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new().map_err(|error| {
        let dir = std::env::temp_dir();
        format!(
            "its compiler has no directory in {}: {error}",
            dir.display()
        )
    })?;
    let output = scratch.0.join("module.so");
    let path = CString::new(output.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let length = u64::try_from(module.len()).map_err(|error| error.to_string())?;
    // SAFETY: the compiler lives; the bytes, as many as is said, and the path outlive the call.
    let result = unsafe {
        ffi::WasmEdge_CompilerCompileFromBuffer(
            compiler.get(),
            module.as_ptr(),
            length,
            path.as_ptr(),
        )
    };
    check(result).map_err(|reason| format!("its compiler says: {reason}"))?;
    std::fs::read(&output).map_err(|error| format!("its compiler has left nothing: {error}"))
}
