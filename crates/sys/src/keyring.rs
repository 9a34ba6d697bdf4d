//! Session keyrings: what a process may use without a file. See `session-keyring(7)`.

use std::ffi::{CStr, c_int, c_ulong};
use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of `<linux/keyctl.h>`.
const JOIN_SESSION_KEYRING: c_int = 1;

/// `KEYCTL_SETPERM`.
const SET_PERMISSIONS: c_int = 5;

/// `KEYCTL_DESCRIBE`.
const DESCRIBE: c_int = 6;

/// The right of a keyring's user to search it, and so to join it by its name.
const USER_SEARCH: u32 = 0x0008_0000;

/// Longest description that is read, in bytes: four numbers and a name.
const DESCRIPTION_MAX: usize = 4096;

/// Has this process leave its session keyring for the one called `name`, which is made if there is
/// none. What it clones or executes has it too.
///
/// # Errors
/// Those of `keyctl`; `ENOSYS` on a kernel without keyrings.
pub fn join_session(name: &CStr) -> io::Result<()> {
    join(name).map(drop)
}

/// As [`join_session`], and lets other processes of the same user join it.
///
/// # Errors
/// See [`join_session`].
pub fn make_session(name: &CStr) -> io::Result<()> {
    let keyring = join(name)?;
    let permissions = permissions(keyring)?;
    keyctl(
        SET_PERMISSIONS,
        keyring,
        c_ulong::from(permissions | USER_SEARCH),
        0,
    )
    .map(drop)
}

/// Gives the serial number of the keyring.
fn join(name: &CStr) -> io::Result<c_ulong> {
    let serial = keyctl(JOIN_SESSION_KEYRING, name.as_ptr() as c_ulong, 0, 0)?;
    c_ulong::try_from(serial).map_err(io::Error::other)
}

/// Who may do what with a keyring, as `<linux/key.h>` has it.
fn permissions(keyring: c_ulong) -> io::Result<u32> {
    let mut text = vec![0_u8; DESCRIPTION_MAX];
    let length = keyctl(
        DESCRIBE,
        keyring,
        text.as_mut_ptr() as c_ulong,
        DESCRIPTION_MAX as c_ulong,
    )?;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    text.truncate(length);
    parse_permissions(&String::from_utf8_lossy(&text)).ok_or_else(|| {
        io::Error::other("the kernel describes the keyring in a way that is not known")
    })
}

/// The fourth part of `type;uid;gid;permissions;name`.
fn parse_permissions(description: &str) -> Option<u32> {
    let permissions = description.split(';').nth(3)?;
    u32::from_str_radix(permissions, 16).ok()
}

fn keyctl(
    operation: c_int,
    first: c_ulong,
    second: c_ulong,
    third: c_ulong,
) -> io::Result<libc::c_long> {
    // SAFETY: the callers pass numbers, or pointers to a string that ends with NUL and to a buffer
    // whose length they pass along; both outlive the call. rustix has no keyctl.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second, third, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_permissions;

    #[test]
    fn permissions_are_the_fourth_part_of_a_description() {
        let text = "keyring;0;0;3f030000;_ses.it";
        assert_eq!(parse_permissions(text), Some(0x3f03_0000));
        assert_eq!(parse_permissions("keyring;0"), None);
    }
}
