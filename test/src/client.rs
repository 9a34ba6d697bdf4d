//! A client of containerd's task API that does what `ctr` does, a step at a time.

use crate::containerd::{Containerd, PATIENCE};
use crate::events::Events;
use crate::images::Image;
use crate::leftovers::Leftovers;
use crate::spec::Spec;
use crate::stdio::{Stdin, Stdio};
use anyhow::{Context, Result, ensure};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::container::Runtime as ContainerRuntime;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::tonic::{Code, Request, Status, transport::Channel};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

const SNAPSHOTTER: &str = "overlayfs";
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A client in one containerd namespace.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    namespace: String,
    runtime: String,
    options: Option<prost_types::Any>,
    dir: PathBuf,
    leftovers: Arc<Leftovers>,
}

/// A container: its record and its snapshot, no process yet.
#[derive(Debug, Clone)]
pub struct Container {
    client: Client,
    /// Its id.
    pub id: String,
    rootfs: Vec<containerd_client::types::Mount>,
}

/// A container's process.
#[derive(Debug)]
pub struct Task {
    client: Client,
    /// The container's id.
    pub id: String,
    /// Init's pid, as Create answered it.
    pub pid: u32,
    stdio: Stdio,
}

/// What came of a container that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status.
    pub code: u32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Client {
    pub(crate) async fn connect(containerd: &Containerd) -> Result<Self> {
        Ok(Self {
            channel: containerd_client::connect(containerd.socket()).await?,
            namespace: containerd.name().to_owned(),
            runtime: containerd.runtime().name().to_owned(),
            options: None,
            dir: containerd.dir().to_owned(),
            leftovers: containerd.leftovers().clone(),
        })
    }

    /// The same client with another runtime name.
    #[must_use]
    pub fn with_runtime(mut self, name: &str) -> Self {
        name.clone_into(&mut self.runtime);
        self
    }

    /// The same client with runtime options: a type's name, and that type's bytes.
    #[must_use]
    pub fn with_options(mut self, kind: &str, value: Vec<u8>) -> Self {
        let type_url = kind.to_owned();
        self.options = Some(prost_types::Any { type_url, value });
        self
    }

    /// The same client with runtime options in TOML, in containerd's message for runtimes other than
    /// runc.
    #[must_use]
    pub fn with_toml_options(self, toml: &str) -> Self {
        let mut message = Vec::new();
        // Its `ConfigBody`.
        prost::encoding::string::encode(3, &toml.to_owned(), &mut message);
        self.with_options("runtimeoptions.v1.Options", message)
    }

    /// Its containerd namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace.parse()?);
        request.set_timeout(PATIENCE);
        Ok(request)
    }

    pub(crate) fn tasks(&self) -> api::tasks_client::TasksClient<Channel> {
        api::tasks_client::TasksClient::new(self.channel.clone())
    }

    fn containers(&self) -> api::containers_client::ContainersClient<Channel> {
        api::containers_client::ContainersClient::new(self.channel.clone())
    }

    fn snapshots(&self) -> api::snapshots::snapshots_client::SnapshotsClient<Channel> {
        api::snapshots::snapshots_client::SnapshotsClient::new(self.channel.clone())
    }

    /// Subscribes to the events of this namespace.
    ///
    /// # Errors
    /// As for [`Events::subscribe`].
    pub async fn events(&self) -> Result<Events> {
        Events::subscribe(self.channel.clone(), &self.namespace).await
    }

    /// The default spec for a container of the image.
    pub fn spec(&self, image: &Image, id: &str) -> Spec {
        Spec::of(image, &self.namespace, id)
    }

    /// Makes a container and the snapshot under it.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn create(&self, id: &str, image: &Image, spec: Spec) -> Result<Container> {
        self.leftovers.expect_gone(&self.namespace, id);
        let container = api::Container {
            id: id.to_owned(),
            image: image.name.clone(),
            runtime: Some(ContainerRuntime {
                name: self.runtime.clone(),
                options: self.options.clone(),
            }),
            spec: Some(prost_types::Any {
                type_url: SPEC_TYPE.to_owned(),
                value: serde_json::to_vec(&spec.0)?,
            }),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: id.to_owned(),
            ..Default::default()
        };
        // The record comes first: it keeps the snapshot from the garbage collector.
        let create = api::CreateContainerRequest {
            container: Some(container),
        };
        timed(self.containers().create(self.request(create)?)).await?;
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id.to_owned(),
            parent: image.chain_id.clone(),
            ..Default::default()
        };
        let mounts = timed(self.snapshots().prepare(self.request(prepare)?)).await?;
        Ok(Container {
            client: self.clone(),
            id: id.to_owned(),
            rootfs: mounts.mounts,
        })
    }

    /// Runs a container to its end and removes it; the input ends with `stdin`'s bytes.
    ///
    /// # Errors
    /// The first call that fails. What is there by then is removed.
    pub async fn run_with(
        &self,
        id: &str,
        image: &Image,
        spec: Spec,
        stdin: Stdin,
    ) -> Result<Finished> {
        let container = self.create(id, image, spec).await?;
        let outcome = async {
            let mut task = container.task(stdin).await?;
            if let Err(error) = task.start().await {
                // As `ctr` does: a task that did not start is deleted all the same.
                return Err(match task.delete().await {
                    Ok(_) => error,
                    Err(late) => anyhow::anyhow!(
                        "a task that did not start ({error}) cannot be deleted: {late}"
                    ),
                });
            }
            task.written().await?;
            let code = task.wait().await?;
            let (stdout, stderr) = task.output().await?;
            task.delete().await?;
            Ok(Finished {
                code,
                stdout,
                stderr,
            })
        };
        let outcome = outcome.await;
        let removed = container.delete().await;
        let finished = outcome?;
        removed?;
        Ok(finished)
    }

    /// As [`Client::run_with`], without input.
    ///
    /// # Errors
    /// As for [`Client::run_with`].
    pub async fn run(&self, id: &str, image: &Image, spec: Spec) -> Result<Finished> {
        self.run_with(id, image, spec, Stdin::None).await
    }

    /// Runs the image as it is.
    ///
    /// # Errors
    /// As for [`Client::run_with`].
    pub async fn run_image(&self, id: &str, image: &Image) -> Result<Finished> {
        self.run(id, image, self.spec(image, id)).await
    }

    /// Runs a container that must not come to run, and returns the sentence that
    /// Create or Start failed with.
    ///
    /// # Errors
    /// It runs, or what failed is not containerd's call.
    pub async fn refused(&self, id: &str, image: &Image, spec: Spec) -> Result<Status> {
        match self.run(id, image, spec).await {
            Ok(finished) => anyhow::bail!("`{id}` runs, which it must not: {finished:?}"),
            Err(error) => error
                .downcast::<Status>()
                .context("no answer of containerd"),
        }
    }

    /// Kills and deletes every task and container of the namespace.
    ///
    /// # Errors
    /// containerd's answer to the first that cannot be deleted.
    pub async fn remove_all(&self) -> Result<()> {
        let list = api::ListContainersRequest::default();
        let containers = timed(self.containers().list(self.request(list)?)).await?;
        for container in containers.containers {
            let id = container.id;
            let kill = api::KillRequest {
                container_id: id.clone(),
                signal: 9,
                all: true,
                ..Default::default()
            };
            // Without a task, or with a dead one, there is nothing to kill.
            if timed(self.tasks().kill(self.request(kill)?)).await.is_ok() {
                let wait = api::WaitRequest {
                    container_id: id.clone(),
                    ..Default::default()
                };
                timed(self.tasks().wait(self.request(wait)?)).await?;
            }
            let delete = api::DeleteTaskRequest {
                container_id: id.clone(),
            };
            unless_gone(timed(self.tasks().delete(self.request(delete)?)).await)?;
            self.delete_container(&id).await?;
        }
        Ok(())
    }

    async fn delete_container(&self, id: &str) -> Result<()> {
        let delete = api::DeleteContainerRequest { id: id.to_owned() };
        timed(self.containers().delete(self.request(delete)?)).await?;
        let remove = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id.to_owned(),
        };
        unless_gone(timed(self.snapshots().remove(self.request(remove)?)).await)
    }
}

