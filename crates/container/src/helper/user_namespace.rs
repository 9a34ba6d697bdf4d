//! In the helper: a user namespace.

use std::os::fd::OwnedFd;

use medley_sys::clone::Alone;

use crate::protocol::{Maps, Reply};

/// Makes a user namespace with these maps, and answers with a handle on it.
pub(crate) fn run(maps: &Maps) -> (Reply, Option<OwnedFd>) {
    let made = Alone::check()
        .and_then(|alone| medley_sys::user_namespace::create(&alone, &maps.uids, &maps.gids));
    match made {
        Ok(namespace) => (Reply::UserNamespace, Some(namespace)),
        Err(error) => {
            let reason = format!(
                "cannot make a user namespace with the uid map {:?} and the gid map {:?}: {error}",
                maps.uids.trim_end(),
                maps.gids.trim_end()
            );
            (Reply::Failed { reason }, None)
        }
    }
}
