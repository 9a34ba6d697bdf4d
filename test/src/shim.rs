//! The shim, driven without containerd: bundles made by hand, its ttrpc socket, and a
//! server for the events that it publishes.

use crate::events::{Event, decode};
use crate::images::Image;
use crate::leftovers::{Leftovers, unique};
use crate::runtime::{Runtime, shim_path};
use crate::stdio::{Stdin, Stdio};
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::shim_async::{Events, create_events};
use containerd_shim_protos::ttrpc;
use std::path::{Path, PathBuf};
use std::process::Stdio as ProcessStdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use ttrpc::asynchronous::{Client, Server, TtrpcContext};

mod calls;

/// The name of the task service before containerd 2.0.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// The name of the task service since containerd 2.0.
pub const TASK_V3: &str = "containerd.task.v3.Task";

const PATIENCE: Duration = Duration::from_secs(20);

/// Where shims run without containerd.
pub struct Bench {
    runtime: Runtime,
    name: String,
    dir: PathBuf,
    leftovers: Leftovers,
    /// Guards what the shims published, in order.
    events: Arc<Mutex<Vec<Event>>>,
    server: Server,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// A connection to a shim.
#[derive(Clone)]
pub struct Shim {
    client: Client,
    service: String,
    /// What the shim's `start` printed.
    pub answer: String,
    /// The address of its socket.
    pub address: String,
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shim")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

#[async_trait]
impl Events for Recorder {
    async fn forward(
        &self,
        _: &TtrpcContext,
        forward: api::ForwardRequest,
    ) -> ttrpc::Result<Empty> {
        let envelope = forward.envelope.unwrap_or_default();
        let value = envelope
            .event
            .map(|any| any.value.clone())
            .unwrap_or_default();
        let event = decode(&envelope.topic, &value);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        Ok(Empty::new())
    }
}

async fn serve_events(dir: &Path, events: &Arc<Mutex<Vec<Event>>>) -> Result<Server> {
    let mut server = Server::new()
        .bind(&format!("unix://{}", dir.join("c.sock.ttrpc").display()))?
        .register_service(create_events(Arc::new(Recorder(events.clone()))));
    server.start().await?;
    Ok(server)
}

impl Bench {
    /// A dir and a server for events.
    ///
    /// # Errors
    /// Not root, or no shim.
    pub async fn new(runtime: Runtime) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "a shim needs root");
        let name = unique();
        let dir = std::env::temp_dir().join(format!("medley-{name}"));
        std::fs::create_dir(&dir)?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let server = serve_events(&dir, &events).await?;
        // No pods, hence no addresses.
        let leftovers = Leftovers::new(&name, &dir, &dir.join("c.sock"), "medley".to_owned());
        Ok(Self {
            runtime,
            name,
            dir,
            leftovers,
            events,
            server,
        })
    }

    /// Does something while there is no server for events, and begins another at the same path.
    ///
    /// # Errors
    /// What `meanwhile` fails with, or the socket cannot be bound.
    pub async fn without_events(
        &mut self,
        meanwhile: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        self.server.shutdown().await?;
        std::fs::remove_file(self.ttrpc_address()).ok();
        meanwhile().await?;
        self.server = serve_events(&self.dir, &self.events).await?;
        Ok(())
    }

    /// The address of its server for events, as a shim is told.
    pub fn ttrpc_address(&self) -> String {
        format!("{}.ttrpc", self.dir.join("c.sock").display())
    }

    /// The containerd namespace that the shims are told.
    pub fn namespace(&self) -> &str {
        &self.name
    }

    /// Makes a bundle with the image's files in `rootfs`, and no config.json.
    ///
    /// # Errors
    /// The dir cannot be written.
    pub fn bundle(&self, id: &str, image: &Image) -> Result<PathBuf> {
        let bundle = self.dir.join(id);
        std::fs::create_dir(&bundle)?;
        image.unpack(&bundle.join("rootfs"))?;
        Ok(bundle)
    }

    fn binary(&self) -> Result<PathBuf> {
        match self.runtime {
            Runtime::Medley => shim_path(),
            Runtime::Runc => Ok(Path::new("/usr/bin").join(self.runtime.binary())),
        }
    }

