//! The engine with Wasmer: `cargo test -p medley-engine-wasmer --features engine`.

#![allow(unsafe_code, reason = "what the engine compiled is executed")]

use medley_engine::memory::{Available, MemoryBudget, MemoryLimit};
use medley_engine::{
    CompiledModule, Engine, Entry, Form, Guest, GuestExit, ModuleError, TrustedCode,
};
use medley_engine_wasmer::Wasmer;

/// A module with all that a guest of WASI needs, and functions of it.
fn module(imports: &str, functions: &str) -> String {
    format!(r#"(module {imports} (memory (export "memory") 1) {functions})"#)
}

const EXIT: &str = r#"(import "wasix_32v1" "proc_exit" (func $exit (param i32)))"#;

fn entry(export: Option<&str>) -> Entry {
    Entry {
        path: "/app.wasm".into(),
        export: export.map(str::to_owned),
    }
}

fn compile(text: impl AsRef<[u8]>, export: Option<&str>) -> Result<CompiledModule, ModuleError> {
    Wasmer.compile(text.as_ref(), &entry(export))
}

fn refused(text: impl AsRef<[u8]>, export: Option<&str>) -> String {
    compile(text, export).expect_err("it is unfit").to_string()
}

/// Compiles a module, loads the code as the helper does, and runs it to its end. Says how often
/// it was said to have started, too.
fn run_in(guest: &Guest, text: &str, export: Option<&str>) -> (GuestExit, usize) {
    let native = compile(text, export).expect("it is fit");
    assert_eq!(native.form, Form::Module);
    let code = native.seal().expect("room for it");
    // SAFETY: the compiler has just made it.
    let code = unsafe { TrustedCode::from_compiler(code) }.expect("it is sealed");
    let program = Wasmer.load(code, native.form, &entry(export), None);
    let mut started = 0;
    let ended = program.expect("it loads").run(guest, &mut || started += 1);
    (ended, started)
}

fn run(text: &str, export: Option<&str>) -> (GuestExit, usize) {
    run_in(&Guest::default(), text, export)
}

/// Checks that it trapped, and gives the words for it: the first line.
fn trap((ended, started): (GuestExit, usize)) -> String {
    let (GuestExit::Trapped(text), 1) = (&ended, started) else {
        panic!("{ended:?} after {started} starts");
    };
    let line = text.lines().next().unwrap_or_default();
    let what = line.strip_prefix("/app.wasm: wasm trap: ");
    what.expect("the module's name").to_owned()
}

#[test]
fn exit_codes_are_the_guests_own_and_their_low_byte() {
    for (code, seen) in [(0, 0), (1, 1), (134, 134), (255, 255), (256, 0), (-1, 255)] {
        let start = format!(r#"(func (export "_start") (call $exit (i32.const {code})))"#);
        let ended = run(&module(EXIT, &start), None);
        assert_eq!(ended, (GuestExit::Exited(seen), 1), "{code}");
    }
}

#[test]
fn preview_1_and_no_interface_at_all_will_do() {
    let exit = EXIT.replace("wasix_32v1", "wasi_snapshot_preview1");
    let start = r#"(func (export "_start") (call $exit (i32.const 7)))"#;
    assert_eq!(run(&module(&exit, start), None), (GuestExit::Exited(7), 1));
    let alone = r#"(module (func (export "_start")))"#;
    assert_eq!(run(alone, None), (GuestExit::Exited(0), 1));
}

/// A guest with three threads.
fn threads() -> String {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../test/guests/wasix-threads.wat"
    ));
    text.expect("it is part of the sources")
}

#[test]
fn the_threads_of_a_guest_share_its_memory() {
    assert_eq!(run(&threads(), None), (GuestExit::Exited(42), 1));
}

#[test]
fn a_named_export_is_called_after_the_constructor_with_numbers() {
    let functions = r#"
        (global $ready (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $ready (i32.const 1)))
        (func (export "sum") (param i32 i64 f32 f64)
            (if (i32.eqz (global.get $ready)) (then unreachable))
            (call $exit (i32.add
                (i32.add (local.get 0) (i32.wrap_i64 (local.get 1)))
                (i32.add (i32.trunc_f32_s (local.get 2)) (i32.trunc_f64_s (local.get 3))))))"#;
    let text = module(EXIT, functions);
    let sum = |args: &[&str]| {
        let guest = Guest {
            args: args.iter().copied().map(str::to_owned).collect(),
            ..Guest::default()
        };
        run_in(&guest, &text, Some("sum"))
    };
    let ended = sum(&["/app.wasm", "4294967295", "20", "3.5", "2e1"]);
    assert_eq!(ended, (GuestExit::Exited(42), 1));
    let reason = "sum takes f64, which \"many\" cannot be".to_owned();
    assert_eq!(
        sum(&["/app.wasm", "1", "2", "3", "many"]),
        (GuestExit::NotStarted(reason), 0)
    );
}

