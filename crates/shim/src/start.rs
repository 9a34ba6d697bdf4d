//! `start`: the pod's shim answers, or a new one does.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use containerd_shim::cgroup::{add_task_to_cgroup, adjust_oom_score};
use containerd_shim::{Flags, StartOpts};
use medley_container::spec;
use medley_dispatch::sandbox_of;
use medley_sys::spawn::{self, Program};
use medley_sys::trace;

use crate::{bootstrap, engines, environment, sockets};

/// The file of a bundle in which containerd 1.x looks for the shim's address after a restart.
pub(crate) const ADDRESS_FILE: &str = "address";

/// Runs `start` and prints the address of the shim that serves this container.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let (opts, protocol) = bootstrap::read(flags)?;
    let cgroup = bootstrap::shim_cgroup(&opts)?;
    let bundle = bundle(flags)?;
    let annotations = match spec::annotations(&bundle) {
        Ok(annotations) => annotations,
        // A pod of the Sandbox API has no spec yet; for all others Create says what is missing.
        Err(spec::Error::Read { .. }) => std::collections::HashMap::new(),
        Err(error) => return Err(error.into()),
    };
    let address = opts.socket_address(sandbox_of(&opts.id, &annotations));
    let socket = sockets::path(&address);
    let listener = sockets::listen(&socket)?;
    let is_new = listener.is_some();
    let begun = listener.map_or(Ok(None), |listener| {
        spawn(&opts, &cgroup, &address, listener).map(Some)
    });
    let told = begun.and_then(|shim| {
        write_address(&bundle, &address)?;
        still_runs(shim)
    });
    if told.is_err() && is_new {
        // containerd hears of no shim, and has none cleaned up.
        std::fs::remove_file(&socket).ok();
    }
    told?;
    let mut stdout = std::io::stdout();
    stdout.write_all(&bootstrap::answer(protocol, &address)?)?;
    stdout.flush()?;
    Ok(())
}

/// The bundle that `start` or `delete` was called for: containerd makes it the working directory.
pub(crate) fn bundle(flags: &Flags) -> anyhow::Result<PathBuf> {
    let cwd = std::env::current_dir().context("the bundle, our working directory, is gone")?;
    Ok(cwd.join(&flags.bundle))
}

/// A shim that was spawned, by its pid: our child, which is not reaped.
struct Shim(i32);

/// Runs the shim. It need not be waited for: a client that connects before it accepts is queued.
fn spawn(
    opts: &StartOpts,
    cgroup: &str,
    address: &str,
    listener: UnixListener,
) -> anyhow::Result<Shim> {
    let binary = std::env::current_exe().context("cannot find our own binary")?;
    let null = spawn::null().context("cannot open /dev/null")?;
    let mut args: Vec<OsString> = ["containerd-shim-wasm-v1", "-namespace", &opts.namespace]
        .into_iter()
        .chain([
            "-id",
            &opts.id,
            "-address",
            &opts.address,
            "-socket",
            address,
        ])
        .map(OsString::from)
        .collect();
    args.extend(opts.debug.then(|| "-debug".into()));
    let program = Program {
        path: &binary,
        args,
        env: environment(opts),
        // containerd waits for the end of our output, so the shim must not hold it.
        fds: vec![listener.as_fd(), null.as_fd(), null.as_fd()],
        cwd: None,
        // A signal to containerd's process group is not meant for the pods.
        leads_group: true,
        keeps_ignored: true,
    };
    let spawning = trace::span("spawn the shim");
    let shim = program.spawn();
    let shim = Shim(shim.with_context(|| format!("cannot run {}", binary.display()))?);
    drop(spawning);
    let _placing = trace::span("place the shim");
    // The kernel is to kill a shim before containerd, and a container before its shim.
    let placed = u32::try_from(shim.0)
        .context("the shim has no pid")
        .and_then(|pid| {
            place(pid, cgroup)?;
            adjust_oom_score(pid).context("cannot set the shim's oom_score_adj")
        });
    if let Err(error) = placed {
        // It is reaped by who reaps us.
        spawn::kill(shim.0).ok();
        return Err(error);
    }
    Ok(shim)
}

/// All of a shim's environment.
fn environment(opts: &StartOpts) -> Vec<OsString> {
    let entry = |name: &str, value: &OsStr| {
        let mut entry = OsString::from(name);
        entry.push("=");
        entry.push(value);
        entry
    };
    let mut all = vec![
        entry("TTRPC_ADDRESS", opts.ttrpc_address.as_ref()),
        // What a thread frees of another's heap it keeps for itself, and each piece holds its page.
        "GLIBC_TUNABLES=glibc.malloc.tcache_count=0".into(),
    ];
    // By the name of a link that is for one engine, that one is the default, and not the node's.
    let alias = engines::called_by().map(|alias| alias.engine.descriptor().name);
    let variables = ["PATH", environment::CACHE, environment::COMPILERS].into_iter();
    for name in variables.chain(engines::variables()) {
        let value = std::env::var_os(name);
        let value = value.filter(|_| alias.is_none() || name != engines::DEFAULT);
        all.extend(value.map(|value| entry(name, &value)));
    }
    all.extend(alias.map(|name| entry(engines::DEFAULT, name.as_ref())));
    all.extend(trace::environment().map(|(name, value)| entry(name, &value)));
    all
}

/// Puts the shim `pid` into the cgroup of the runtime option `ShimCgroup`, if that is set.
fn place(pid: u32, cgroup: &str) -> anyhow::Result<()> {
    if cgroup.is_empty() {
        return Ok(());
    }
    add_task_to_cgroup(cgroup, pid).map_err(|error| {
        let error = error.to_string();
        // The library quotes Rust's own text of it.
        let cause = medley_types::os_error(&error).map_or(error, |error| error.to_string());
        anyhow!(
            "cannot put the shim into the cgroup {cgroup:?} that the runtime option ShimCgroup names; \
             it has to be there, on cgroup v1 in each hierarchy: {cause}"
        )
    })
}

/// Makes sure that a shim which was just run has not been killed already.
fn still_runs(shim: Option<Shim>) -> anyhow::Result<()> {
    let ended = match shim {
        Some(shim) => spawn::try_reap(shim.0).context("cannot look after the shim")?,
        None => None,
    };
    match ended {
        Some(status) => anyhow::bail!("the shim ended before it served: {status}"),
        None => Ok(()),
    }
}

/// Tells containerd, should it be restarted, where the shim is. Whole or not at all.
fn write_address(bundle: &Path, address: &str) -> anyhow::Result<()> {
    let (path, new) = (bundle.join(ADDRESS_FILE), bundle.join(".address"));
    std::fs::write(&new, address)
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
