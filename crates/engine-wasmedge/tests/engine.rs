//! The engine with WasmEdge's library: `cargo test -p medley-engine-wasmedge --features library`.

#![allow(unsafe_code, reason = "what the engine compiled is executed")]

mod guests;

use guests::exits_with;
use medley_engine::{
    CompiledModule, Engine, Entry, Form, Guest, GuestExit, ModuleError, TrustedCode,
};
use medley_engine_wasmedge::Wasmedge;

fn entry(export: Option<&str>) -> Entry {
    Entry {
        path: "/app.wasm".into(),
        export: export.map(str::to_owned),
    }
}

fn compile(wat: &str, export: Option<&str>) -> Result<CompiledModule, ModuleError> {
    Wasmedge.compile(wat.as_bytes(), &entry(export))
}

fn fails(wat: &str, export: Option<&str>) -> String {
    compile(wat, export)
        .expect_err("it can't be run")
        .to_string()
}

/// Loads what was compiled, as the helper does.
fn load(
    native: &CompiledModule,
    export: Option<&str>,
) -> Result<Box<dyn medley_engine::Program>, ModuleError> {
    let code = native.seal().expect("room for it");
    // SAFETY: the compiler has just made it.
    let code = unsafe { TrustedCode::from_compiler(code) }.expect("it is sealed");
    Wasmedge.load(code, native.form, &entry(export), None)
}

/// Runs a module to its end; says whether it started, too.
fn run(module: &[u8], export: Option<&str>) -> (GuestExit, bool) {
    let native = Wasmedge.compile(module, &entry(export)).expect("it is fit");
    assert_eq!(native.form, Form::Module);
    let program = load(&native, export).expect("it loads");
    let mut started = false;
    let ended = program.run(&Guest::default(), &mut || started = true);
    (ended, started)
}

#[test]
fn exit_codes_are_the_guests_own() {
    for code in [0, 1, 42, 126, 134, 255] {
        let wat = exits_with(code);
        let code = u8::try_from(code).expect("it is small");
        assert_eq!(run(wat.as_bytes(), None), (GuestExit::Exited(code), true));
    }
}

#[test]
fn a_guest_that_returns_exits_with_0() {
    let wat = r#"(module (func (export "_start")))"#;
    assert_eq!(run(wat.as_bytes(), None), (GuestExit::Exited(0), true));
}

/// With any type of result.
#[test]
fn a_named_export_is_called_after_the_constructor() {
    let wat = r#"(module
        (global $ready (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $ready (i32.const 1)))
        (func (export "run") (result i32)
            (if (i32.eqz (global.get $ready)) (then unreachable))
            (i32.const 7)))"#;
    assert_eq!(
        run(wat.as_bytes(), Some("run")),
        (GuestExit::Exited(0), true)
    );
}

#[test]
fn numbers_reach_a_named_export_and_what_is_none_is_named() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "sum") (param i32 i64 f32 f64)
            (call $exit (i32.add
                (i32.add (local.get 0) (i32.wrap_i64 (local.get 1)))
                (i32.add
                    (i32.trunc_f32_s (local.get 2))
                    (i32.trunc_f64_s (local.get 3)))))))"#;
    let native = compile(wat, Some("sum")).expect("it is fit");
    let sum = |args: &[&str]| {
        let program = load(&native, Some("sum")).expect("it loads");
        let guest = Guest {
            args: args.iter().copied().map(str::to_owned).collect(),
            ..Guest::default()
        };
        program.run(&guest, &mut || ())
    };
    let ended = sum(&["/app.wasm", "4294967295", "20", "3.5", "2e1"]);
    assert_eq!(ended, GuestExit::Exited(42));
    assert_eq!(
        sum(&["/app.wasm", "1", "2", "3", "many"]),
        GuestExit::NotStarted("sum takes f64, which \"many\" cannot be".to_owned())
    );
}

#[test]
fn a_trap_says_what_it_was() {
    let unreachable = r#"(module (func (export "_start") unreachable))"#;
    let division = r#"(module (func (export "_start")
        (drop (i32.div_s (i32.const 1) (i32.const 0)))))"#;
    let bounds = r#"(module (memory 1) (func (export "_start")
        (drop (i32.load (i32.const 0x7fffffff)))))"#;
    for (wat, what) in [
        (unreachable, "unreachable"),
        (division, "integer divide by zero"),
        (bounds, "out of bounds memory access"),
    ] {
        let (GuestExit::Trapped(text), true) = run(wat.as_bytes(), None) else {
            panic!("{what} is no trap");
        };
        assert_eq!(text, format!("/app.wasm: wasm trap: {what}"));
    }
}

