//! Create, step by step.
//!
//! | step | file |
//! |---|---|
//! | the spec is read and checked | `spec::container_spec` |
//! | namespaces that others make are opened | `sandbox`, `user_namespace` |
//! | the rootfs is mounted, and removed again should a later step fail | `unfinished`, `rootfs` |
//! | meanwhile a helper is started ahead, and the cgroup made | `prestarted_helper`, `planned_cgroup` |
//! | what runs is decided | `medley_dispatch`, `image_layers` |
//! | the container is prepared for the helper | `prepare` |
//! | the helper makes it | `code_source`, `helper::create` |
//! | init is taken into care | here |

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use medley_dispatch::{Decision, Plan, Planned, Request as Wanted, Rootfs};
use medley_io::ContainerStdio;
use medley_sys::children;
use medley_sys::device_filter::Rule;
use medley_sys::pidfd::PidFd;
use medley_sys::trace;
use oci_spec::runtime::Spec;

use super::bundle_layout::STATE;
use super::code_source;
use super::compiler_limit::CompileContext;
use super::container::Container;
use super::context::ShimContext;
use super::error::Error;
use super::libcontainer_text::{self, Step};
use super::live_container::LiveContainer;
use super::planned_cgroup::PlannedCgroup;
use super::prepare::{Namespaces, Prepared, prepare};
use super::prestarted_helper::PrestartedHelper;
use super::sandbox::Sandbox;
use super::settings::CreateRequest;
use super::streams::{NamedStreams, Streams};
use super::unfinished::Unfinished;
use super::{application, device_rules, module, state_file, terminal};
use crate::protocol::{Code, Create, CreateFds, Guest, MadeProcess, Program};
use crate::shim::rootfs::{Mounted, cwd};
use crate::spec::{self, ContainerSpec, Features, asked, devices};
use medley_cgroup::{Cgroup, OomWatch};

/// Makes a container, in a sandbox if there is one; on failure nothing of it is left.
pub(super) fn create(
    context: &Arc<ShimContext>,
    sandbox: Option<&Sandbox>,
    request: CreateRequest,
) -> Result<Container, Error> {
    let _whole = trace::span("Create");
    let (status, writer) = std::io::pipe().map_err(Error::Spawn)?;
    let mut streams = NamedStreams {
        stdio: request.stdio.clone(),
        handles: None,
    };
    let maker = Maker {
        dir: request.bundle.join(STATE),
        streams: &mut streams,
        status: writer.as_fd(),
        alive: Some(context.alive()),
        passed: Vec::new(),
    };
    let (live, plan) = create_for(context, sandbox, request, maker)?;
    // Init holds the only writing end from here on: its exec, or its end, is the pipe's.
    drop(writer);
    let oom = OomWatch::new(&live.cgroup).unwrap_or_else(|error| {
        log::warn!("{}: {}", live.id, medley_types::sentence(&error));
        None
    });
    Ok(Container {
        live,
        plan,
        oom,
        status: Mutex::new(Some(File::from(OwnedFd::from(status)))),
        stdio: streams.handles.ok_or(Error::Ends)?,
    })
}

/// Who makes a container, and what it has of its maker.
pub(super) struct Maker<'a> {
    /// Our dir for the container.
    pub(super) dir: PathBuf,
    pub(super) streams: &'a mut dyn Streams,
    /// The writing end of what tells how its start went.
    pub(super) status: BorrowedFd<'a>,
    /// What ends with the maker, if an init that waits is to end with it.
    pub(super) alive: Option<BorrowedFd<'a>>,
    /// What its program has as descriptors 3 and up.
    pub(super) passed: Vec<BorrowedFd<'a>>,
}

