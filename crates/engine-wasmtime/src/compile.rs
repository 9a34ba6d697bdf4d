//! In the compiler process: from a module's bytes to native code.
//!
//! Everything that can be known of a module without running it is checked here, so that Create
//! fails with the reason.

use medley_engine::{CompiledModule, Entry, Form, ModuleError};
use wasmparser::{MemoryType, Parser, Payload, Validator, WasmFeatures};
use wasmtime::Module;

use crate::config::{self, Profile};
use crate::error::{NAME, engine_error, malformed};
use crate::{component, module, outline};

/// Of a module with threads.
const NO_THREADS: &str =
    "it makes a memory that threads share; only wasmer has threads, those of WASIX";

pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError> {
    let bytes = wat::parse_bytes(bytes).map_err(|error| ModuleError::Malformed {
        path: entry.path.clone(),
        reason: in_one_line(&error.to_string()),
    })?;
    if let Some(error) = foreseen(&bytes, entry) {
        return Err(error);
    }
    if Parser::is_component(&bytes) {
        let code = component::compile(&bytes, entry)?;
        has_no_threads(&bytes, entry)?;
        return Ok(CompiledModule {
            code,
            form: Form::Component,
        });
    }
    let engine = config::engine(Profile::Command).map_err(|error| engine_error(entry, &error))?;
    let compiled =
        Module::from_binary(&engine, &bytes).map_err(|error| malformed(&bytes, &error, entry))?;
    module::LinkedModule::new(&engine, &compiled, entry)?;
    has_no_threads(&bytes, entry)?;
    let code = compiled
        .serialize()
        .map_err(|error| engine_error(entry, &error))?;
    Ok(CompiledModule {
        code,
        form: Form::Module,
    })
}

/// Why it can't be run, told without its code: what it imports, what it exports, and how. `None`
/// if nothing speaks against it, or if it is not valid, of which the engine's own word counts.
fn foreseen(bytes: &[u8], entry: &Entry) -> Option<ModuleError> {
    let error = match outline::of(bytes).map(|outline| linked(&outline, entry)) {
        Some(Some(Err(error))) => error,
        _ => has_no_threads(bytes, entry).err()?,
    };
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    validator.validate_all(bytes).is_ok().then_some(error)
}

/// Whether an outline can be linked; `None` if the engine does not take it, for which there may be
/// a reason in what it lacks.
fn linked(outline: &[u8], entry: &Entry) -> Option<Result<(), ModuleError>> {
    if Parser::is_component(outline) {
        let (engine, component, _) = component::compiled(outline).ok()?;
        return Some(component::link(&engine, &component, entry).map(drop));
    }
    let engine = config::engine(Profile::Command).ok()?;
    let module = Module::from_binary(&engine, outline).ok()?;
    Some(module::LinkedModule::new(&engine, &module, entry).map(drop))
}

/// Refuses what makes a memory that threads are to share, of all modules in it; it is valid.
/// Wasmtime makes none unless it is told to: it gives out no security releases for them.
fn has_no_threads(bytes: &[u8], entry: &Entry) -> Result<(), ModuleError> {
    let payloads = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    let memories = payloads.filter_map(|payload| match payload {
        Payload::MemorySection(memories) => Some(memories),
        _ => None,
    });
    let is_shared = |memory: wasmparser::Result<MemoryType>| memory.is_ok_and(|ty| ty.shared);
    if memories.flatten().any(is_shared) {
        return Err(ModuleError::Engine {
            path: entry.path.clone(),
            engine: NAME,
            reason: NO_THREADS.to_owned(),
        });
    }
    Ok(())
}

