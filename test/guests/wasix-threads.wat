;; A guest of WASIX with three threads, each of which adds 14 to a number that all of them see.
;; Exits with it: 42. With an argument, the threads and it wait for ever.
(module
  (import "env" "memory" (memory 2 16 shared))
  (import "wasix_32v1" "thread_spawn_v2" (func $spawn (param i32 i32) (result i32)))
  (import "wasix_32v1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_exit" (func $exit (param i32)))
  ;; 0: the number; 4: threads that are done; 8: never anything; 16: arguments; 32: a thread's id.
  (global $start i32 (i32.const 64))

  (func $one
    ;; Its stack, of which it uses nothing: where it begins, and how large it is.
    (i32.store (global.get $start) (i32.const 131072))
    (i32.store offset=56 (global.get $start) (i32.const 4096))
    (if (call $spawn (global.get $start) (i32.const 32)) (then unreachable)))

  (func $wait
    (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))

  (func (export "wasi_thread_start") (param $id i32) (param $start i32)
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 14)))
    (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1)))
    (drop (memory.atomic.notify (i32.const 4) (i32.const 1)))
    (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1)) (then (call $wait))))

  (func (export "_start") (local $done i32)
    (if (call $args_sizes (i32.const 16) (i32.const 20)) (then unreachable))
    (call $one) (call $one) (call $one)
    (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1)) (then (call $wait)))
    (loop $more
      (local.set $done (i32.atomic.load (i32.const 4)))
      (if (i32.lt_u (local.get $done) (i32.const 3))
        (then
          (drop (memory.atomic.wait32 (i32.const 4) (local.get $done) (i64.const -1)))
          (br $more))))
    (call $exit (i32.atomic.load (i32.const 0)))))