/// Makes a container for `maker`; on failure nothing of it is left.
pub(super) fn create_for(
    context: &Arc<ShimContext>,
    sandbox: Option<&Sandbox>,
    request: CreateRequest,
    maker: Maker<'_>,
) -> Result<(LiveContainer, Plan), Error> {
    let step = trace::span("read the spec");
    let mut spec = ContainerSpec::load(&request.id, &request.bundle)?;
    maker.streams.adapt(&mut spec);
    drop(step);
    let step = trace::span("namespaces, cgroup, record");
    let mut namespaces = Namespaces::of(&context.helpers, sandbox, &mut spec)?;
    let cgroup = PlannedCgroup::of(&request.id, &request.settings, &mut spec)?;
    asked::warn(&request.id, &spec.oci, cgroup.systemd);
    if cgroup.systemd {
        medley_cgroup::prepare_for_move();
    }

    let dir = maker.dir.clone();
    let at = spec::rootfs(&request.bundle, &spec.oci);
    let to_mount = Mounted::planned(at.clone(), &request.rootfs);
    let made_by = (request.id.as_str(), context.helpers.shim());
    let mut unfinished = Unfinished::begin(&dir, made_by, &cgroup.cgroup, to_mount)?;
    let users = namespaces.users.own();
    drop(step);
    let step = trace::span("mount the rootfs");
    let devices = devices::rules(&spec.oci);
    let meanwhile = || {
        // First: the kernel loads it while the rest is done.
        let step = trace::span("start a helper");
        let helper = PrestartedHelper::start(
            context.images(),
            &request.id,
            &request.rootfs,
            &request.cancel,
        )?;
        drop(step);
        let _step = trace::span("make the cgroup");
        cgroup.make(&devices)?;
        Ok(helper)
    };
    let from = (request.bundle.as_path(), users);
    unfinished.has_cgroup(&cgroup.cgroup);
    let (rootfs, mut helper) = unfinished.mount(at, &request.rootfs, from, meanwhile)?;
    drop(step);

    let step = trace::span("decide");
    let planned = decide(context, &request, &spec.oci, &rootfs, &mut helper)?;
    log::info!("plan id={:?} {}", request.id, planned.plan.one_line());
    make_cwd(&spec.oci, &rootfs);
    let ends = maker.streams.open(spec::uid(&spec.oci))?;
    let terminal = terminal::request(&spec.oci, spec.oci.process().as_ref(), &request.stdio)?;
    let features = Features::of(&spec.oci);
    let is_wasm = matches!(planned.plan, Plan::Wasm(_));
    maker.streams.decided(&request, &spec, &cgroup, is_wasm)?;

    drop(step);
    let step = trace::span("prepare");
    if let Some(planned) = &planned.application {
        application::adapt(planned, &mut spec)?;
    }
    let prepared = prepare(
        &context.helpers,
        &request,
        spec,
        (&mut namespaces, &cgroup),
        (&planned.plan, terminal),
        &dir,
    )?;
    drop(step);
    let step = trace::span("a helper makes init");
    let made = make(
        (context, &mut helper, &maker),
        &request,
        prepared,
        (&namespaces, &cgroup),
        (&planned, &ends),
    )?;
    drop(step);
    let _step = trace::span("watch init, set limits");
    let connect = || match made.terminal {
        Some(master) => maker.streams.connect(master),
        None => Ok(()),
    };
    let (init, made_cgroup) = watch(made.pid, &dir, (&devices, &cgroup), connect)?;
    unfinished.keep();
    let live = LiveContainer {
        context: Arc::clone(context),
        dir,
        id: request.id,
        bundle: request.bundle,
        is_wasm,
        settings: request.settings,
        init,
        cgroup: made_cgroup,
        in_pod: cgroup.in_pod,
        rootfs,
        features,
    };
    Ok((live, planned.plan))
}

/// Decides what runs: once, on what the container will see. Nothing decides again.
fn decide(
    context: &ShimContext,
    request: &CreateRequest,
    spec: &Spec,
    rootfs: &Mounted,
    helper: &mut PrestartedHelper<'_>,
) -> Result<Planned, Error> {
    let view = Rootfs::open(rootfs.path())?;
    let (images, cache) = (context.images(), request.settings.cache.as_deref());
    // Taken from the helper in any case: it waits for its next request.
    let listed = helper.listing(cache);
    let options = context.options_for(&request.settings);
    match medley_dispatch::plan(&Wanted::from_spec(spec)?, &view, &options)? {
        Decision::Planned(planned) => Ok(planned),
        Decision::NeedsLayers(needed) => {
            let listed = listed.unwrap_or_else(|| images.of_container(&request.id));
            Ok(images.plan(cache, needed, listed)?)
        }
    }
}

/// Makes the working directory, if the image has none. It may lie on a mount: a process that can't
/// enter it in the end says why.
fn make_cwd(spec: &Spec, rootfs: &Mounted) {
    let Some(process) = spec.process() else {
        return;
    };
    if let Err(error) = cwd::make(spec::root_of(spec), rootfs.path(), process.cwd()) {
        log::debug!("cannot make {}: {error}", process.cwd().display());
    }
}

