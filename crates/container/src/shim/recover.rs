//! Removing a container whose shim has died.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::bundle_layout::STATE;
use super::error::Error;
use super::state_file::{self, Made, Planned};
use super::{resctrl, rootfs};
use medley_cgroup::Cgroup;
use medley_cgroup::compilers::Compilers;

/// Removes a container's directory.
pub(super) fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Dir {
            path: dir.to_owned(),
            source,
        }),
    }
}

/// Kills and removes the container of `bundle` and gives init's pid if it was known. What a shim
/// that is gone had under way is ended first, unless `shim_is_alive`. Does nothing to a bundle whose
/// container was never begun.
///
/// # Errors
/// [`Error`] with the first thing that could not be removed; the others are removed all the same.
pub fn remove_after_crash(bundle: &Path, shim_is_alive: bool) -> Result<Option<i32>, Error> {
    // containerd may call for a bundle twice at the same time.
    let _lock = match fs::File::open(bundle) {
        Ok(bundle) => rustix::fs::flock(&bundle, FlockOperation::LockExclusive).map(|()| bundle),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::Dir {
                path: bundle.to_owned(),
                source: error,
            });
        }
    };
    let dir = bundle.join(STATE);
    let (planned, made) = state_file::read_all(&dir);
    if let Some(planned) = planned.as_ref().filter(|_| !shim_is_alive) {
        planned.shim.end_helpers();
    }
    let pid = made.as_ref().map(|made| made.init.pid());
    if let Some(made) = &made {
        // Should it be in no cgroup of its own.
        made.init.kill();
    }
    let layers = rootfs::remove_after_crash(bundle);
    let cgroups = remove_cgroups(planned.as_ref(), made.as_ref());
    let unmounted = planned.map_or(Ok(()), |planned| planned.rootfs.unmount());
    resctrl::remove_group(&dir);
    let dir = remove(&dir);
    cgroups?;
    layers?;
    unmounted?;
    dir?;
    Ok(pid)
}

/// Removes the cgroups of a container and of its compilers, with what is in them.
pub(super) fn remove_cgroups(
    planned: Option<&Planned>,
    made: Option<&Made>,
) -> Result<(), medley_cgroup::Error> {
    let compilers = planned.map_or(Ok(()), remove_compilers);
    // That of init first: only its record says where systemd put it.
    let cgroups = made.map(|made| &made.cgroup).into_iter();
    let cgroups = cgroups.chain(planned.map(|planned| &planned.cgroup));
    let removed: Vec<_> = cgroups.map(Cgroup::remove).collect();
    removed.into_iter().collect::<Result<(), _>>()?;
    compilers
}

/// Removes what is left of the cgroups that a container's compilers were in.
fn remove_compilers(planned: &Planned) -> Result<(), medley_cgroup::Error> {
    let name = planned.compilers.as_deref();
    name.map_or(Ok(()), |name| {
        Compilers::of_pod(&planned.cgroup, name).remove()
    })
}
