//! Seccomp filters that are ready to be loaded.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The size of an instruction of the kernel's: code, two jumps, a value.
const INSTRUCTION: usize = 8;

/// The flag for a filter that asks an agent: `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const NEW_LISTENER: u32 = 1 << 3;

/// Puts the calling thread, and what it makes, under a filter: its instructions, as the kernel takes
/// them, and the flags of `SECCOMP_SET_MODE_FILTER`. Gives what it asks an agent by, with that flag.
///
/// # Errors
/// `EINVAL` if it is no filter, `EACCES` without `CAP_SYS_ADMIN` and `no_new_privs`.
pub fn load(program: &[u8], flags: u32) -> io::Result<Option<OwnedFd>> {
    let size = program.len() / INSTRUCTION;
    let mut instructions = Vec::with_capacity(size);
    for bytes in program.chunks_exact(INSTRUCTION) {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = *bytes else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        instructions.push(libc::sock_filter {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        });
    }
    let program = libc::sock_fprog {
        len: u16::try_from(size).map_err(io::Error::other)?,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the program points to as many instructions as it says, which outlive the call; the
    // kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        fd if flags & NEW_LISTENER != 0 => {
            let fd = i32::try_from(fd).map_err(io::Error::other)?;
            // SAFETY: the kernel has made this descriptor for this call, and nothing else knows it.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        0 => Ok(None),
        // With the flag for all threads: one that can't be put under it.
        thread => Err(io::Error::other(format!(
            "thread {thread} has another filter"
        ))),
    }
}
