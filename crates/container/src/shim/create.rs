//! Create, step by step.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use medley_dispatch::{Decision, Plan, Planned, Request as Wanted, Rootfs};
use medley_io::ContainerEnds;
use medley_sys::children;
use medley_sys::device_filter::Rule;
use medley_sys::pidfd::PidFd;
use medley_types::{Cancel, RootfsMount};
use oci_spec::runtime::Spec;

use super::code_source::{self, Source};
use super::helper_client::{Answer, Helper};
use super::image_layers::{self, Listed};
use super::turn::{self, Customer};
use super::user_namespace::{self, UserNamespaces};
use super::{Created, Error, Host, Order, STATE, Settings, helper_client, recover, terminal};
use crate::confinement::{self, Labels};
use crate::protocol::{CreateOrder, Program, Request, TerminalOrder};
use crate::shim::mounts::{self, Resolved};
use crate::shim::rootfs::{Mounted, cwd};
use crate::spec::devices;
use crate::spec::propagation;
use crate::spec::{self, asked, environment};
use medley_cgroup::{Cgroup, DeferredLimits, OomWatch};

/// The namespaces of a container that somebody else makes.
struct Namespaces {
    /// Its pod's, held open, which its spec names then and is not the one in the bundle.
    shared: Option<Vec<OwnedFd>>,
    /// Those of users.
    users: UserNamespaces,
}

/// Who makes a container, with a helper that was started ahead: the kernel loads it, and
/// containerd answers it, while the rootfs is mounted and looked into.
struct Maker<'h> {
    host: &'h Host,
    /// Who will make init.
    helper: Cell<Option<Helper<'h>>>,
    cancel: Cancel,
    /// Whether it was asked first which image the container was made of.
    knows_image: bool,
}

impl<'h> Maker<'h> {
    fn start(host: &'h Host, order: &Order) -> Result<Self, Error> {
        let mut helper = Helper::ahead(host)?;
        let first = image_layers::request_first(host, &order.id);
        let first = first.filter(|_| has_empty_image(&order.rootfs));
        if let Some(request) = &first {
            helper.send(request, &[])?;
        }
        Ok(Self {
            host,
            helper: Cell::new(Some(helper)),
            cancel: order.cancel.clone(),
            knows_image: first.is_some(),
        })
    }