impl Container {
    /// Creates its task, with FIFOs.
    ///
    /// # Errors
    /// containerd's answer, a [`Status`].
    pub async fn task(&self, stdin: Stdin) -> Result<Task> {
        let client = &self.client;
        let fifos =
            client
                .dir
                .join("fifo")
                .join(format!("{}-{}", self.id, crate::leftovers::unique()));
        self.task_with(Stdio::open(fifos, stdin)?).await
    }

    /// Creates its task, whose output goes where these paths or URIs say.
    ///
    /// # Errors
    /// containerd's answer, a [`Status`].
    pub async fn task_to(&self, stdout: &str, stderr: &str, terminal: bool) -> Result<Task> {
        self.task_with(Stdio::logged(stdout, stderr, terminal))
            .await
    }

    async fn task_with(&self, stdio: Stdio) -> Result<Task> {
        let client = &self.client;
        let [stdin, stdout, stderr] = stdio.paths();
        let create = api::CreateTaskRequest {
            terminal: stdio.is_terminal(),
            container_id: self.id.clone(),
            rootfs: self.rootfs.clone(),
            stdin,
            stdout,
            stderr,
            ..Default::default()
        };
        let pid = timed(client.tasks().create(client.request(create)?))
            .await?
            .pid;
        Ok(Task {
            client: client.clone(),
            id: self.id.clone(),
            pid,
            stdio,
        })
    }

    /// Creates and starts its task.
    ///
    /// # Errors
    /// containerd's answer, a [`Status`].
    pub async fn start(&self, stdin: Stdin) -> Result<Task> {
        let task = self.task(stdin).await?;
        task.start().await?;
        Ok(task)
    }

    /// Deletes the record and the snapshot.
    ///
    /// # Errors
    /// containerd's answer, as for a container with a task.
    pub async fn delete(&self) -> Result<()> {
        self.client.delete_container(&self.id).await
    }
}

/// Gives up after [`PATIENCE`] (the server is asked for the same) and unwraps.
async fn timed<T>(
    call: impl Future<Output = Result<containerd_client::tonic::Response<T>, Status>>,
) -> Result<T> {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    Ok(answer.context("containerd does not answer")??.into_inner())
}

fn unless_gone<T>(answer: Result<T>) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(Code::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The gRPC code of an error that is containerd's answer.
pub fn code(error: &anyhow::Error) -> Option<Code> {
    error.downcast_ref::<Status>().map(Status::code)
}

/// Asserts that containerd answered with `code`, and returns its sentence.
///
/// # Errors
/// The call went through, or failed in another way.
pub fn refused_with<T: std::fmt::Debug>(answer: Result<T>, expected: Code) -> Result<String> {
    match answer {
        Ok(value) => anyhow::bail!("expected {expected:?}, got an answer: {value:?}"),
        Err(error) => {
            ensure!(
                code(&error) == Some(expected),
                "expected {expected:?}, got {error:?}"
            );
            Ok(error.downcast::<Status>()?.message().to_owned())
        }
    }
}

mod exec;
mod task;
mod terminal;

pub use exec::{Exec, process};
