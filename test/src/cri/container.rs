//! A container of a pod: what it is made with, and the calls on it.

use super::{CriContainer, LogLine, PodContainer, Streams, request, timed};
use crate::containerd::PATIENCE;
use crate::images::Image;
use anyhow::{Context, Result, bail, ensure};
use k8s_cri::v1;
use std::path::Path;
use std::time::{Duration, Instant};

impl PodContainer {
    /// A container called `name`, of the image with the image's own entrypoint.
    pub fn new(name: &str, image: &Image) -> Self {
        Self {
            config: v1::ContainerConfig {
                metadata: Some(v1::ContainerMetadata {
                    name: name.to_owned(),
                    attempt: 0,
                }),
                image: Some(v1::ImageSpec {
                    image: image.name.clone(),
                    ..Default::default()
                }),
                log_path: format!("{name}.log"),
                linux: Some(v1::LinuxContainerConfig {
                    security_context: Some(v1::LinuxContainerSecurityContext {
                        seccomp: Some(v1::SecurityProfile::default()),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            },
        }
    }

    /// Replaces the image's entrypoint.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.config.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the arguments that follow the entrypoint.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.config.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(v1::KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config
            .annotations
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Mounts a file or dir of the host, as a volume.
    #[must_use]
    pub fn volume(self, host: &Path, path: &str, readonly: bool) -> Self {
        self.mount(host, path, |mount| mount.readonly = readonly)
    }

    /// Mounts a file or dir of the host in the way that `change` says.
    #[must_use]
    pub fn mount(mut self, host: &Path, path: &str, change: impl FnOnce(&mut v1::Mount)) -> Self {
        let mut mount = v1::Mount {
            container_path: path.to_owned(),
            host_path: host.to_string_lossy().into_owned(),
            ..Default::default()
        };
        change(&mut mount);
        self.config.mounts.push(mount);
        self
    }

    /// Gives it a device of the host, with `r`, `w` and `m` as it may be used.
    #[must_use]
    pub fn device(mut self, host: &Path, path: &str, permissions: &str) -> Self {
        self.config.devices.push(v1::Device {
            container_path: path.to_owned(),
            host_path: host.to_string_lossy().into_owned(),
            permissions: permissions.to_owned(),
        });
        self
    }

    /// Changes its security context.
    #[must_use]
    pub fn security(mut self, change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
        self
    }

    /// Keeps its stdin open for those who attach to it.
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.config.stdin = true;
        self
    }

    /// Gives it a terminal, which those who attach to it type on.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.config.tty = true;
        self.stdin()
    }

    /// Sets the memory limit, in bytes.
    #[must_use]
    pub fn memory(mut self, limit: i64) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux
            .resources
            .get_or_insert_default()
            .memory_limit_in_bytes = limit;
        self
    }
}

impl CriContainer {
    /// Starts it.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn start(&self) -> Result<()> {
        let start = v1::StartContainerRequest {
            container_id: self.id.clone(),
        };
        timed(self.cri.runtime.clone().start_container(request(start)))
            .await
            .map(drop)
    }