    /// The Wasm layers of its image, if that was asked for.
    fn listing(&self, cache: Option<&Path>) -> Option<Listed> {
        if !self.knows_image {
            return None;
        }
        let helper = self.helper.take()?;
        let listed = helper.first_answer().and_then(|(reply, helper)| {
            self.helper.set(Some(helper));
            image_layers::of_target(self.host, cache, reply)
        });
        Some(listed)
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Answer, Error> {
        helper_client::ask_ahead(self.host, self.helper.take(), &self.cancel, request, fds)
    }
}

/// As whom init runs, in what libcontainer does not see to.
#[derive(Clone)]
struct Whom {
    /// Supplementary groups, as ids on the node.
    groups: Vec<u32>,
    labels: Labels,
    /// See [`CreateOrder`].
    late_cwd: Option<PathBuf>,
}

/// Whether a rootfs comes from no layer that containerd could unpack, which is what it makes of an
/// artifact: a lone folder without files. The entrypoint is in a Wasm layer then, or nowhere.
fn has_empty_image(rootfs: &[RootfsMount]) -> bool {
    let [only] = rootfs else {
        return false;
    };
    only.kind == "bind" && std::fs::read_dir(&only.source).is_ok_and(|mut it| it.next().is_none())
}

/// Makes the container of `order`; on failure nothing of it is left.
pub(super) fn create(host: &Host, order: Order) -> Result<Created, Error> {
    let maker = Maker::start(host, &order)?;
    let read = spec::read(&order.bundle)?;
    spec::warn_of_unknown(&order.id, &read.unknown_capabilities);
    let is_amended = !read.unknown_capabilities.is_empty();
    let mut spec = read.value;
    asked::check(&spec)?;
    confinement::check_selinux(
        spec::labels(&spec).selinux.as_deref(),
        "process.selinuxLabel",
    )?;
    confinement::check_selinux(spec::mount_label(&spec), "linux.mountLabel")?;
    if let Some(process) = spec.process() {
        environment::check(process)?;
    }
    let shared = match host.pod() {
        Some(pod) => Some(pod.adapt(&mut spec)?),
        None => user_namespace::hold_namespaces(&mut spec)?,
    };
    let namespaces = Namespaces {
        users: UserNamespaces::of(host, &spec, shared.as_deref().unwrap_or_default())?,
        shared,
    };
    let place = Place::of(&order, &mut spec)?;
    asked::warn(&order.id, &spec, place.systemd);
    let at = spec::rootfs(&order.bundle, &spec);
    let folder = order.bundle.join(STATE);
    // From here on, and not before, what is there is the container's: see `recover::clean_up`.
    let planned = Mounted::planned(at.clone(), &order.rootfs);
    let begun = recover::begin(
        &folder,
        (&order.id, host.own),
        place.cgroup.clone(),
        planned,
    );
    let mounted = begun.and_then(|()| {
        let users = namespaces.users.own();
        Ok(Mounted::new(at, &order.rootfs, &order.bundle, users)?)
    });
    let made = mounted.and_then(|rootfs| {
        let made = create_in(
            &maker,
            order,
            (spec, is_amended),
            namespaces,
            (place, rootfs.clone()),
            &folder,
        );
        if made.is_err()
            && let Err(error) = rootfs.unmount()
        {
            log::warn!("{}", medley_types::sentence(&error));
        }
        made
    });
    if made.is_err()
        && let Err(error) = recover::remove(&folder)
    {
        log::warn!("{}", medley_types::sentence(&error));
    }
    made
}

/// Where a container is going to be counted and limited.
struct Place {
    /// Where no process is yet.
    cgroup: Cgroup,
    /// Whether it is one of a pod's.
    in_pod: bool,
    /// Whether systemd makes it.
    systemd: bool,
    /// Limits that are set once it is there.
    rest: DeferredLimits,
}

impl Place {
    /// That of `order`. What is left to set is taken out of the spec.
    fn of(order: &Order, spec: &mut Spec) -> Result<Self, Error> {
        let systemd = makes_scope(spec, &order.settings)?;
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().clone());
        let cgroup = Cgroup::planned(path.as_deref(), &order.id, systemd);
        cgroup.check_vacant()?;
        let rest = DeferredLimits::take(spec, systemd, &cgroup)?;
        Ok(Self {
            cgroup,
            in_pod: turn::is_in_pod(spec),
            systemd,
            rest,
        })
    }
}

/// Whether systemd makes the container's cgroup. A path in the form of a scope's name is a path like
/// any other to the cgroup driver cgroupfs, and where systemd does not run.
fn makes_scope(spec: &Spec, settings: &Settings) -> Result<bool, Error> {
    if !spec::names_scope(spec) || settings.systemd_cgroup == Some(false) {
        return Ok(false);
    }
    match (medley_cgroup::no_systemd(), settings.systemd_cgroup) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(reason), Some(_)) => {
            let linux = spec.linux().as_ref();
            let path = linux.and_then(|linux| linux.cgroups_path().clone());
            let path = path.unwrap_or_default();
            Err(Error::Systemd { path, reason })
        }
    }
}

