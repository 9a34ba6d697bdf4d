//! An update of a container's cgroup, from the spec's resources to the files and to systemd.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::check::check;
use super::error::UpdateError;
use super::values::named;
use super::write::{Write, apply, restore};
use super::{enable, systemd, v1, v2};
use crate::cgroup::Cgroup;
use crate::mount::MOUNT;

impl Cgroup {
    /// Sets limits as `resources` has them, the OCI runtime spec's `linux.resources` as JSON.
    /// Devices and the rest that can't change while a container runs are passed over.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub fn update(&self, resources: &[u8]) -> Result<(), UpdateError> {
        let resources: LinuxResources =
            serde_json::from_slice(resources).map_err(UpdateError::NotResources)?;
        if !self.unified && resources.network().is_some() {
            log::warn!(
                "network is passed over: it is set when a container is made, and then stays"
            );
        }
        self.limit_beyond(&LinuxResources::default(), &resources)
    }

    /// As [`Self::update`], where systemd has been told of what `told` has.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub(crate) fn limit_beyond(
        &self,
        told: &LinuxResources,
        resources: &LinuxResources,
    ) -> Result<(), UpdateError> {
        check(resources)?;
        warn_of_kernel_memory(resources);
        let writes = self.plan(resources)?;
        let unit = self.systemd_unit();
        let told = match unit {
            Some(_) => self.plan(told)?,
            None => Vec::new(),
        };
        let done = apply(&writes)?;
        if let Some(unit) = unit
            && let Err(error) = systemd::tell(unit, &writes, &told)
        {
            restore(&done);
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn plan(&self, resources: &LinuxResources) -> Result<Vec<Write>, UpdateError> {
        if !self.unified {
            return v1::plan(&|controller| self.v1_dir(controller), resources);
        }
        let dir = self.dirs.first().map(|dir| dir.path.as_path());
        let dir = dir.unwrap_or(Path::new(MOUNT));
        enable::controllers(Path::new(MOUNT), dir, resources)?;
        v2::plan(dir, resources)
    }

    /// systemd's name for it, if systemd made it.
    fn systemd_unit(&self) -> Option<&str> {
        let path = &self.dirs.first().filter(|_| self.unified)?.path;
        let ends = |path: &Path, with| path.extension().is_some_and(|end| end == with);
        let is_units = ends(path, "scope") && ends(path.parent()?, "slice");
        path.file_name()?.to_str().filter(|_| is_units)
    }
}

/// Says that limits of the kernel's memory are passed over, as other runtimes do: the kernel takes none.
#[allow(deprecated, reason = "it is asked for so that it can be told")]
fn warn_of_kernel_memory(resources: &LinuxResources) {
    if let Some(memory) = resources.memory()
        && (named(memory.kernel()).is_some() || named(memory.kernel_tcp()).is_some())
    {
        log::warn!("memory.kernel and memory.kernelTCP are passed over: the kernel takes neither");
    }
}
