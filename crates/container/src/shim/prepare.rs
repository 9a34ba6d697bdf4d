//! A container, prepared for the helper that makes it: the spec that libcontainer will read is written,
//! and what libcontainer cannot do is listed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use medley_dispatch::Plan;
use medley_engine::Preopen;
use oci_spec::runtime::Spec;

use super::code_source;
use super::error::Error;
use super::helper_client::Helpers;
use super::planned_cgroup::PlannedCgroup;
use super::sandbox::Sandbox;
use super::settings::CreateRequest;
use super::user_namespace::{self, UserNamespaces};
use crate::protocol::{PreparedContainer, TerminalRequest};
use crate::shim::mounts::{self, Resolved};
use crate::spec::{self, ContainerSpec, mount_flags, propagation};

/// The namespaces of a container that others make.
pub(super) struct Namespaces {
    /// Those that its spec names by the numbers that they have in the helper.
    pub(super) shared: Option<Vec<OwnedFd>>,
    /// Those of users.
    pub(super) users: UserNamespaces,
}

impl Namespaces {
    /// Opens or makes those of a container: its sandbox's, or those that its spec names.
    pub(super) fn of(
        helpers: &Helpers,
        sandbox: Option<&Sandbox>,
        spec: &mut ContainerSpec,
    ) -> Result<Self, Error> {
        let shared = match sandbox {
            Some(sandbox) => Some(sandbox.adapt(&mut spec.oci)?),
            None => user_namespace::hold_namespaces(&mut spec.oci)?,
        };
        spec.is_changed |= shared.is_some();
        let fds = shared.as_deref().unwrap_or_default();
        Ok(Self {
            users: UserNamespaces::of(helpers, &spec.oci, fds)?,
            shared,
        })
    }
}

/// A prepared container, and what goes into its program.
pub(super) struct Prepared {
    pub(super) container: PreparedContainer,
    /// What a guest may open, by the names that the spec has, even if these lie behind links.
    pub(super) preopens: Vec<Preopen>,
    /// Bytes of stack of a guest.
    pub(super) stack: Option<u64>,
    /// The working directory of its process.
    pub(super) cwd: PathBuf,
    /// The user of its process, as the container has it.
    user: u32,
    spec: ContainerSpec,
    bundle: PathBuf,
}

/// Prepares the container of `request` that does what `plan` says. `dir` is our directory in its bundle.
pub(super) fn prepare(
    helpers: &Helpers,
    request: &CreateRequest,
    mut spec: ContainerSpec,
    (namespaces, cgroup): (&mut Namespaces, &PlannedCgroup),
    (plan, terminal): (&Plan, Option<TerminalRequest>),
    dir: &Path,
) -> Result<Prepared, Error> {
    let (cwd, user) = spec.cwd_and_user();
    let mut propagation = propagation::changes(&spec.oci);
    let mut mount_flags = mount_flags::changes(&spec.oci);
    if matches!(plan, Plan::Wasm(_)) {
        let mounts = spec.oci.mounts().as_deref().unwrap_or_default();
        let has = |path: &Path| {
            let mut there = mounts.iter().filter(|mount| mount.destination() == path);
            there.any(spec::is_for_wasm)
        };
        propagation.retain(|change| has(&change.path));
        mount_flags.retain(|change| has(&change.path));
    }
    let own_network = spec::has_own_network_namespace(&spec.oci);
    let preopens = spec::preopens(&spec.oci);
    let rootfs = spec::rootfs(&request.bundle, &spec.oci);
    let Resolved {
        changed: resolved,
        nodes,
        filled,
        dev,
    } = mounts::resolve(&mut spec.oci, &rootfs, dir)?;
    let cgroups = match plan {
        Plan::Linux(_) => mounts::cgroups::adapt(&mut spec.oci)?,
        // A guest has none.
        Plan::Wasm(_) => Vec::new(),
    };
    let (mapped, adapted) = namespaces.users.adapt(helpers, &mut spec.oci, dir)?;
    spec.is_changed |= resolved || adapted || !cgroups.is_empty();
    let process = spec.oci.process().as_ref();
    let (groups, labels) = match plan {
        Plan::Linux(_) => (Vec::new(), spec::labels(&spec.oci).without_apparmor()),
        Plan::Wasm(_) => (spec::groups(&spec.oci), spec::labels(&spec.oci)),
    };
    let container = PreparedContainer {
        id: request.id.clone(),
        bundle: save(&spec, plan, &request.bundle, dir)?,
        callers_bundle: request.bundle.clone(),
        state: dir.to_owned(),
        cgroup: (!cgroup.systemd).then(|| cgroup.cgroup.clone()),
        no_pivot_root: request.settings.no_pivot_root,
        debug: helpers.debug(),
        groups,
        labels,
        inheritable: process.map_or(0, spec::beyond_permitted),
        keyring: !request.settings.no_new_keyring,
        late_cwd: None,
        terminal,
        mapped,
        nodes,
        filled,
        dev,
        cgroups,
        own_network,
        mount_flags,
        propagation,
    };
    Ok(Prepared {
        container,
        preopens,
        stack: code_source::stack(process, &request.settings),
        cwd,
        user,
        bundle: request.bundle.clone(),
        spec,
    })
}

impl Prepared {
    pub(super) fn spec(&self) -> &Spec {
        &self.spec.oci
    }

    /// Whether a user may enter the working directory whom root is not: of a volume of NFS or FUSE.
    pub(super) fn may_enter_cwd_late(&self) -> bool {
        self.cwd != Path::new("/") && self.user != 0
    }

    /// Leaves it to init, as the container's user, to enter the working directory.
    pub(super) fn enter_cwd_late(&mut self, plan: &Plan) -> Result<(), Error> {
        spec::leave_cwd_to_init(&mut self.spec.oci);
        self.spec.is_changed = true;
        let dir = &self.container.state;
        self.container.bundle = save(&self.spec, plan, &self.bundle, dir)?;
        self.container.late_cwd = Some(self.cwd.clone());
        Ok(())
    }
}

/// Writes what libcontainer is to read, and gives the directory of it.
fn save(
    spec: &ContainerSpec,
    plan: &Plan,
    bundle: &Path,
    dir: &Path,
) -> Result<PathBuf, spec::Error> {
    match plan {
        Plan::Linux(_) => spec.save_for_linux(bundle, dir),
        Plan::Wasm(_) => spec.save_for_wasm(bundle, dir),
    }
}