fn create_in(
    maker: &Maker<'_>,
    order: Order,
    (spec, is_amended): (Spec, bool),
    namespaces: Namespaces,
    (place, rootfs): (Place, Mounted),
    folder: &Path,
) -> Result<Created, Error> {
    let host = maker.host;
    // Decided once, on what the container will see. Nobody decides again.
    let decision = {
        let view = Rootfs::open(rootfs.path())?;
        let cache = order.settings.cache.as_deref();
        let listed = maker.listing(cache);
        let options = host.options_for(&order.settings);
        match medley_dispatch::plan(&Wanted::from_spec(&spec)?, &view, &options)? {
            Decision::Planned(planned) => planned,
            Decision::NeedsLayers(needed) => {
                let listed = listed.unwrap_or_else(|| image_layers::of_container(host, &order.id));
                image_layers::plan(host, cache, needed, listed)?
            }
        }
    };
    log::info!("plan id={:?} {}", order.id, decision.plan.one_line());

    if let Some(process) = spec.process()
        && let Err(error) = cwd::make(spec::root_of(&spec), rootfs.path(), process.cwd())
    {
        // It may lie on a mount. Who can't enter it in the end says why.
        log::debug!("cannot make {}: {error}", process.cwd().display());
    }
    let (ends, keeper) = order.stdio.open(spec::uid(&spec))?;
    let terminal = terminal::order(&spec, spec.process().as_ref(), &order.stdio)?;
    let own_pid_namespace = spec::has_own_pid_namespace(&spec);
    let poststart_hooks = spec::has_poststart_hooks(&spec);
    let poststop_hooks = spec::has_poststop_hooks(&spec);
    let has_resctrl = spec::has_resctrl(&spec);

    let devices = devices::rules(&spec);
    let made = make(
        maker,
        &order,
        (spec, is_amended),
        namespaces,
        (&decision, &place),
        (&ends, terminal),
        folder,
    )
    .and_then(|(pid, status, master)| {
        let connect = || master.map_or(Ok(()), |master| keeper.connect(master));
        let watched = watch(pid, folder, (&devices, &place.rest), connect)?;
        Ok((watched, status))
    });
    let ((init, cgroup), status) = match made {
        Ok(made) => made,
        Err(error) => {
            // libcontainer has cleaned up behind itself, unless it died in the middle.
            if let Err(left) = place.cgroup.remove() {
                log::warn!("{}", medley_types::sentence(&left));
            }
            return Err(error);
        }
    };
    let oom = OomWatch::new(&cgroup).unwrap_or_else(|error| {
        log::warn!("{}: {}", order.id, medley_types::sentence(&error));
        None
    });
    Ok(Created {
        folder: folder.to_owned(),
        id: order.id,
        plan: decision.plan,
        settings: order.settings,
        init,
        cgroup,
        in_pod: place.in_pod,
        oom,
        rootfs,
        own_pid_namespace,
        poststart_hooks,
        poststop_hooks,
        has_resctrl,
        status: Mutex::new(Some(status)),
        stdio: keeper,
    })
}

