//! The shim itself: serves the Task API for one pod until its last container is gone.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use containerd_shim::Flags;
use containerd_shim_protos::ttrpc::r#async::Server;
use medley_container::shim::ContainerManager;
use medley_image::store::Address;
use medley_runtime::{Defaults, LocalRuntime};
use medley_sys::trace;
use medley_task::events::Events;
use medley_task::{Service, publish, wire};
use tokio::signal::unix::{SignalKind, signal};

use crate::connections::{self, Connections};
use crate::{engines, environment, logging, sockets};

/// How long the last events may take to reach containerd when the shim ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a shim without tasks looks whether its bundle is still there.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How long a thread that waited for a helper stays for the next one. Short: most pods are
/// quiet once they run, and a thread holds memory.
const IDLE_THREAD: Duration = Duration::from_millis(500);

/// How long no child may have ended until the shim is at rest: longer than the steps of one call
/// are apart, shorter than [`IDLE_THREAD`], so that a shim of one thread is a small one.
const REST: Duration = Duration::from_millis(250);

/// Stack of such a thread, in bytes. They parse specs and talk to helpers; nothing recurses.
const THREAD_STACK: usize = 512 << 10;

/// Serves until containerd says Shutdown. The socket is our stdin, bound by `start`.
pub(crate) fn run(flags: &Flags, trace: std::io::Result<()>) -> anyhow::Result<()> {
    // Without a log the shim works all the same.
    if let Err(error) = logging::start(Path::new("log"), flags.debug) {
        eprintln!("containerd-shim-wasm-v1: {error:#}");
    }
    if let Err(error) = trace {
        log::warn!("no trace is written to {}: {error}", trace::VARIABLE);
    }
    std::panic::set_hook(Box::new(|panic| log::error!("the shim panicked: {panic}")));
    let result = serve(flags);
    if let Err(error) = &result {
        log::error!("the shim ends: {error:#}");
    }
    result
}

fn serve(flags: &Flags) -> anyhow::Result<()> {
    let beginning = trace::span("begin to serve");
    medley_sys::memory::keep_heaps_short();
    let listener: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    let ttrpc_address = std::env::var("TTRPC_ADDRESS").context("TTRPC_ADDRESS is not set")?;
    let bundle = std::env::current_dir().context("the bundle, our working directory, is gone")?;
    // The bundle may be deleted before the pod's other containers are.
    std::env::set_current_dir("/")?;
    medley_sys::child::become_subreaper().context("cannot become a subreaper")?;
    let containerd = Address {
        socket: flags.address.clone().into(),
        namespace: flags.namespace.clone(),
    };
    let (options, binaries) = (engines::options(), engines::beside());
    let manager = ContainerManager::new(options, binaries, containerd, flags.debug)
        .context("cannot open our own binary")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .thread_stack_size(THREAD_STACK)
        .build()?;
    runtime.block_on(async {
        let (events, queue) = Events::channel();
        let publisher = tokio::spawn(publish::run(queue, ttrpc_address, flags.namespace.clone()));
        let service = Service::new(
            Arc::new(LocalRuntime::new(
                Arc::new(manager),
                &flags.namespace,
                Defaults {
                    cache: environment::cache(),
                    compilers: environment::compilers(),
                },
            )),
            events.clone(),
        );
        tokio::spawn(reap_orphans());
        tokio::spawn(ignore_stops());

        let connections = Connections::new();
        let listener =
            nonblocking(listener).context("cannot listen on the socket that start bound")?;
        let mut server = Server::new()
            .add_listener(connections.listen(listener))
            .register_service(wire::services(&service));
        server.start().await.context("cannot serve")?;
        log::debug!("serving {}", flags.socket);
        drop(beginning);
        tokio::select! {
            () = service.ended() => {}
            () = abandoned(&service, &bundle) => {
                log::warn!("the bundle was deleted before a task was made; the shim ends");
            }
        }

        let _ending = trace::span("end");
        // First of all: a start from here on needs another shim.
        std::fs::remove_file(sockets::path(&flags.socket)).ok();
        service.abandon_sandbox().await;
        events.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, publisher)
            .await
            .is_err()
        {
            log::warn!("the last events did not reach containerd within {DRAIN_TIMEOUT:?}");
        }
        medley_runtime::all_copied().await;
        // Without a sandbox it is a task's Shutdown: containerd does not mind if that has no reply.
        if service.is_for_sandbox() {
            connections.closed_by_peers().await;
        }
        connections::close(server)
            .await
            .context("cannot end the server")
    })
}

/// A listener for the runtime around us.
fn nonblocking(listener: OwnedFd) -> std::io::Result<tokio::net::UnixListener> {
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// Waits until there is neither a task nor the bundle that the shim was started for: containerd
/// has given up on the start and will not call again.
async fn abandoned(service: &Service, bundle: &Path) {
    loop {
        if !service.is_idle() {
            service.idle().await;
        } else if bundle.exists() {
            tokio::time::sleep(IDLE_CHECK).await;
        } else {
            return;
        }
    }
}

/// Reaps what containers leave behind, as often as a child ends; and once none has for a moment,
/// gives back what the work around them has left in the heaps, and mapped of the binary. Each exec is
/// done by a thread that may have a heap of its own, and what stays there adds up to more than the
/// shim itself.
async fn reap_orphans() {
    let mut children = match signal(SignalKind::child()) {
        Ok(children) => children,
        Err(error) => {
            log::warn!("orphans will not be reaped: {error}");
            return;
        }
    };
    let mut is_trimmed = true;
    loop {
        tokio::select! {
            ended = children.recv() => {
                if ended.is_none() {
                    return;
                }
                medley_container::shim::reap_orphans();
                is_trimmed = false;
            }
            () = tokio::time::sleep(REST), if !is_trimmed => {
                medley_sys::memory::trim_heap();
                medley_sys::memory::unmap_code();
                is_trimmed = true;
            }
        }
    }
}

/// A shim ends with its containers, not when containerd is stopped.
async fn ignore_stops() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM is ignored: the shim ends with its containers"),
            _ = interrupt.recv() => log::info!("SIGINT is ignored: the shim ends with its containers"),
        }
    }
}
