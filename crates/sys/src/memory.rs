//! Keeping a long-lived process small.

/// Bounds the C allocator to one arena, and makes it give memory back early.
///
/// glibc keeps an arena per thread: in a shim with a few short-lived threads that is memory
/// touched once and never used again. Call it first thing in `main`.
pub fn keep_heap_small() {
    /// Free memory at the heap's top, in bytes, from which on it goes back to the kernel.
    const TRIM_ABOVE: libc::c_int = 64 * 1024;
    // SAFETY: mallopt only sets parameters of the allocator; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_ABOVE);
    }
}

/// Gives free heap pages back to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim takes the allocator's own locks and has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}
