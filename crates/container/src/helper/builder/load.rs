//! The spec of a container that is to be made.

use std::path::Path;

use libcontainer::error::{ErrInvalidSpec, LibcontainerError};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::validator::Validator;
use libcontainer::{apparmor, utils};
use medley_sys::in_root::real_path;
use oci_spec::runtime::Spec;

use crate::spec::{has_option, is_bind};

/// Reads the spec, and refuses what libcontainer refuses.
pub(super) fn spec(bundle: &Path, has_console: bool) -> Result<Spec, LibcontainerError> {
    let mut spec = Spec::load(bundle.join("config.json"))?;
    if !spec.version().starts_with("1.") {
        return Err(ErrInvalidSpec::UnsupportedVersion.into());
    }
    Validator::validate_spec(&spec)?;
    let process = spec.process().as_ref();
    if process.is_some_and(|process| process.apparmor_profile().is_some())
        && !apparmor::is_enabled().map_err(LibcontainerError::OtherIO)?
    {
        return Err(ErrInvalidSpec::AppArmorNotEnabled.into());
    }
    let is_terminal = process.and_then(oci_spec::runtime::Process::terminal) == Some(true);
    match (is_terminal, has_console) {
        (true, false) => return Err(ErrInvalidSpec::ConsoleSocketRequired.into()),
        (false, true) => return Err(ErrInvalidSpec::InvalidConsoleSocket.into()),
        _ => {}
    }
    if let Some(mounts) = spec.mounts() {
        utils::validate_mount_options(mounts)?;
        for mount in mounts {
            let mapped = mount.uid_mappings().is_some()
                || mount.gid_mappings().is_some()
                || has_option(mount, &["idmap", "ridmap"]);
            // Those that can be were mapped before.
            if mapped {
                return Err(match is_bind(mount) {
                    true => ErrInvalidSpec::MountIdmapUnsupported,
                    false => ErrInvalidSpec::MountIdmapNonBind,
                }
                .into());
            }
        }
    }
    let syscall = create_syscall();
    if !rustix::process::geteuid().is_root() {
        // It refuses nothing of root's.
        utils::validate_spec_for_new_user_ns(&spec, &*syscall)?;
    }
    utils::validate_spec_for_net_devices(&spec, &*syscall)
        .map_err(LibcontainerError::NetDevicesError)?;
    if let Some(root) = spec.root_mut() {
        let path = real_path(&bundle.join(root.path()));
        root.set_path(path.map_err(LibcontainerError::OtherIO)?);
    }
    Ok(spec)
}
