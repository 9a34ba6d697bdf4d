;; Calls itself until its stack is used up.
(module
  (func $deeper (param i64) (result i64)
    (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $deeper (i64.const 0)))))
