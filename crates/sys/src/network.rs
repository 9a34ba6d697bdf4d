//! Network interfaces of the namespace that the caller is in.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings an interface up, as `ip link set <name> up` does: `netdevice(7)`.
///
/// # Errors
/// `ENODEV` if there is none of that name, and others of the ioctls.
pub fn bring_up(name: &str) -> io::Result<()> {
    // Any socket names the namespace.
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: it is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero and ends the name.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the socket is open, and the kernel writes no more than the request's flags.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let up = libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: the kernel has just set the flags of the union.
    unsafe { request.ifr_ifru.ifru_flags |= up };
    // SAFETY: the socket is open, and the kernel only reads the request.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::bring_up;

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(bring_up("none-of-this").is_err());
        assert!(bring_up("a-name-that-is-far-too-long").is_err());
    }
}