/// Has a helper make init.
fn make(
    (context, helper, maker): (&ShimContext, &mut PrestartedHelper<'_>, &Maker<'_>),
    request: &CreateRequest,
    mut prepared: Prepared,
    (namespaces, cgroup): (&Namespaces, &PlannedCgroup),
    (planned, ends): (&Planned, &ContainerStdio),
) -> Result<MadeProcess<OwnedFd>, Error> {
    let fds = CreateFds {
        stdio: [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()],
        status: maker.status,
        shim_alive: maker.alive,
        passed: maker.passed.clone(),
        namespaces: namespaces
            .shared
            .iter()
            .flatten()
            .map(AsFd::as_fd)
            .collect(),
    };
    let mut attempt = |prepared: &Prepared| {
        let mut ask = |program: Program<BorrowedFd<'_>>| {
            let made = helper.create(Create {
                container: Box::new(prepared.container.clone()),
                program,
                fds: fds.clone(),
            });
            made.map_err(|error| name(error, prepared))
        };
        let plan = match &planned.plan {
            Plan::Linux(plan) => {
                let path = plan.program.clone();
                return code_source::made(ask(Program::Linux { path })?);
            }
            Plan::Wasm(plan) => plan,
        };
        let compile = CompileContext {
            images: context.images(),
            cache: request.settings.cache.as_deref(),
            compilers: request.settings.compilers(),
            is_wanted: &|| !request.cancel.is_cancelled(),
            id: &request.id,
            in_pod: cgroup.in_pod.then_some(&cgroup.cgroup),
        };
        let ask_for_guest = |code: Code<BorrowedFd<'_>>| {
            ask(Program::Wasm(Guest {
                engine: plan.engine,
                entry: module::entry(plan),
                code,
                preopens: prepared.preopens.clone(),
                argv_start: plan.argv_start,
                stack: prepared.stack,
            }))
        };
        match (&planned.module, &planned.application) {
            (Some(module), _) => code_source::with_code(&compile, plan, module, ask_for_guest),
            (None, Some(planned)) => {
                let application = application::of(plan, planned);
                let parts = (&planned.components[..], planned.files.as_ref());
                code_source::with_application(&compile, &application, parts, ask_for_guest)
            }
            (None, None) => {
                let reason = format!("{} was not opened", plan.module.display());
                Err(Error::NoAnswer { reason })
            }
        }
    };
    match attempt(&prepared) {
        Err(error) if error.is_denied_cwd() && prepared.may_enter_cwd_late() => {
            prepared.enter_cwd_late(&planned.plan)?;
            attempt(&prepared)
        }
        made => made,
    }
}

/// Takes init, which has become our child, into our care; if that fails it is killed.
fn watch(
    pid: i32,
    dir: &Path,
    (devices, planned): (&[Rule], &PlannedCgroup),
    connect: impl FnOnce() -> Result<(), Error>,
) -> Result<(PidFd, Cgroup), Error> {
    let init = PidFd::open(pid).map_err(|source| {
        children::let_go(pid);
        Error::InitGone { pid, source }
    })?;
    let recorded = Cgroup::of_process(pid)
        .map_err(Error::from)
        .and_then(|cgroup| {
            state_file::add_init(dir, pid, &cgroup)?;
            if let Some(unified) = cgroup.v2_dir() {
                device_rules::restrict(unified, devices)?;
            }
            planned.limits.set(&cgroup)?;
            connect()?;
            Ok(cgroup)
        });
    match recorded {
        Ok(cgroup) => Ok((init, cgroup)),
        Err(error) => {
            // It is an orphan from here on: the next sweep reaps it.
            children::let_go(pid);
            if let Err(left) = init.signal(rustix::process::Signal::KILL.as_raw()) {
                log::warn!("init, process {pid}, is left behind: {left}");
            }
            Err(error)
        }
    }
}

/// Names what libcontainer could not do, where the spec alone tells it.
fn name(error: Error, prepared: &Prepared) -> Error {
    match error {
        Error::Libcontainer(fault) if fault.step == Step::WorkingDir => Error::Cwd {
            cwd: prepared.cwd.clone(),
            source: fault.into_cause(),
        },
        Error::Libcontainer(fault) => {
            Error::Libcontainer(libcontainer_text::named(fault, prepared.spec()))
        }
        error => error,
    }
}
