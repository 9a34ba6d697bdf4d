//! A client of the CRI that does what a kubelet does with a pod.

use crate::containerd::{CRI_NAMESPACE, Containerd, PATIENCE};
use crate::leftovers::Leftovers;
use anyhow::{Context, Result, ensure};
use containerd_client::tonic::{Request, Response, Status, transport::Channel};
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod container;
mod exec;
mod streams;

pub use exec::Executed;
pub use streams::Streams;

/// A client of one containerd's CRI plugin.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    handler: String,
    cgroup_parent: String,
    logs: PathBuf,
    leftovers: Arc<Leftovers>,
}

/// What a pod is made with.
#[derive(Debug, Clone, Default)]
pub struct PodOptions {
    /// The pod's annotations.
    pub annotations: HashMap<String, String>,
    /// The runtime handler, instead of the one of the containerd's runtime.
    pub handler: Option<String>,
    /// The namespaces of the pod and of its containers, instead of those that a kubelet asks for.
    pub namespaces: Option<v1::NamespaceOption>,
    /// Whether its containers may be privileged.
    pub privileged: bool,
    /// Its sysctls.
    pub sysctls: HashMap<String, String>,
    /// What its resolv.conf is made of, instead of the node's own.
    pub dns: Option<v1::DnsConfig>,
}

impl PodOptions {
    /// A pod whose namespaces are those that a kubelet asks for, as `change` leaves them.
    pub fn namespaces(change: impl FnOnce(&mut v1::NamespaceOption)) -> Self {
        let mut options = namespaces();
        change(&mut options);
        Self {
            namespaces: Some(options),
            ..Self::default()
        }
    }
}

/// A running pod.
#[derive(Debug, Clone)]
pub struct Pod {
    cri: Cri,
    /// The sandbox's id.
    pub id: String,
    /// The pod's name.
    pub name: String,
    /// The pod's address.
    pub ip: String,
    config: v1::PodSandboxConfig,
}

/// What a container of a pod is made with.
#[derive(Debug, Clone)]
pub struct PodContainer {
    config: v1::ContainerConfig,
}

/// A container of a pod.
#[derive(Debug, Clone)]
pub struct CriContainer {
    cri: Cri,
    /// Its id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    log: PathBuf,
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line, without its end.
    pub text: String,
}

impl Cri {
    pub(crate) async fn connect(containerd: &Containerd) -> Result<Self> {
        let channel = containerd_client::connect(containerd.socket()).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            handler: containerd.runtime().handler().to_owned(),
            cgroup_parent: format!("/{}", containerd.name()),
            logs: containerd.dir().join("logs"),
            leftovers: containerd.leftovers().clone(),
        })
    }

    /// A client of a containerd that is no test's own: its socket, a dir for logs, the cgroup of its pods.
    ///
    /// # Errors
    /// Nothing answers there.
    pub async fn at(socket: &Path, dir: &Path, cgroup_parent: &str) -> Result<Self> {
        let channel = containerd_client::connect(socket).await?;
        let leftovers = Leftovers::new("node", dir, socket, String::new());
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            handler: String::new(),
            cgroup_parent: cgroup_parent.to_owned(),
            logs: dir.join("logs"),
            leftovers: Arc::new(leftovers),
        })
    }

    /// The version of containerd, as the CRI tells it.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn version(&self) -> Result<String> {
        let mut client = self.runtime.clone();
        Ok(
            timed(client.version(request(v1::VersionRequest::default())))
                .await?
                .runtime_version,
        )
    }

    /// Pulls an image from its registry.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn pull(&self, name: &str) -> Result<()> {
        let pull = v1::PullImageRequest {
            image: Some(v1::ImageSpec {
                image: name.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        timed(self.images.clone().pull_image(request(pull))).await?;
        Ok(())
    }

    pub(crate) async fn wait_for_image(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let image = Some(v1::ImageSpec {
                image: name.to_owned(),
                ..Default::default()
            });
            let ask = v1::ImageStatusRequest {
                image,
                ..Default::default()
            };
            let answer = timed(self.images.clone().image_status(request(ask))).await;
            match answer {
                Ok(answer) if answer.image.is_some() => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                _ => ensure!(
                    Instant::now() < deadline,
                    "the CRI plugin does not see {name}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a pod's sandbox.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn run_pod(&self, name: &str, options: PodOptions) -> Result<Pod> {
        let logs = self.logs.join(name);
        std::fs::create_dir_all(&logs)?;
        let namespaces = options.namespaces.unwrap_or_else(namespaces);
        let on_the_node = namespaces.network() == v1::NamespaceMode::Node;
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: crate::leftovers::unique(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: if on_the_node {
                String::new()
            } else {
                name.to_owned()
            },
            dns_config: options.dns,
            log_directory: logs.to_string_lossy().into_owned(),
            annotations: options.annotations,
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                    seccomp: Some(v1::SecurityProfile::default()),
                    privileged: options.privileged,
                    ..Default::default()
                }),
                sysctls: options.sysctls,
                ..Default::default()
            }),
            ..Default::default()
        };
        let run = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: options.handler.unwrap_or_else(|| self.handler.clone()),
        };
        let mut client = self.runtime.clone();
        let id = timed(client.run_pod_sandbox(request(run)))
            .await?
            .pod_sandbox_id;
        self.leftovers.expect_gone(CRI_NAMESPACE, &id);
        let ask = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.clone(),
            verbose: true,
        };
        let answer = timed(client.pod_sandbox_status(request(ask))).await?;
        let ip = answer
            .status
            .and_then(|status| status.network)
            .map(|network| network.ip);
        if let Some(path) = answer.info.get("info").and_then(|info| netns_of(info)) {
            self.leftovers.expect_netns_gone(&path);
        }
        let ip = ip.unwrap_or_default();
        Ok(Pod {
            cri: self.clone(),
            id,
            name: name.to_owned(),
            ip,
            config,
        })
    }

    /// A container that is known by its id alone; its log is not.
    pub fn container(&self, id: &str) -> CriContainer {
        CriContainer {
            cri: self.clone(),
            id: id.to_owned(),
            name: id.to_owned(),
            log: PathBuf::new(),
        }
    }

    /// A container that another client made, with its log.
    pub fn container_of(&self, other: &CriContainer) -> CriContainer {
        CriContainer {
            cri: self.clone(),
            ..other.clone()
        }
    }

    /// Stops and removes every pod.
    ///
    /// # Errors
    /// The CRI plugin's answer to the first that cannot be removed.
    pub async fn remove_all(&self) -> Result<()> {
        let mut client = self.runtime.clone();
        let list = v1::ListPodSandboxRequest::default();
        for pod in timed(client.list_pod_sandbox(request(list))).await?.items {
            self.leftovers.expect_gone(CRI_NAMESPACE, &pod.id);
            self.remove_pod(&pod.id).await?;
        }
        Ok(())
    }

    async fn remove_pod(&self, id: &str) -> Result<()> {
        let mut client = self.runtime.clone();
        let stop = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        timed(client.stop_pod_sandbox(request(stop))).await?;
        let remove = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        timed(client.remove_pod_sandbox(request(remove))).await?;
        Ok(())
    }
}

