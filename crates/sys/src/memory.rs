//! Keeping a long-lived process small.
//!
//! Bounding glibc to one arena makes the shim larger, not smaller: what short-lived threads leave in
//! the one heap keeps it from shrinking (measured: 0.76 MiB a container against 0.69).

/// Gives free heap pages back to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim takes the allocator's own locks and has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}
