//! The structures of the bindings against the library's own header, which a C compiler reads:
//! `cargo test -p medley-engine-wasmedge --features library`.

#![allow(
    dead_code,
    unsafe_code,
    reason = "the bindings are for the engine; here they are only measured"
)]

#[path = "../src/ffi.rs"]
mod ffi;

use std::fmt::Write as _;
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with `wasmedge/wasmedge.h`: of the library in `WASMEDGE_LIB_DIR`, `<prefix>/lib` or
/// `<prefix>/lib/<machine>`, or the machine's own.
fn header_dir() -> Option<PathBuf> {
    let library = std::env::var_os("WASMEDGE_LIB_DIR").filter(|dir| !dir.is_empty());
    let prefixes = match &library {
        Some(dir) => Path::new(dir).ancestors().skip(1).take(2).collect(),
        None => vec![Path::new("/usr"), Path::new("/usr/local")],
    };
    let dirs = prefixes.into_iter().map(|prefix| prefix.join("include"));
    dirs.into_iter()
        .find(|dir| dir.join("wasmedge/wasmedge.h").is_file())
}

/// Every claim that the bindings make of the header, as a C program that compiles only if all are
/// true.
fn claims() -> String {
    let mut program = String::from("#include <stddef.h>\n#include <wasmedge/wasmedge.h>\n");
    let mut claim = |of: &str, ours: usize| {
        writeln!(program, "_Static_assert({of} == {ours}, \"{of}\");").expect("memory");
    };
    claim("sizeof(WasmEdge_Result)", size_of::<ffi::Result>());
    claim("_Alignof(WasmEdge_Result)", align_of::<ffi::Result>());
    claim(
        "offsetof(WasmEdge_Result, Code)",
        offset_of!(ffi::Result, code),
    );
    claim("sizeof(WasmEdge_String)", size_of::<ffi::Text>());
    claim("_Alignof(WasmEdge_String)", align_of::<ffi::Text>());
    claim(
        "offsetof(WasmEdge_String, Length)",
        offset_of!(ffi::Text, length),
    );
    claim(
        "offsetof(WasmEdge_String, Buf)",
        offset_of!(ffi::Text, bytes),
    );
    claim("sizeof(WasmEdge_ValType)", size_of::<ffi::ValueType>());
    claim("_Alignof(WasmEdge_ValType)", align_of::<ffi::ValueType>());
    claim("sizeof(WasmEdge_Value)", size_of::<ffi::Value>());
    claim("_Alignof(WasmEdge_Value)", align_of::<ffi::Value>());
    claim(
        "offsetof(WasmEdge_Value, Value)",
        offset_of!(ffi::Value, value),
    );
    claim(
        "offsetof(WasmEdge_Value, Type)",
        offset_of!(ffi::Value, kind),
    );
    for (name, ours) in [
        ("WasmEdge_ErrCode_Success", ffi::SUCCESS.cast_signed()),
        ("WasmEdge_ErrCode_Terminated", ffi::TERMINATED.cast_signed()),
        ("WasmEdge_ExternalType_Function", ffi::FUNCTION),
        ("WasmEdge_CompilerOutputFormat_Native", ffi::NATIVE),
        ("WasmEdge_CompilerOptimizationLevel_O2", ffi::O2),
        ("WasmEdge_Proposal_TailCall", ffi::TAIL_CALL),
        ("WasmEdge_Proposal_ExtendedConst", ffi::EXTENDED_CONST),
        ("WasmEdge_Proposal_MultiMemories", ffi::MULTI_MEMORIES),
        ("WasmEdge_Proposal_Threads", ffi::THREADS),
    ] {
        claim(name, usize::try_from(ours).expect("it is not negative"));
    }
    program
}

#[test]
fn the_bindings_are_laid_out_as_the_header_says() {
    let dir = header_dir().expect("wasmedge/wasmedge.h, which libwasmedge-dev brings");
    let source = std::env::temp_dir().join(format!("medley-layout-{}.c", std::process::id()));
    std::fs::write(&source, claims()).expect("a file for the C program");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let done = Command::new(compiler)
        .args(["-std=c11", "-fsyntax-only", "-I"])
        .arg(&dir)
        .arg(&source)
        .output();
    std::fs::remove_file(&source).expect("it is ours");
    let done = done.expect("a C compiler");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}
