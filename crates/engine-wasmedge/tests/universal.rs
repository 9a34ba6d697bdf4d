//! A "universal" module, in a process of its own: WasmEdge's compiler keeps what it works on in
//! globals, and ours can't be kept from working at the same time by whom it does not know.
//! `cargo test -p medley-engine-wasmedge --features library`.

mod guests;

use guests::exits_with;
use medley_engine::{Engine, Entry, Guest, GuestExit, TrustedCode};
use medley_engine_wasmedge::Wasmedge;

/// WasmEdge as others use it: it makes "universal" modules, and runs them.
#[allow(unsafe_code, reason = "calls of a C library")]
mod universal {
    use std::ffi::{CString, c_char, c_int, c_void};
    use std::ptr;

    /// `WasmEdge_CompilerOutputFormat_Wasm`.
    const WASM: c_int = 1;
    /// `WasmEdge_HostRegistration_Wasi`.
    const WASI: c_int = 0;

    #[repr(C)]
    struct Text {
        length: u32,
        bytes: *const c_char,
    }

    unsafe extern "C" {
        fn WasmEdge_ConfigureAddHostRegistration(it: *mut c_void, host: c_int);
        fn WasmEdge_VMCreate(configure: *const c_void, store: *mut c_void) -> *mut c_void;
        fn WasmEdge_VMDelete(it: *mut c_void);
        fn WasmEdge_VMRunWasmFromBuffer(
            it: *mut c_void,
            bytes: *const u8,
            length: u32,
            function: Text,
            parameters: *const c_void,
            parameters_length: u32,
            returns: *mut c_void,
            returns_length: u32,
        ) -> u32;
        fn WasmEdge_VMGetImportModuleContext(it: *const c_void, host: c_int) -> *mut c_void;
        fn WasmEdge_ModuleInstanceWASIGetExitCode(it: *const c_void) -> u32;
        fn WasmEdge_ConfigureCreate() -> *mut c_void;
        fn WasmEdge_ConfigureDelete(it: *mut c_void);
        fn WasmEdge_ConfigureCompilerSetOutputFormat(it: *mut c_void, format: c_int);
        fn WasmEdge_CompilerCreate(configure: *const c_void) -> *mut c_void;
        fn WasmEdge_CompilerDelete(it: *mut c_void);
        fn WasmEdge_CompilerCompileFromBuffer(
            it: *mut c_void,
            bytes: *const u8,
            length: u64,
            to: *const c_char,
        ) -> u32;
    }

    /// The module with its native code in a section of its own.
    pub(super) fn of(wat: &str) -> Vec<u8> {
        let module = wat::parse_str(wat).expect("it is right");
        let name = format!("medley-universal-{}.wasm", std::process::id());
        let path = std::env::temp_dir().join(name);
        let to = CString::new(path.to_string_lossy().into_owned()).expect("a path");
        // SAFETY: what is created is deleted, once; the bytes, as many as is said, and the path
        // outlive the call.
        let code = unsafe {
            let configure = WasmEdge_ConfigureCreate();
            WasmEdge_ConfigureCompilerSetOutputFormat(configure, WASM);
            let compiler = WasmEdge_CompilerCreate(configure);
            let length = module.len() as u64;
            let code =
                WasmEdge_CompilerCompileFromBuffer(compiler, module.as_ptr(), length, to.as_ptr());
            WasmEdge_CompilerDelete(compiler);
            WasmEdge_ConfigureDelete(configure);
            code
        };
        assert_eq!(code, 0, "WasmEdge compiles it");
        let universal = std::fs::read(&path).expect("it is there");
        std::fs::remove_file(&path).expect("it is ours");
        universal
    }

    /// The code that the module exits with, run as it is.
    pub(super) fn exit_code(module: &[u8]) -> u32 {
        let length = u32::try_from(module.len()).expect("it is small");
        let start = Text {
            length: 6,
            bytes: c"_start".as_ptr(),
        };
        // SAFETY: what is created is deleted, once; the bytes and the name, as many as is said,
        // outlive the call, which takes and gives no values.
        unsafe {
            let configure = WasmEdge_ConfigureCreate();
            WasmEdge_ConfigureAddHostRegistration(configure, WASI);
            let vm = WasmEdge_VMCreate(configure, ptr::null_mut());
            let (none, nothing) = (ptr::null(), ptr::null_mut());
            WasmEdge_VMRunWasmFromBuffer(vm, module.as_ptr(), length, start, none, 0, nothing, 0);
            let wasi = WasmEdge_VMGetImportModuleContext(vm, WASI);
            let code = WasmEdge_ModuleInstanceWASIGetExitCode(wasi);
            WasmEdge_VMDelete(vm);
            WasmEdge_ConfigureDelete(configure);
            code
        }
    }
}

/// The module of the one text, with the native code of another.
fn forged(portable: &str, native: &str) -> Vec<u8> {
    let mut module = wat::parse_str(portable).expect("it is right");
    let universal = universal::of(native);
    let section = wasmparser::Parser::new(0)
        .parse_all(&universal)
        .find_map(|payload| match payload.expect("it is a module") {
            wasmparser::Payload::CustomSection(section) if section.name() == "wasmedge" => {
                Some(section.range())
            }
            _ => None,
        })
        .expect("it has native code");
    let header = section.start - leb128(section.len()).len() - 1;
    module.extend_from_slice(&universal[header..section.end]);
    module
}

/// A length, as modules have it.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
#[allow(unsafe_code, reason = "what the engine compiled is executed")]
fn native_code_that_a_module_brings_along_is_never_run() {
    let module = forged(&exits_with(7), &exits_with(66));
    // WasmEdge runs it, given the module as it is.
    assert_eq!(universal::exit_code(&module), 66);

    let entry = Entry {
        path: "/app.wasm".into(),
        export: None,
    };
    let native = Wasmedge.compile(&module, &entry).expect("it is fit");
    let code = native.seal().expect("room for it");
    // SAFETY: the compiler has just made it.
    let code = unsafe { TrustedCode::from_compiler(code) }.expect("it is sealed");
    let program = Wasmedge
        .load(code, native.form, &entry, None)
        .expect("it loads");
    let ended = program.run(&Guest::default(), &mut || ());
    assert_eq!(ended, GuestExit::Exited(7));
}
