//! In the helper: the session keyring that a container's processes share with no other's. It is
//! called as runc calls it: `_ses.` and the container's id.

use std::ffi::CString;
use std::io;

use rustix::io::Errno;

use crate::confinement::{self, Confinement};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot join the session keyring {name} of the container; the runtime option NoNewKeyring \
         does without"
    )]
    Join { name: String, source: io::Error },
    #[error(transparent)]
    Label(#[from] confinement::Error),
}

/// Makes the keyring of a container, for this process and what it clones. `confinement` is what
/// the container's processes have.
pub(crate) fn make(id: &str, confinement: Option<&Confinement>) -> Result<(), Error> {
    enter(id, confinement, medley_sys::keyring::make_session)
}

/// Joins it.
pub(crate) fn join(id: &str, confinement: Option<&Confinement>) -> Result<(), Error> {
    enter(id, confinement, medley_sys::keyring::join_session)
}

fn enter(
    id: &str,
    confinement: Option<&Confinement>,
    enter: fn(&std::ffi::CStr) -> io::Result<()>,
) -> Result<(), Error> {
    let name = format!("_ses.{id}");
    let failed = |source| Error::Join {
        name: name.clone(),
        source,
    };
    let text = CString::new(name.as_str()).map_err(|error| failed(error.into()))?;
    if let Some(confinement) = confinement {
        confinement.label_keyrings(true)?;
    }
    let entered = enter(&text);
    if let Some(confinement) = confinement {
        confinement.label_keyrings(false)?;
    }
    match entered {
        // A kernel without keyrings has none to share.
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => Ok(()),
        entered => entered.map_err(failed),
    }
}