/// What is wrong with text, and where: the first line of an assembler's error, and of what follows
/// it, which shows the text, no more than the place.
fn in_one_line(error: &str) -> String {
    let mut lines = error.lines();
    let fault = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| line.trim().strip_prefix("--> <anon>:"));
    match place.and_then(|place| place.split_once(':')) {
        Some((line, column)) => format!("{fault} at line {line}, column {column}"),
        None => fault.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::compile;
    use crate::config::Profile;
    use medley_engine::{Entry, Form, ModuleError};

    fn entry(export: Option<&str>) -> Entry {
        Entry {
            path: "/app.wasm".into(),
            export: export.map(str::to_owned),
        }
    }

    fn fails(wat: &str, export: Option<&str>) -> String {
        compile(wat.as_bytes(), &entry(export))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_cannot_start_is_told_from_its_outline() {
        for wat in [
            r#"(module (func (export "add")))"#,
            r#"(module (func (export "_start") (param i32)))"#,
            r#"(module (import "env" "secret" (func)) (func (export "_start")))"#,
            "(module (memory 1 1 shared) (func (export \"_start\")))",
            r#"(component (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func (export "go") (canon lift (core func $i "f"))))"#,
        ] {
            let bytes = wat::parse_str(wat).unwrap();
            assert!(super::foreseen(&bytes, &entry(None)).is_some(), "{wat}");
        }
        let invalid = r#"(module (func (export "add") (result i32)))"#;
        let bytes = wat::parse_str(invalid).unwrap();
        assert_eq!(super::foreseen(&bytes, &entry(None)), None);
        assert!(fails(invalid, None).contains("is not valid Wasm"));
    }

    /// A function `$f` of a component, async, and `$run`, an instance with it.
    const ASYNC_RUN: &str = r#"
        (core module $m
            (func (export "f") (result i32) (i32.const 0))
            (func (export "callback") (param i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f async (result (result)) (canon lift (core func $i "f") async
            (callback (core func $i "callback"))))
        (instance $run (export "run" (func $f)))"#;

    #[test]
    fn a_module_with_start_compiles() {
        let native = compile(br#"(module (func (export "_start")))"#, &entry(None)).unwrap();
        assert_eq!(native.form, Form::Module);
        assert!(!native.code.is_empty());
    }

    #[test]
    fn a_truncated_module_says_where_it_ends() {
        let whole = wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
        let error = compile(&whole[..whole.len() - 3], &entry(None))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/app.wasm is not valid Wasm: "),
            "{error}"
        );
        assert!(error.contains(" at byte "), "{error}");
        let of = format!(" of {}", whole.len() - 3);
        assert!(error.ends_with(&of), "{error}");
    }

    #[test]
    fn text_that_is_no_module_says_where_in_one_line() {
        assert_eq!(
            fails("(module\n  (func $f", None),
            "/app.wasm is not valid Wasm: expected `)` at line 2, column 11"
        );
    }

    #[test]
    fn a_shared_memory_is_refused_and_atomics_alone_are_not() {
        let with = |memory: &str| {
            format!(
                r#"(module (memory (export "memory") 1 1 {memory})
                    (func (export "_start")
                        (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#
            )
        };
        assert!(compile(with("").as_bytes(), &entry(None)).is_ok());
        let error = fails(&with("shared"), None);
        assert!(error.contains("a memory that threads share"), "{error}");
        let within = r#"(component
            (core module $m (memory 1 1 shared) (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "go") (canon lift (core func $i "f"))))"#;
        let error = fails(within, Some("go"));
        assert!(error.contains("a memory that threads share"), "{error}");
    }

    #[test]
    fn a_module_of_preview_0_is_linked() {
        let wat = r#"(module
            (import "wasi_unstable" "proc_exit" (func (param i32)))
            (import "wasi_unstable" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")))"#;
        assert_eq!(
            compile(wat.as_bytes(), &entry(None)).unwrap().form,
            Form::Module
        );
        let error = fails(&wat.replace("fd_seek", "fd_leap"), None);
        assert!(error.contains("imports wasi_unstable::fd_leap"), "{error}");
    }

    #[test]
    fn an_unknown_import_is_named_with_its_module() {
        let wat = r#"(module (import "env" "secret" (func)) (func (export "_start")))"#;
        assert_eq!(
            fails(wat, None),
            "/app.wasm imports env::secret, which wasmtime does not provide"
        );
    }

    #[test]
    fn the_engine_that_has_an_import_is_named() {
        for (import, engine) in [
            (r#""wasix_32v1" "fd_dup""#, "wasmer"),
            (r#""wasi_ephemeral_nn" "load""#, "wasmedge"),
        ] {
            let error = fails(
                &format!("(module (import {import} (func)) (func (export \"_start\")))"),
                None,
            );
            let told = format!(
                "which wasmtime does not provide, but {engine} does; name it by the annotation run.oci.handler"
            );
            assert!(error.ends_with(&told), "{error}");
        }
    }

    #[test]
    fn a_module_without_start_lists_its_exports() {
        let wat = r#"(module (func (export "add")) (memory (export "memory") 1))"#;
        assert_eq!(
            fails(wat, None),
            "/app.wasm has no function \"_start\" to call; it exports add"
        );
    }

    #[test]
    fn a_named_export_is_found_or_refused() {
        let wat = r#"(module (func (export "run")) (func (export "add") (param i32 v128)))"#;
        compile(wat.as_bytes(), &entry(Some("run"))).unwrap();
        assert!(fails(wat, Some("walk")).contains("no function \"walk\""));
        assert_eq!(
            fails(wat, Some("add")),
            "/app.wasm cannot be called at \"add\": it takes (i32, v128), and an argument cannot be \
             a v128, only a number"
        );
    }

    #[test]
    fn a_start_that_takes_something_is_refused() {
        let wat = r#"(module (func (export "_start") (param i32)))"#;
        let error = fails(wat, None);
        assert!(
            error.starts_with("/app.wasm cannot be called at \"_start\": the start of a command"),
            "{error}"
        );
    }

    #[test]
    fn a_component_of_another_wasi_is_told_which_there_is() {
        let wat =
            r#"(component (import "wasi:cli/exit@0.9.0" (instance)) (export "e" (instance 0)))"#;
        let wat = wat.replace("(instance)", r#"(instance (export "f" (func)))"#);
        assert_eq!(
            fails(&wat, None),
            "/app.wasm is built for wasi:cli/exit@0.9.0, but wasmtime has 0.2 and 0.3 of it"
        );
    }

    #[test]
    fn a_component_of_a_draft_of_wasi_0_3_is_told_which_there_is() {
        let draft = "wasi:cli/run@0.3.0-rc-2026-01-06";
        let run = r#"(instance (export "run" (func async (result (result)))))"#;
        let imports = format!(r#"(component (import "{draft}" {run}))"#);
        let exports = format!(r#"(component {ASYNC_RUN} (export "{draft}" (instance $run)))"#);
        for wat in [imports, exports] {
            let expected =
                format!("/app.wasm is built for {draft}, but wasmtime has 0.2 and 0.3 of it");
            assert_eq!(fails(&wat, None), expected);
        }
    }

    #[test]
    fn a_component_of_wasi_0_3_is_linked() {
        let wat = format!(
            r#"(component
                (import "wasi:cli/exit@0.3.0" (instance (export "exit" (func (param "status" (result))))))
                {ASYNC_RUN}
                (export "wasi:cli/run@0.3.0" (instance $run)))"#
        );
        let native = compile(wat.as_bytes(), &entry(None)).unwrap();
        assert_eq!(native.form, Form::Component);
        assert_eq!(
            native.code.last(),
            Some(&Profile::ConcurrentCommand.number())
        );
    }

    #[test]
    fn a_function_that_is_async_without_any_of_wasi_0_3_is_linked() {
        let wat = format!(r#"(component {ASYNC_RUN} (export "go" (func $f)))"#);
        let native = compile(wat.as_bytes(), &entry(Some("go"))).unwrap();
        assert_eq!(
            native.code.last(),
            Some(&Profile::ConcurrentCommand.number())
        );
    }

    #[test]
    fn a_component_of_wasi_0_2_is_none_of_a_concurrent_profile() {
        let wat = r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "go") (canon lift (core func $i "f"))))"#;
        let native = compile(wat.as_bytes(), &entry(Some("go"))).unwrap();
        assert_eq!(native.code.last(), Some(&Profile::Command.number()));
    }

    #[test]
    fn a_component_without_a_command_is_refused() {
        let error = compile(b"(component)", &entry(None)).unwrap_err();
        assert!(matches!(error, ModuleError::NoExport { .. }), "{error}");
        assert!(error.to_string().contains("wasi:cli/run"), "{error}");
    }

    #[test]
    fn arbitrary_bytes_are_malformed_and_no_more() {
        for length in 0..64_u8 {
            let bytes: Vec<u8> = b"\0asm\x01\0\0\0"
                .iter()
                .copied()
                .chain(0..length)
                .collect();
            if let Err(error) = compile(&bytes, &entry(None)) {
                assert!(error.to_string().starts_with("/app.wasm"), "{error}");
            }
        }
    }
}
