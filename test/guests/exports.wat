;; Two entry points that tell themselves apart.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")
  (data (i32.const 16) "start\n")
  (data (i32.const 32) "\30\00\00\00\06\00\00\00")
  (data (i32.const 48) "other\n")
  (func $say (param $vector i32)
    (drop (call $fd_write (i32.const 1) (local.get $vector) (i32.const 1) (i32.const 64))))
  (func (export "_start") (call $say (i32.const 0)))
  (func (export "other") (call $say (i32.const 32))))
