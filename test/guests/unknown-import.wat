;; Asks for something that no host has.
(module
  (import "moon" "base" (func $base))
  (memory (export "memory") 1)
  (func (export "_start") (call $base)))
