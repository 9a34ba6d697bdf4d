;; A component that exits with the code that its first argument says, 0 to 255. It asks for
;; `exit-with-code`, as the adapter that makes components of modules knows only 0 and 1.
(component
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit-with-code" (func (param "status-code" u8)))))
  (core module $memory
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 1024))
    ;; Hands out memory in steps of eight bytes and takes none back.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $free))
      (global.set $free
        (i32.and
          (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7))
          (i32.const -8)))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-arguments (canon lower (func $environment "get-arguments")
    (memory $bytes) (realloc $realloc)))
  (core func $exit-with-code (canon lower (func $exit "exit-with-code")))
  (core module $main
    (import "host" "memory" (memory 1))
    (import "host" "get-arguments" (func $get-arguments (param i32)))
    (import "host" "exit-with-code" (func $exit-with-code (param i32)))
    (func (export "run") (result i32)
      (local $at i32)
      (local $end i32)
      (local $code i32)
      ;; At 0: where the list is, and how many strings it has, of eight bytes each.
      (call $get-arguments (i32.const 0))
      (local.set $at (i32.load offset=8 (i32.load (i32.const 0))))
      (local.set $end
        (i32.add (local.get $at) (i32.load offset=12 (i32.load (i32.const 0)))))
      (block $done
        (loop $digits
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (local.set $code
            (i32.add
              (i32.mul (local.get $code) (i32.const 10))
              (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $digits)))
      (call $exit-with-code (local.get $code))
      (i32.const 0)))
  (core instance $main (instantiate $main (with "host" (instance
    (export "memory" (memory $bytes))
    (export "get-arguments" (func $get-arguments))
    (export "exit-with-code" (func $exit-with-code))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (component $command
    (import "run" (func $run (result (result))))
    (export "run" (func $run)))
  (instance $command (instantiate $command (with "run" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $command)))