/// Has a helper make init. Gives its pid, the pipe that tells how its start went, and the master of
/// its terminal.
fn make(
    maker: &Maker<'_>,
    order: &Order,
    (mut spec, is_amended): (Spec, bool),
    mut namespaces: Namespaces,
    (decision, place): (&Planned, &Place),
    (ends, terminal): (&ContainerEnds, Option<TerminalOrder>),
    folder: &Path,
) -> Result<(i32, File, Option<OwnedFd>), Error> {
    let host = maker.host;
    let (cwd, uid) = spec
        .process()
        .as_ref()
        .map(|process| (process.cwd().clone(), process.user().uid()))
        .unwrap_or_default();
    let linux = spec.linux().as_ref();
    let cgroups_path = linux.and_then(|linux| linux.cgroups_path().clone());
    let propagation = propagation::changes(&spec);
    let own_network = spec::has_own_network_namespace(&spec);
    // By the names that the spec has for them, whatever links they lie behind.
    let preopens = spec::preopens(&spec);
    let at = spec::rootfs(&order.bundle, &spec);
    let Resolved {
        changed: resolved,
        nodes,
        filled,
        dev,
    } = mounts::resolve(&mut spec, &at, folder)?;
    let cgroups = match decision.plan {
        Plan::Linux(_) => mounts::cgroups::adapt(&mut spec)?,
        // A guest has none.
        Plan::Wasm(_) => Vec::new(),
    };
    let (mapped, adapted) = namespaces.users.adapt(host, &mut spec, folder)?;
    let changed = adapted || is_amended || resolved || !cgroups.is_empty();
    let shared = namespaces.shared.as_deref();
    let (status, status_writer) = std::io::pipe().map_err(Error::Spawn)?;
    let stdio = [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
    let keyring = !order.settings.no_new_keyring;
    let inheritable = spec.process().as_ref().map_or(0, spec::beyond_permitted);
    let ask = |bundle: &Path, whom: Whom, program, code: Option<&Source>| {
        let Whom {
            groups,
            labels,
            late_cwd,
        } = whom;
        let request = Request::Create(Box::new(CreateOrder {
            id: order.id.clone(),
            bundle: bundle.to_owned(),
            state: folder.to_owned(),
            cgroups_path: cgroups_path.clone(),
            systemd: place.systemd,
            no_pivot_root: order.settings.no_pivot_root,
            debug: host.debug,
            groups,
            labels,
            inheritable,
            keyring,
            late_cwd,
            terminal,
            mapped: mapped.clone(),
            nodes: nodes.clone(),
            filled: filled.clone(),
            dev: dev.clone(),
            cgroups: cgroups.clone(),
            own_network,
            propagation: propagation.clone(),
            namespaces: shared.map_or(0, <[OwnedFd]>::len),
            program,
        }));
        let mut fds = Vec::from(stdio);
        fds.push(status_writer.as_fd());
        fds.push(host.life.0.as_fd());
        fds.extend(shared.iter().flat_map(|fds| fds.iter().map(AsFd::as_fd)));
        fds.extend(code.and_then(Source::fd));
        maker
            .ask(&request, &fds)
            .map_err(|error| name_cwd(error, &cwd))
    };

    let attempt = |spec: Spec, late_cwd: Option<PathBuf>| match (&decision.plan, &decision.module) {
        (Plan::Linux(plan), _) => {
            let program = Program::Linux {
                path: plan.program.clone(),
            };
            let changed =
                changed || late_cwd.is_some() || shared.is_some() || place.rest.has_changed_spec();
            let whom = Whom {
                groups: Vec::new(),
                labels: spec::labels(&spec).without_apparmor(),
                late_cwd,
            };
            let bundle = match spec::for_linux(&order.bundle, spec, changed) {
                Some(changed) => {
                    spec::save(folder, &changed)?;
                    folder
                }
                None => &order.bundle,
            };
            ask(bundle, whom, program, None)
        }
        (Plan::Wasm(plan), Some(module)) => {
            let whom = Whom {
                groups: spec::groups(&spec),
                labels: spec::labels(&spec),
                late_cwd,
            };
            let spec = spec::for_wasm(&order.bundle, spec);
            spec::save(folder, &spec)?;
            let ask = |source: &Source| {
                let program = Program::Wasm {
                    engine: plan.engine,
                    entry: code_source::entry(plan),
                    code: source.code(order.settings.cache.as_deref()),
                    preopens: preopens.clone(),
                    argv_start: plan.argv_start,
                    stack: code_source::stack(spec.process().as_ref(), &order.settings),
                };
                ask(folder, whom.clone(), program, Some(source))
            };
            let customer = Customer {
                host,
                cache: order.settings.cache.as_deref(),
                compilers: order.settings.compilers(),
                is_wanted: &|| !order.cancel.is_cancelled(),
                id: &order.id,
                in_pod: place.in_pod.then_some(&place.cgroup),
            };
            code_source::with_code(&customer, plan, module, ask)
        }
        (Plan::Wasm(plan), None) => {
            let reason = format!("{} was not opened", plan.module.display());
            Err(Error::NoAnswer { reason })
        }
    };
    // A user may enter what root may not: a volume of NFS or FUSE.
    let again = (cwd != Path::new("/") && uid != 0).then(|| spec.clone());
    let answer = match (attempt(spec, None), again) {
        (Err(error), Some(mut spec)) if error.is_denied_cwd() => {
            spec::leave_cwd_to_init(&mut spec);
            attempt(spec, Some(cwd.clone()))?
        }
        (answer, _) => answer?,
    };
    // Init holds the only writing end from here on: its exec, or its end, is the pipe's.
    drop(status_writer);
    let (pid, master) = helper_client::made(answer)?;
    Ok((pid, File::from(OwnedFd::from(status)), master))
}

/// Takes init, which has become our child, into our care; if that fails it is killed.
fn watch(
    pid: i32,
    folder: &Path,
    (devices, rest): (&[Rule], &DeferredLimits),
    connect: impl FnOnce() -> Result<(), medley_io::Error>,
) -> Result<(PidFd, Cgroup), Error> {
    let init = PidFd::open(pid).map_err(|source| {
        children::let_go(pid);
        Error::InitGone { pid, source }
    })?;
    let recorded = Cgroup::of_process(pid)
        .map_err(Error::from)
        .and_then(|cgroup| {
            recover::add_init(folder, pid, &cgroup)?;
            if let Some(folder) = cgroup.v2_dir() {
                devices::restrict(folder, devices)?;
            }
            rest.set(&cgroup)?;
            connect()?;
            Ok(cgroup)
        });
    match recorded {
        Ok(cgroup) => Ok((init, cgroup)),
        Err(error) => {
            // Nobody waits for it any more: the next sweep reaps it.
            children::let_go(pid);
            if let Err(left) = init.signal(rustix::process::Signal::KILL.as_raw()) {
                log::warn!("init, process {pid}, is left behind: {left}");
            }
            Err(error)
        }
    }
}

/// libcontainer does not say which directory it could not enter.
fn name_cwd(error: Error, cwd: &Path) -> Error {
    match error {
        Error::Refused { reason } if reason.contains("failed to chdir") => Error::Cwd {
            cwd: PathBuf::from(cwd),
            reason,
        },
        error => error,
    }
}