impl Pod {
    /// Creates a container of the pod; it does not run yet.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn create(&self, container: PodContainer) -> Result<CriContainer> {
        let mut config = container.config;
        let security = config
            .linux
            .as_mut()
            .and_then(|linux| linux.security_context.as_mut());
        if let Some(security) = security
            && security.namespace_options.is_none()
        {
            security.namespace_options = Some(self.namespaces());
        }
        let name = config.metadata.clone().unwrap_or_default().name;
        let log = Path::new(&self.config.log_directory).join(&config.log_path);
        let create = v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let mut client = self.cri.runtime.clone();
        let id = timed(client.create_container(request(create)))
            .await?
            .container_id;
        self.cri.leftovers.expect_gone(CRI_NAMESPACE, &id);
        Ok(CriContainer {
            cri: self.cri.clone(),
            id,
            name,
            log,
        })
    }

    /// Creates and starts a container of the pod.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn run(&self, container: PodContainer) -> Result<CriContainer> {
        let container = self.create(container).await?;
        container.start().await?;
        Ok(container)
    }

    /// The namespaces of the pod, which its containers are in unless they ask for others.
    pub fn namespaces(&self) -> v1::NamespaceOption {
        let linux = self.config.linux.as_ref();
        let security = linux.and_then(|linux| linux.security_context.as_ref());
        security
            .and_then(|security| security.namespace_options.clone())
            .unwrap_or_default()
    }

    /// What the pod as a whole uses.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn stats(&self) -> Result<v1::PodSandboxStats> {
        let ask = v1::PodSandboxStatsRequest {
            pod_sandbox_id: self.id.clone(),
        };
        let answer = timed(self.cri.runtime.clone().pod_sandbox_stats(request(ask))).await?;
        answer.stats.context("no stats in the answer")
    }

    /// What each of its containers uses.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let ask = v1::ListContainerStatsRequest {
            filter: Some(v1::ContainerStatsFilter {
                pod_sandbox_id: self.id.clone(),
                ..Default::default()
            }),
        };
        let mut client = self.cri.runtime.clone();
        Ok(timed(client.list_container_stats(request(ask)))
            .await?
            .stats)
    }

    /// A connection to a port of the pod, as `kubectl port-forward` makes it.
    ///
    /// # Errors
    /// The CRI plugin's answer, or that of its streaming server.
    pub async fn forward(&self, port: u16) -> Result<Streams> {
        let ask = v1::PortForwardRequest {
            pod_sandbox_id: self.id.clone(),
            port: vec![port.into()],
        };
        let answer = timed(self.cri.runtime.clone().port_forward(request(ask))).await?;
        Streams::open(&format!("{}?port={port}", answer.url)).await
    }

    /// Stops the pod with all its containers; it stays in the list.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn stop(&self) -> Result<()> {
        let stop = v1::StopPodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        };
        timed(self.cri.runtime.clone().stop_pod_sandbox(request(stop)))
            .await
            .map(drop)
    }

    /// Whether the sandbox is ready.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn is_ready(&self) -> Result<bool> {
        let ask = v1::PodSandboxStatusRequest {
            pod_sandbox_id: self.id.clone(),
            verbose: false,
        };
        let answer = timed(self.cri.runtime.clone().pod_sandbox_status(request(ask))).await?;
        let status = answer.status.context("no status in the answer")?;
        Ok(status.state() == v1::PodSandboxState::SandboxReady)
    }

    /// Stops and removes the pod with all its containers.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn remove(self) -> Result<()> {
        self.cri.remove_pod(&self.id).await
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

async fn timed<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    Ok(answer
        .context("the CRI plugin does not answer")??
        .into_inner())
}

/// What a kubelet asks for: network and IPC of the pod, a pid namespace for each container.
fn namespaces() -> v1::NamespaceOption {
    let mut options = v1::NamespaceOption::default();
    options.set_network(v1::NamespaceMode::Pod);
    options.set_ipc(v1::NamespaceMode::Pod);
    options.set_pid(v1::NamespaceMode::Container);
    options
}

fn netns_of(info: &str) -> Option<PathBuf> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"]
        .as_array()?
        .clone();
    let network = namespaces
        .into_iter()
        .find(|namespace| namespace["type"] == "network")?;
    network["path"].as_str().map(PathBuf::from)
}
