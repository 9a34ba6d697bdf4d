//! A Spin application, as a helper and its process are to have it.

use std::path::PathBuf;

use medley_dispatch::{Application as Planned, WasmPlan};
use medley_engine::Application;
use medley_spin::files;
use oci_spec::runtime::MountBuilder;

use super::error::Error;
use crate::spec::ContainerSpec;

/// Where copies of files lie in the container.
const COPIES: &str = "/.spin-files";

/// What a guest's process is to know of an application.
pub(super) fn of(plan: &WasmPlan, planned: &Planned) -> Application {
    Application {
        manifest: plan.module.clone(),
        app: planned.app.clone(),
        copies: need_copies(planned).then(|| PathBuf::from(COPIES)),
    }
}

/// Gives the container the memory that copies of files are kept in, which is counted to it.
pub(super) fn adapt(planned: &Planned, spec: &mut ContainerSpec) -> Result<(), Error> {
    if !need_copies(planned) {
        return Ok(());
    }
    let options = ["nosuid", "nodev", "noexec", "mode=1777"];
    let mount = MountBuilder::default()
        .destination(COPIES)
        .typ("tmpfs")
        .source("tmpfs")
        .options(options.map(str::to_owned))
        .build()
        .map_err(|error| Error::NoAnswer {
            reason: format!("{COPIES} cannot be described: {error}"),
        })?;
    let mut mounts = spec.oci.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.oci.set_mounts(Some(mounts));
    spec.is_changed = true;
    Ok(())
}

/// Whether files are put into the container's memory: copies, or those of an artifact.
fn need_copies(planned: &Planned) -> bool {
    planned.files.is_some() || files::need_copies(&planned.app)
}
