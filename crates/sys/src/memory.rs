//! Keeping a long-lived process small; what may be mapped.
//!
//! Bounding glibc to one arena makes the shim larger, not smaller: what short-lived threads leave in
//! the one heap keeps it from shrinking (measured: 0.76 MiB a container against 0.69).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Sees whether code may be mapped from `file`.
///
/// # Errors
/// EPERM where its file system is mounted `noexec`, EACCES where a security module forbids it.
pub fn may_execute(file: &File) -> io::Result<()> {
    const LENGTH: usize = 1;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
    // SAFETY: a new mapping, at an address that the kernel chooses, of a file that is open.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            protection,
            flags,
            file.as_raw_fd(),
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: what was mapped above, to which nothing refers.
    unsafe {
        libc::munmap(mapped, LENGTH);
    }
    Ok(())
}

/// Gives free heap pages back to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim takes the allocator's own locks and has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of this process's own stack back that are below what is in use. The kernel keeps those of
/// the deepest call ever made. It does nothing on another stack: that of a thread.
pub fn trim_stack() {
    /// As much as is given back at most.
    const DEPTH: usize = 256 << 10;
    /// What stays below this frame, for the calls made here.
    const SPARE: usize = 8 << 10;
    /// The least that the kernel keeps free of all else below the top of a process's stack is 128 MiB.
    const KEPT_FREE: usize = 64 << 20;
    let here = 0_u8;
    let here = std::ptr::from_ref(&here).addr();
    // SAFETY: they read what the kernel gave the process at its start: a place at the top of its stack, and
    // the size of a page.
    let (top, page) = unsafe {
        (
            libc::getauxval(libc::AT_RANDOM),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    let (Ok(top), Ok(page)) = (usize::try_from(top), usize::try_from(page)) else {
        return;
    };
    if page == 0
        || top
            .checked_sub(here)
            .is_none_or(|depth| depth > KEPT_FREE - DEPTH)
    {
        return;
    }
    let end = (here - SPARE) / page * page;
    let begin = std::ptr::without_provenance_mut(end - DEPTH);
    // SAFETY: below the frames in use of the process's own stack, where nothing else is mapped; what is
    // not mapped is passed over.
    unsafe {
        libc::madvise(begin, DEPTH, libc::MADV_DONTNEED);
    }
}

/// Has this process's share of its binary end with what it goes on using: the kernel maps 64 KiB around each
/// place that is reached once, and keeps that mapped. What is reached again it maps again, from its cache.
pub fn unmap_code() {
    unsafe extern "C" {
        /// Where the linker puts what is only read of the binary, and where its code ends.
        static __executable_start: u8;
        static etext: u8;
    }
    let (first, end) = (&raw const __executable_start, &raw const etext);
    // SAFETY: a plain question.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page @ 1..) = usize::try_from(page) else {
        return;
    };
    let length = (end.addr().saturating_sub(first.addr())) / page * page;
    // SAFETY: of what is mapped from the binary and never written, each page is the file's, now and later.
    unsafe {
        libc::madvise(first.cast_mut().cast(), length, libc::MADV_DONTNEED);
    }
}

/// Has every heap of this process end soon after what is in use. By default a heap keeps at its end
/// what it once needed, up to 128 KiB or twice the largest block that was ever freed; and from that
/// of a thread [`trim_heap`] takes it as little as the thread's end does.
pub fn keep_heaps_short() {
    /// Free bytes at a heap's end from which they are given back.
    const FREE: libc::c_int = 32 << 10;
    /// Bytes that are left there, and taken with what a heap grows by.
    const SPARE: libc::c_int = 16 << 10;
    for (parameter, bytes) in [(libc::M_TRIM_THRESHOLD, FREE), (libc::M_TOP_PAD, SPARE)] {
        // SAFETY: mallopt takes the allocator's own locks; these parameters take any size. One that
        // it does not take leaves things as they were, which is right too.
        unsafe {
            libc::mallopt(parameter, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unmap_code;

    /// How much of the binary's code is mapped, in KiB.
    fn mapped() -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let code = smaps.split("VmFlags:").find(|one| {
            let range = one.lines().find_map(|line| line.split_once(" r-xp "));
            let (first, end) = range
                .unwrap_or_default()
                .0
                .split_once('-')
                .unwrap_or_default();
            let number = |text: &str| usize::from_str_radix(text, 16).unwrap_or_default();
            (number(first)..number(end)).contains(&(mapped as *const () as usize))
        });
        let line = code
            .unwrap()
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    #[test]
    fn code_that_is_not_run_does_not_stay_mapped() {
        let before = mapped();
        unmap_code();
        let after = mapped();
        assert!(after < before, "{after} KiB of {before}");
    }
}
