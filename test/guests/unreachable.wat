;; Traps at once.
(module
  (memory (export "memory") 1)
  (func $first_step (unreachable))
  (func (export "_start") (call $first_step)))
