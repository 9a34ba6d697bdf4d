//! Guests of more than one test.

/// Calls `proc_exit` with the code.
pub(crate) fn exits_with(code: u32) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}
