//! In the helper: a user namespace.

use std::os::fd::OwnedFd;

use medley_sys::clone::SingleThreaded;

use crate::protocol::{Failure, MakeUserNamespace, UserNamespace};

/// Makes a user namespace.
pub(crate) fn run(call: MakeUserNamespace) -> Result<UserNamespace<OwnedFd>, Failure> {
    let mappings = call.mappings;
    let made = SingleThreaded::check().and_then(|alone| {
        medley_sys::user_namespace::create(&alone, &mappings.uids, &mappings.gids)
    });
    match made {
        Ok(fd) => Ok(UserNamespace { fd }),
        Err(error) => Err(Failure::Failed {
            reason: format!(
                "cannot make a user namespace with the uid map {:?} and the gid map {:?}: {error}",
                mappings.uids.trim_end(),
                mappings.gids.trim_end()
            ),
        }),
    }
}