    /// Its status.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn status(&self) -> Result<v1::ContainerStatus> {
        let ask = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        let answer = timed(self.cri.runtime.clone().container_status(request(ask))).await?;
        answer.status.context("no status in the answer")
    }

    /// Init's pid.
    ///
    /// # Errors
    /// The CRI plugin's answer, or it does not run.
    pub async fn pid(&self) -> Result<u32> {
        let ask = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: true,
        };
        let answer = timed(self.cri.runtime.clone().container_status(request(ask))).await?;
        let info: serde_json::Value =
            serde_json::from_str(answer.info.get("info").context("no info in the answer")?)?;
        Ok(u32::try_from(
            info["pid"].as_u64().context("no pid in the info")?,
        )?)
    }

    /// Waits until it has exited, and returns its status.
    ///
    /// # Errors
    /// It does not exit in [`PATIENCE`].
    pub async fn wait(&self) -> Result<v1::ContainerStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await?;
            if status.state() == v1::ContainerState::ContainerExited {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("container `{}` does not exit: {status:?}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has exited with `code`.
    ///
    /// # Errors
    /// It does not in [`PATIENCE`], or with another code; says what its log says.
    pub async fn ends_with(&self, code: i32) -> Result<v1::ContainerStatus> {
        let status = self.wait().await?;
        ensure!(
            status.exit_code == code,
            "container `{}` ended with {} ({}) instead of {code}: {:?}",
            self.name,
            status.exit_code,
            status.message,
            self.log().unwrap_or_default()
        );
        Ok(status)
    }

    /// Connects to its streams, as `kubectl attach -i` does.
    ///
    /// # Errors
    /// The CRI plugin's answer, or that of its streaming server.
    pub async fn attach(&self) -> Result<Streams> {
        self.attach_with(false).await
    }

    /// Connects to its terminal, as `kubectl attach -it` does.
    ///
    /// # Errors
    /// As for [`CriContainer::attach`].
    pub async fn attach_to_its_terminal(&self) -> Result<Streams> {
        self.attach_with(true).await
    }

    async fn attach_with(&self, tty: bool) -> Result<Streams> {
        let ask = v1::AttachRequest {
            container_id: self.id.clone(),
            stdin: true,
            stdout: true,
            // A terminal has but one output.
            stderr: !tty,
            tty,
        };
        let answer = timed(self.cri.runtime.clone().attach(request(ask))).await?;
        Streams::open(&answer.url).await
    }

    /// Stops it: SIGTERM, and SIGKILL after `grace` seconds.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn stop(&self, grace: i64) -> Result<()> {
        let stop = v1::StopContainerRequest {
            container_id: self.id.clone(),
            timeout: grace,
        };
        timed(self.cri.runtime.clone().stop_container(request(stop)))
            .await
            .map(drop)
    }

    /// Removes it.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn remove(&self) -> Result<()> {
        let remove = v1::RemoveContainerRequest {
            container_id: self.id.clone(),
        };
        timed(self.cri.runtime.clone().remove_container(request(remove)))
            .await
            .map(drop)
    }

    /// What it uses, as `kubectl top` asks.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn stats(&self) -> Result<v1::ContainerStats> {
        let ask = v1::ContainerStatsRequest {
            container_id: self.id.clone(),
        };
        let answer = timed(self.cri.runtime.clone().container_stats(request(ask))).await?;
        answer.stats.context("no stats in the answer")
    }

    /// Sets its limits, as an in-place resize of its pod does.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn update(&self, limits: v1::LinuxContainerResources) -> Result<()> {
        let ask = v1::UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(limits),
            ..Default::default()
        };
        let mut runtime = self.cri.runtime.clone();
        timed(runtime.update_container_resources(request(ask)))
            .await
            .map(drop)
    }

    /// Moves its log away and has a new one opened, as a kubelet does with one that is large.
    ///
    /// # Errors
    /// The log is not there, or the CRI plugin's answer.
    pub async fn rotate_log(&self) -> Result<()> {
        std::fs::rename(&self.log, self.log.with_extension("1"))?;
        let reopen = v1::ReopenContainerLogRequest {
            container_id: self.id.clone(),
        };
        let mut runtime = self.cri.runtime.clone();
        timed(runtime.reopen_container_log(request(reopen)))
            .await
            .map(drop)
    }

    /// The lines of its log so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<Vec<LogLine>> {
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        // Each line is `<time> <stream> <tag> <text>`.
        let lines = text.lines().map(|line| {
            let mut fields = line.splitn(4, ' ').skip(1).map(str::to_owned);
            let stream = fields.next().unwrap_or_default();
            LogLine {
                stream,
                text: fields.nth(1).unwrap_or_default(),
            }
        });
        Ok(lines.collect())
    }

    /// What it has written to stdout, as one string.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn stdout(&self) -> Result<String> {
        let lines = self
            .log()?
            .into_iter()
            .filter(|line| line.stream == "stdout");
        Ok(lines.map(|line| line.text + "\n").collect())
    }

    /// Waits until all that it has written to stdout is `text`.
    ///
    /// # Errors
    /// It is something else after [`PATIENCE`]; says what.
    pub async fn expect_stdout(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The log is written behind the container's back, and behind its exit's.
            let log = self.log().unwrap_or_default();
            if self.stdout().unwrap_or_default() == text {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline && log.len() <= text.lines().count(),
                "{} says not `{text}` but {log:?}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a line of its log contains `text`.
    ///
    /// # Errors
    /// None does in [`PATIENCE`]; says what is there.
    pub async fn wait_for_log(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log().unwrap_or_default();
            if log.iter().any(|line| line.text.contains(text)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "no `{text}` in the log of {}: {log:?}",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
