;; Exits with what the plugin of test/plugins/answer.c says.
(module
  (import "wasmedge_answer" "answer" (func $answer (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (call $answer))))
