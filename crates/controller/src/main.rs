//! `medley-controller`: has Medley installed on the nodes of a cluster that are annotated for it.
//!
//! It takes the place of KWasm's operator, and listens to the same annotation. It has no rights on
//! the nodes themselves: it labels them (`reconcile`), and the installer's DaemonSet comes and goes
//! by the label. What to do and to say is decided from what was seen alone (`state`).

mod args;
mod lease;
mod names;
mod reconcile;
mod state;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, controller, watcher};
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use args::{Settings, Wish};
use lease::Election;
use names::{CONTROLLER, INSTALLER};
use reconcile::Context;

/// Exit status of a command line that can't be understood.
const MISUSED: u8 = 2;

/// Nodes that are worked on at a time.
const AT_A_TIME: u16 = 4;

fn main() -> ExitCode {
    let settings = match args::parse(std::env::args_os().skip(1)) {
        Ok(Wish::Run(settings)) => settings,
        Ok(Wish::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Wish::Version) => {
            println!("{CONTROLLER} {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{CONTROLLER}: {error}; see --help");
            return MISUSED.into();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(settings)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{CONTROLLER}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut stopped = stop()?;
    let client = Client::try_default()
        .await
        .context("there is no cluster around this, and none in KUBECONFIG")?;
    let namespace = settings
        .namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let identity = settings.identity.map_or_else(host, Ok)?;
    let election = Election::new(
        client.clone(),
        &namespace,
        CONTROLLER,
        identity.clone(),
        settings.lease,
    );
    println!("{CONTROLLER} {identity} waits for its lease in {namespace}");
    tokio::select! {
        () = election.acquire() => {}
        _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
    }
    println!("{CONTROLLER} {identity} has its lease");
    let context = Arc::new(Context::new(client.clone(), namespace.clone(), identity));
    tokio::select! {
        // Gone at once: another one may be at work already.
        lost = election.keep() => anyhow::bail!("{lost}"),
        () = control(client, &namespace, context, stopped) => {}
    }
    let released = election.release().await;
    released.context("cannot give the lease back; it runs out by itself")
}

/// Works until it is told to stop, and what is under way is done.
async fn control(
    client: Client,
    namespace: &str,
    context: Arc<Context>,
    mut stopped: watch::Receiver<bool>,
) {
    let nodes: Api<Node> = Api::all(client.clone());
    let installers: Api<Pod> = Api::namespaced(client, namespace);
    let of_installer = watcher::Config::default().labels(INSTALLER);
    Controller::new(nodes, watcher::Config::default())
        .with_config(controller::Config::default().concurrency(AT_A_TIME))
        .watches(installers, of_installer, |pod| {
            let node = pod.spec.and_then(|spec| spec.node_name);
            node.map(|name| ObjectRef::new(&name))
        })
        .graceful_shutdown_on(async move {
            stopped.wait_for(|stopped| *stopped).await.ok();
        })
        .run(reconcile::reconcile, reconcile::failed, context)
        .for_each(|done| async {
            match done {
                // These are told with the node's name, by `reconcile::failed`.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // A node that is gone.
                Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => eprintln!("{error}"),
            }
        })
        .await;
}

/// What becomes true at the first SIGTERM or SIGINT.
fn stop() -> anyhow::Result<watch::Receiver<bool>> {
    let cannot = "cannot listen to signals";
    let mut term = signal(SignalKind::terminate()).context(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(cannot)?;
    let (tell, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell.send_replace(true);
        // The channel's end would count as a stop too, but only until its last reader has gone.
        tell.closed().await;
    });
    Ok(stopped)
}

/// The host's name: in a Pod, the Pod's.
fn host() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the host's name is not known: pass --identity")?;
    Ok(name.trim().to_owned())
}
