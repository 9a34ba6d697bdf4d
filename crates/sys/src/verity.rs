//! fs-verity: files that the kernel checks page by page as it reads them from the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `FS_VERITY_HASH_ALG_SHA256` of `linux/fsverity.h`.
const SHA256: u32 = 1;

/// Size of a block of the hash tree, in bytes: the one that every kernel with fs-verity takes.
pub const BLOCK: u32 = 4096;

/// `FS_IOC_ENABLE_VERITY`, `_IOW('f', 133, struct fsverity_enable_arg)`.
const ENABLE: libc::c_ulong = 0x4080_6685;

/// `FS_IOC_MEASURE_VERITY`, `_IOWR('f', 134, struct fsverity_digest)`.
const MEASURE: libc::c_ulong = 0xc004_6686;

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest`, with room for SHA-256.
#[repr(C)]
struct Digest {
    algorithm: u16,
    size: u16,
    digest: [u8; 32],
}

/// Has the kernel check `file` from now on; it can't be written to any more. `file` is open for
/// reading, and nowhere for writing.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY` where the file system has no fs-verity.
pub fn enable(file: &File) -> io::Result<()> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: SHA256,
        block_size: BLOCK,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: `arg` is initialised, as long as the kernel reads, and outlives the call; it names no
    // other memory. rustix has no such call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE, &raw const arg) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The digest that the kernel holds the content of `file` against; `None` if it does not.
#[must_use]
pub fn measure(file: &File) -> Option<[u8; 32]> {
    let mut digest = Digest {
        algorithm: 0,
        size: 32,
        digest: [0; 32],
    };
    // SAFETY: `digest` has room for the 32 bytes that its `size` says, and outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE, &raw mut digest) };
    let known = u32::from(digest.algorithm) == SHA256 && digest.size == 32;
    (result == 0 && known).then_some(digest.digest)
}

#[cfg(test)]
mod tests {
    use super::{Digest, EnableArg, enable, measure};

    #[test]
    fn the_structures_are_as_large_as_the_requests_say() {
        assert_eq!(size_of::<EnableArg>(), 128);
        assert_eq!(size_of::<Digest>(), 4 + 32);
    }

    #[test]
    fn a_file_is_measured_if_and_only_if_the_kernel_checks_it() {
        let path = std::env::temp_dir().join(format!("medley-verity-{}", std::process::id()));
        std::fs::write(&path, "hello").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(measure(&file), None);
        let enabled = enable(&file).is_ok();
        assert_eq!(measure(&file).is_some(), enabled);
        std::fs::remove_file(&path).unwrap();
    }
}