    /// Runs the shim's binary in the bundle with a verb (`start`, `delete`) as
    /// containerd does.
    ///
    /// # Errors
    /// It cannot be run or does not end; one that fails is no error.
    pub async fn command(
        &self,
        id: &str,
        bundle: &Path,
        verb: &str,
    ) -> Result<std::process::Output> {
        self.command_with(id, bundle, verb, Vec::new()).await
    }

    /// As [`Bench::command`], with `input` on its standard input.
    ///
    /// # Errors
    /// As for [`Bench::command`].
    pub async fn command_with(
        &self,
        id: &str,
        bundle: &Path,
        verb: &str,
        input: Vec<u8>,
    ) -> Result<std::process::Output> {
        self.leftovers.expect_gone(&self.name, id);
        let socket = self.dir.join("c.sock");
        let mut command = tokio::process::Command::new(self.binary()?);
        command
            .args([
                "-namespace",
                &self.name,
                "-id",
                id,
                "-publish-binary",
                "/bin/false",
                "-address",
            ])
            .arg(&socket)
            .arg("-bundle")
            .arg(bundle)
            .arg(verb)
            .current_dir(bundle)
            .env("TTRPC_ADDRESS", self.ttrpc_address())
            .env("GRPC_ADDRESS", &socket)
            .env("NAMESPACE", &self.name)
            .env("MAX_SHIM_VERSION", "2")
            .stdin(ProcessStdio::piped())
            .stdout(ProcessStdio::piped())
            .stderr(ProcessStdio::piped())
            .kill_on_drop(true);
        let run = async {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that does not read has ended, or has said what is wrong.
                stdin.write_all(&input).await.ok();
            }
            child.wait_with_output().await
        };
        let done = tokio::time::timeout(PATIENCE, run).await;
        done.with_context(|| format!("the shim's `{verb}` does not end"))?
            .context("cannot run the shim")
    }

    /// Starts the shim for a bundle and connects to it.
    ///
    /// # Errors
    /// Its `start` fails, or its socket does not answer.
    pub async fn start(&self, id: &str, bundle: &Path) -> Result<Shim> {
        let log = bundle.join("log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::from_bits_truncate(0o700))?;
        let sink = self.dir.join(format!("{id}.log"));
        // Both ends, so that it neither blocks nor ends; the thread goes with the process.
        let mut from = std::fs::File::options().read(true).write(true).open(&log)?;
        std::thread::spawn(move || {
            let mut to = std::fs::File::create(sink)?;
            std::io::copy(&mut from, &mut to)
        });
        let done = self.command(id, bundle, "start").await?;
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success(), "the shim's `start` fails: {stderr}");
        let answer = String::from_utf8(done.stdout)?;
        let address = match serde_json::from_str::<serde_json::Value>(&answer) {
            Ok(json) => json["address"].as_str().context("no address")?.to_owned(),
            Err(_) => answer.trim().to_owned(),
        };
        let client = Client::connect(&address).await?;
        Ok(Shim {
            client,
            service: TASK_V2.to_owned(),
            answer,
            address,
        })
    }

    /// FIFOs for a task of `id`.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn stdio(&self, id: &str, stdin: Stdin) -> Result<Stdio> {
        Stdio::open(self.dir.join("fifo").join(id), stdin)
    }

    /// The events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The topics of one container so far, without `/tasks/`.
    pub fn topics(&self, id: &str) -> Vec<String> {
        let of_it = self
            .events()
            .into_iter()
            .filter(|event| event.container == id);
        of_it
            .map(|event| event.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }

    /// Checks that nothing of any shim is left, and removes the dir.
    ///
    /// # Errors
    /// The list of what is left. It is gone all the same.
    pub async fn close(mut self) -> Result<()> {
        let left = self.leftovers.settle(&[], Duration::from_secs(5));
        self.server.shutdown().await?;
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Errors cannot be returned from here; `close` has told of what there was.
        self.leftovers.sweep().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

/// The code and the sentence of an error that is the shim's answer.
pub fn status(error: &anyhow::Error) -> Option<(ttrpc::Code, String)> {
    match error.downcast_ref::<ttrpc::Error>()? {
        ttrpc::Error::RpcStatus(status) => Some((status.code(), status.message.clone())),
        _ => None,
    }
}
