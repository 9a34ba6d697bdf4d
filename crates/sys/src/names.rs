//! How the C library looks names up.

use std::ffi::{c_char, c_int};

unsafe extern "C" {
    fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
}

/// Fixes where users, groups and hosts are looked up: in files, and by DNS.
///
/// glibc asks `/etc/nsswitch.conf` otherwise, and loads a shared object for each service that this
/// names. After a change of root both are the image's, and its code would run in our process
/// (the pattern of CVE-2019-14271). Call it before any look-up.
pub fn look_up_without_plugins() {
    for (database, services) in [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"hosts", c"files dns"),
    ] {
        // SAFETY: both are NUL-terminated strings that live for ever; the function copies what it
        // keeps. There is no safe wrapper. It fails only for a name that is no database.
        unsafe {
            __nss_configure_lookup(database.as_ptr(), services.as_ptr());
        }
    }
}
