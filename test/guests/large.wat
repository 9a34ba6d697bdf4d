;; Begins with a memory of 128 MiB.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2048)
  (func (export "_start") (call $exit (i32.const 0))))