#[test]
fn a_trap_says_what_it_was_wherever_it_happens() {
    let deeper = r#"(func $deeper (param i64) (result i64)
            (i64.sub (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
        (func (export "f") (drop (call $deeper (i64.const 0))))"#;
    for (functions, what) in [
        (r#"(func (export "f") unreachable)"#, "unreachable"),
        (
            r#"(func (export "f") (drop (i32.div_s (i32.const 1) (i32.const 0))))"#,
            "integer divide by zero",
        ),
        (
            r#"(func (export "f") (drop (i32.load (i32.const 0x7fffffff))))"#,
            "out of bounds memory access",
        ),
        (deeper, "call stack exhausted"),
    ] {
        let alone = format!("(module (memory 1) {functions})");
        assert_eq!(trap(run(&alone, Some("f"))), what);
        let named = module(EXIT, functions);
        assert_eq!(trap(run(&named, Some("f"))), what);
        let command = module(EXIT, &functions.replace("\"f\"", "\"_start\""));
        assert_eq!(trap(run(&command, None)), what);
        let made = format!(r#"(func (export "_initialize") unreachable) {functions}"#);
        let made = module(EXIT, &made.replace("\"f\"", "\"_start\""));
        assert_eq!(trap(run(&made, None)), "unreachable");
        let begun = format!(r#"(func $first unreachable) (start $first) {functions}"#);
        let begun = run(&module(EXIT, &begun), Some("f"));
        assert_eq!(trap(begun), "unreachable");
    }
}

/// No exit code is taken for a trap.
#[test]
fn a_trap_of_a_thread_is_its_guests() {
    let text = threads();
    let text = text.replace(
        "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 14)))",
        "unreachable",
    );
    assert_eq!(trap(run(&text, None)), "unreachable");
    let named = text.replace("\"_start\"", "\"f\"");
    assert_eq!(trap(run(&named, Some("f"))), "unreachable");
    for code in [45, 129] {
        let start = format!(r#"(func (export "_start") (call $exit (i32.const {code})))"#);
        let ended = run(&module(EXIT, &start), None);
        assert_eq!(ended, (GuestExit::Exited(code), 1));
    }
}

#[test]
fn a_backtrace_names_the_functions() {
    let text = r#"(module (func $inner unreachable) (func $outer (export "f") (call $inner)))"#;
    let (GuestExit::Trapped(text), 1) = run(text, Some("f")) else {
        panic!("it did not trap");
    };
    let lines: Vec<_> = text.lines().collect();
    let [_, inner, outer] = lines[..] else {
        panic!("{text}");
    };
    assert!(inner.contains("at inner "), "{text}");
    assert!(outer.contains("at outer "), "{text}");
}

#[test]
fn native_code_is_no_module() {
    let native = compile(module(EXIT, r#"(func (export "_start"))"#), None).expect("it is fit");
    let error = refused(&native.code, None);
    assert!(
        error.starts_with("/app.wasm is not valid Wasm: "),
        "{error}"
    );
}

#[test]
fn what_is_not_there_is_named() {
    let start = r#"(func (export "_start"))"#;
    for (import, told) in [
        (
            r#"(import "env" "secret" (func))"#,
            "imports env::secret, which wasmer does not provide",
        ),
        (
            r#"(import "wasix_32v1" "fd_teleport" (func))"#,
            "imports wasix_32v1::fd_teleport, which wasmer does not provide",
        ),
        (
            r#"(import "wasix_32v1" "fd_dup" (func))"#,
            "imports wasix_32v1::fd_dup with other parameters or results than wasmer has",
        ),
    ] {
        let error = refused(module(import, start), None);
        assert_eq!(error, format!("/app.wasm {told}"));
    }
    let blind = format!("(module {EXIT} {start})");
    assert!(refused(blind, None).contains("exports no memory"));
    let text =
        r#"(module (func (export "add") (param i32)) (func (export "f") (param externref)))"#;
    assert_eq!(
        refused(text, None),
        "/app.wasm has no function \"_start\" to call; it exports add, f"
    );
    assert!(compile(text, Some("add")).is_ok());
    assert!(refused(text, Some("f")).contains("it takes (reference)"));
    assert!(refused("(component)", None).contains("components need wasmtime"));
}

#[test]
fn a_malformed_module_says_where() {
    let whole = wat::parse_str(r#"(module (func (export "_start")))"#).expect("it is one");
    let untyped = r#"(module (func (export "_start") (i32.add (i32.const 1))))"#;
    for bytes in [&whole[..whole.len() - 3], untyped.as_bytes()] {
        let error = refused(bytes, None);
        let begins = "/app.wasm is not valid Wasm: ";
        assert!(
            error.starts_with(begins) && error.contains("offset"),
            "{error}"
        );
    }
}

/// Leaves a guest so many bytes.
struct Fixed(u64);

impl MemoryLimit for Fixed {
    fn available(&self, _: u64, _: u64) -> Option<Available> {
        Some(Available {
            bytes: self.0,
            limit: self.0,
        })
    }
}

/// A memory that begins larger does not start.
#[test]
fn a_memory_ends_where_the_containers_limit_does() {
    let guest = Guest {
        memory: MemoryBudget::limited_by(Box::new(Fixed(10 << 16))),
        ..Guest::default()
    };
    // Nine more pages, and then none.
    let grows = r#"(func (export "_start")
        (if (i32.ne (memory.grow (i32.const 9)) (i32.const 1)) (then unreachable))
        (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)))"#;
    let ended = run_in(&guest, &module(EXIT, grows), None);
    assert_eq!(ended, (GuestExit::Exited(0), 1));
    let large = r#"(module (memory (export "memory") 11) (func (export "_start")))"#;
    let (GuestExit::NotStarted(reason), 0) = run_in(&guest, large, None) else {
        panic!("it started");
    };
    let begins = "it needs a memory of 720896 bytes, and the container's memory limit of 655360";
    assert!(reason.starts_with(begins), "{reason}");
}

#[test]
fn the_fingerprint_stays_the_same_and_names_the_version() {
    let first = Wasmer.fingerprint().expect("a machine");
    assert_eq!(Wasmer.fingerprint().expect("a machine"), first);
    assert!(first.starts_with(&Wasmer.version()));
}
