;; Calls itself until its stack is used up, in a way that no compiler makes a loop of.
(module
  (func $deeper (param i64) (result i64)
    (i64.sub (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $deeper (i64.const 0)))))
