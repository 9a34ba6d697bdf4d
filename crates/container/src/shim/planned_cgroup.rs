//! The cgroup that a container is going to be counted and limited in.

use std::path::Path;

use medley_cgroup::{Cgroup, DeferredLimits};
use medley_sys::device_filter::Rule;

use super::compiler_limit;
use super::error::Error;
use super::settings::Settings;
use crate::spec::{self, ContainerSpec};

/// A cgroup that is not there yet, or has no process.
pub(super) struct PlannedCgroup {
    pub(super) cgroup: Cgroup,
    /// Whether it is one of a pod's.
    pub(super) in_pod: bool,
    /// Whether systemd makes it.
    pub(super) systemd: bool,
    /// Limits that are set once it is there.
    pub(super) limits: DeferredLimits,
}

impl PlannedCgroup {
    /// That of the container `id`. The limits that are left to set are taken out of its spec.
    pub(super) fn of(
        id: &str,
        settings: &Settings,
        spec: &mut ContainerSpec,
    ) -> Result<Self, Error> {
        let systemd = is_made_by_systemd(spec, settings)?;
        let cgroup = Cgroup::planned(spec::cgroups_path(&spec.oci), id, systemd);
        cgroup.check_vacant()?;
        let limits = DeferredLimits::take(&mut spec.oci, systemd)?;
        spec.is_changed |= limits.has_changed_spec();
        Ok(Self {
            cgroup,
            in_pod: compiler_limit::is_in_pod(&spec.oci),
            systemd,
            limits,
        })
    }

    /// Makes it, with the rules for devices, unless systemd does.
    pub(super) fn make(&self, devices: &[Rule]) -> Result<(), Error> {
        if self.systemd {
            return Ok(());
        }
        Ok(self.limits.make(&self.cgroup, devices)?)
    }
}

/// Whether systemd makes the container's cgroup. A path in the form of a scope's name is a path like
/// any other to the cgroup driver cgroupfs, and where systemd does not run.
fn is_made_by_systemd(spec: &ContainerSpec, settings: &Settings) -> Result<bool, Error> {
    if !spec::names_scope(&spec.oci) || settings.systemd_cgroup == Some(false) {
        return Ok(false);
    }
    match (medley_cgroup::no_systemd(), settings.systemd_cgroup) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(reason), Some(_)) => {
            let path = spec::cgroups_path(&spec.oci).unwrap_or(Path::new(""));
            let path = path.to_owned();
            Err(Error::Systemd { path, reason })
        }
    }
}
