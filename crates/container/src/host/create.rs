//! Create, step by step.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use medley_dispatch::{Decision, Plan, Request as Wanted, Rootfs, WasmPlan};
use medley_engine::{Entry, Form};
use medley_sys::pidfd::PidFd;
use oci_spec::runtime::Spec;

use super::{Created, Error, Host, Order, STATE, process, record};
use crate::cgroup::Cgroup;
use crate::protocol::{CompileOrder, CreateOrder, Program, Reply, Request};
use crate::rootfs::Mounted;
use crate::spec;

/// Makes the container of `order`; on failure nothing of it is left.
pub(super) fn create(host: &Host, order: Order) -> Result<Created, Error> {
    let spec = spec::load(&order.bundle)?;
    let rootfs = Mounted::new(spec::rootfs(&order.bundle, &spec), &order.rootfs)?;
    let folder = order.bundle.join(STATE);
    let made = create_in(host, order, spec, rootfs.clone(), &folder);
    if made.is_err() {
        if let Err(error) = record::remove(&folder) {
            log::warn!("{}", medley_task::error::sentence(&error));
        }
        if let Err(error) = rootfs.unmount() {
            log::warn!("{}", medley_task::error::sentence(&error));
        }
    }
    made
}

fn create_in(
    host: &Host,
    order: Order,
    spec: Spec,
    rootfs: Mounted,
    folder: &Path,
) -> Result<Created, Error> {
    // Decided once, on what the container will see. Nobody decides again.
    let Decision { plan, module } = {
        let view = Rootfs::open(rootfs.path())?;
        medley_dispatch::plan(&Wanted::from_spec(&spec)?, &view, &host.options)?
    };
    log::info!("plan id={:?} {}", order.id, plan.one_line());

    let cgroups_path = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().clone());
    let cgroups_path = cgroups_path.unwrap_or_default();
    Cgroup::at(&cgroups_path).check_vacant()?;
    // From here on, and not before, what is in the cgroup is the container's: see `clean_up`.
    std::fs::create_dir_all(folder).map_err(|source| Error::Folder {
        path: folder.to_owned(),
        source,
    })?;
    let native = match (&plan, module) {
        (Plan::Wasm(wasm), Some(module)) => Some(compile(host, wasm, &module)?),
        _ => None,
    };
    let groups = match &plan {
        Plan::Wasm(_) => spec::groups(&spec),
        Plan::Linux(_) => Vec::new(),
    };
    let cwd = spec
        .process()
        .as_ref()
        .map(|process| process.cwd().clone())
        .unwrap_or_default();
    let systemd = spec::wants_systemd(&spec);
    let own_pid_namespace = spec::has_own_pid_namespace(&spec);
    let poststart_hooks = spec::has_poststart_hooks(&spec);
    let poststop_hooks = spec::has_poststop_hooks(&spec);
    let (ends, keeper) = order.stdio.open(spec::uid(&spec))?;
    let (bundle, program) = program(&plan, native.as_ref(), &order.bundle, spec, folder)?;
    let (status, status_writer) = std::io::pipe().map_err(Error::Spawn)?;

    let request = Request::Create(CreateOrder {
        id: order.id.clone(),
        bundle,
        state: folder.to_owned(),
        systemd,
        debug: host.debug,
        groups,
        program,
    });
    let mut fds = vec![
        ends.stdin.as_fd(),
        ends.stdout.as_fd(),
        ends.stderr.as_fd(),
        status_writer.as_fd(),
    ];
    fds.extend(native.as_ref().map(|native| native.code.as_fd()));
    let answer = process::ask(host, &request, &fds);
    // Init holds the only writing end now: its exec, or its end, is the pipe's.
    drop(status_writer);
    let pid = match answer {
        Ok((Reply::Created { pid }, _)) => pid,
        Ok(_) => {
            return Err(Error::NoAnswer {
                reason: "it answered something else".into(),
            });
        }
        Err(error) => {
            // libcontainer has cleaned up behind itself, unless it died in the middle.
            if let Err(left) = Cgroup::at(&cgroups_path).remove() {
                log::warn!("{}", medley_task::error::sentence(&left));
            }
            return Err(name_cwd(error, cwd));
        }
    };
    host.track(pid);
    let init = PidFd::open(pid).map_err(|source| Error::InitGone { pid, source })?;
    let cgroup = Cgroup::of_process(pid)?;
    record::write(folder, pid, &cgroup, rootfs.path())?;
    Ok(Created {
        state: folder.join(&order.id),
        id: order.id,
        plan,
        init,
        cgroup,
        rootfs,
        own_pid_namespace,
        poststart_hooks,
        poststop_hooks,
        status: Mutex::new(Some(File::from(OwnedFd::from(status)))),
        stdio: Mutex::new(Some(keeper)),
    })
}

/// libcontainer does not say which directory it could not enter.
fn name_cwd(error: Error, cwd: PathBuf) -> Error {
    match error {
        Error::Refused { reason } if reason.contains("failed to chdir") => {
            Error::Cwd { cwd, reason }
        }
        error => error,
    }
}

/// A module's native code.
struct Native {
    code: OwnedFd,
    form: Form,
}

fn compile(host: &Host, plan: &WasmPlan, module: &File) -> Result<Native, Error> {
    let request = Request::Compile(CompileOrder {
        engine: plan.engine,
        entry: entry(plan),
    });
    let (reply, fds) = process::ask(host, &request, &[module.as_fd()])?;
    match (reply, fds.into_iter().next()) {
        (Reply::Compiled { form }, Some(code)) => Ok(Native { code, form }),
        _ => Err(Error::NoAnswer {
            reason: "the compiler gave no native code".into(),
        }),
    }
}

fn entry(plan: &WasmPlan) -> Entry {
    Entry {
        path: plan.module.clone(),
        export: plan.export.clone(),
    }
}

/// What init does, and the folder of the spec that libcontainer is to follow.
fn program(
    plan: &Plan,
    native: Option<&Native>,
    bundle: &Path,
    spec: Spec,
    folder: &Path,
) -> Result<(PathBuf, Program), Error> {
    match (plan, native) {
        (Plan::Wasm(plan), Some(native)) => {
            let spec = spec::for_wasm(bundle, spec);
            spec::save(folder, &spec)?;
            let program = Program::Wasm {
                engine: plan.engine,
                entry: entry(plan),
                form: native.form,
                preopens: spec::preopens(&spec),
                argv_start: plan.argv_start,
            };
            Ok((folder.to_owned(), program))
        }
        (Plan::Linux(plan), _) => Ok((
            bundle.to_owned(),
            Program::Linux {
                path: plan.program.clone(),
            },
        )),
        (Plan::Wasm(plan), None) => Err(Error::NoAnswer {
            reason: format!("there is no native code of {}", plan.module.display()),
        }),
    }
}
