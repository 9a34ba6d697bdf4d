;; Grows a table, 65,536 elements at a time, until it can't; traps if that never happens.
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "_start")
    (local $times i32)
    (loop $more
      (local.set $times (i32.add (local.get $times) (i32.const 1)))
      (if (i32.gt_u (local.get $times) (i32.const 4096)) (then (unreachable)))
      (br_if $more
        (i32.ne (table.grow $table (ref.null func) (i32.const 65536)) (i32.const -1))))))
