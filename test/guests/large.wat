;; Begins with a memory of 128 MiB.
(module
  (memory (export "memory") 2048)
  (func (export "_start")))