#[test]
fn a_used_up_stack_traps_unlike_an_access_out_of_bounds() {
    let wat = r#"(module
        (func $deeper (param i64) (result i64)
            (i64.sub (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
        (func (export "_start") (drop (call $deeper (i64.const 0)))))"#;
    let (ended, _) = run(wat.as_bytes(), None);
    let expected = "/app.wasm: wasm trap: call stack exhausted";
    assert_eq!(ended, GuestExit::Trapped(expected.to_owned()));
}

#[test]
fn a_start_section_that_traps_is_a_trap_of_the_guest() {
    let wat = r#"(module (func $first unreachable) (start $first) (func (export "_start")))"#;
    assert!(matches!(
        run(wat.as_bytes(), None),
        (GuestExit::Trapped(_), true)
    ));
}

#[test]
fn an_unknown_import_is_named_with_its_module() {
    let wat = r#"(module (import "env" "secret" (func)) (func (export "_start")))"#;
    let native = compile(wat, None).expect("a plugin might have it");
    let error = load(&native, None).err().expect("none has");
    assert_eq!(
        error.to_string(),
        "/app.wasm imports env::secret, which wasmedge does not provide"
    );
    let wat = r#"(module (import "wasi_snapshot_preview1" "fd_teleport" (func))
        (func (export "_start")))"#;
    assert_eq!(
        fails(wat, None),
        "/app.wasm imports wasi_snapshot_preview1::fd_teleport, which wasmedge does not provide"
    );
}

#[test]
fn a_missing_plugin_is_named_with_the_variable_that_leads_to_it() {
    let wat = r#"(module (import "wasi_nn" "load" (func)) (func (export "_start")))"#;
    let native = compile(wat, None).expect("a plugin might have it");
    let error = load(&native, None).err().expect("none has").to_string();
    assert!(
        error.starts_with("/app.wasm imports wasi_nn::load, and no plugin"),
        "{error}"
    );
    assert!(error.contains("WASMEDGE_PLUGIN_PATH"), "{error}");
}

#[test]
fn an_import_of_another_signature_is_refused() {
    // WASI has three parameters here, WasmEdge two.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))
        (func (export "_start")))"#;
    assert_eq!(
        fails(wat, None),
        "/app.wasm imports wasi_snapshot_preview1::sock_accept with other parameters or results \
         than wasmedge has"
    );
}

#[test]
fn exports_are_checked_before_anything_runs() {
    let wat = r#"(module (func (export "run")) (func (export "add") (param i32)))"#;
    assert!(compile(wat, Some("run")).is_ok());
    assert_eq!(
        fails(wat, None),
        "/app.wasm has no function \"_start\" to call; it exports run, add"
    );
    assert!(compile(wat, Some("add")).is_ok());
    assert_eq!(
        fails(r#"(module (func (export "_start") (param i32)))"#, None),
        "/app.wasm cannot be called at \"_start\": the start of a command takes and gives nothing, and \
         this takes (i32) and gives ()"
    );
    assert_eq!(
        fails(
            r#"(module (func (export "f") (param externref)))"#,
            Some("f")
        ),
        "/app.wasm cannot be called at \"f\": it takes (reference), and an argument cannot be a \
         reference, only a number"
    );
}

#[test]
fn a_component_is_refused() {
    let error = fails("(component)", None);
    assert!(error.contains("components need wasmtime"), "{error}");
}

#[test]
fn a_malformed_module_says_where() {
    let whole = wat::parse_str(r#"(module (func (export "_start")))"#).expect("it is one");
    let cut = Wasmedge.compile(&whole[..whole.len() - 3], &entry(None));
    let error = cut.expect_err("it is cut").to_string();
    assert!(
        error.starts_with("/app.wasm is not valid Wasm: "),
        "{error}"
    );
    assert!(error.contains("offset"), "{error}");
    let untyped = r#"(module (func (export "_start") (i32.add (i32.const 1))))"#;
    let error = fails(untyped, None);
    assert!(
        error.contains("type mismatch") && error.contains("offset"),
        "{error}"
    );
}

#[test]
fn the_fingerprint_stays_the_same_and_names_the_version() {
    let first = Wasmedge.fingerprint().expect("a machine");
    assert_eq!(Wasmedge.fingerprint().expect("a machine"), first);
    let version = Wasmedge.version();
    let (version, _) = version.split_once(',').expect("what it does");
    assert!(first.starts_with(version));
}
