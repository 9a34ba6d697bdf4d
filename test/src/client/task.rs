//! The calls on a task.

use super::{Task, timed};
use anyhow::{Context, Result, ensure};
use containerd_client::services::v1 as api;
use std::fs::File;

impl Task {
    fn id(&self) -> String {
        self.id.clone()
    }

    /// Starts it and returns the pid that Start answered.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn start(&self) -> Result<u32> {
        let start = api::StartRequest {
            container_id: self.id(),
            ..Default::default()
        };
        Ok(
            timed(self.client.tasks().start(self.client.request(start)?))
                .await?
                .pid,
        )
    }

    /// Waits for its end and returns its exit status.
    ///
    /// # Errors
    /// containerd's answer, or it does not end in [`crate::containerd::PATIENCE`].
    pub async fn wait(&self) -> Result<u32> {
        let wait = api::WaitRequest {
            container_id: self.id(),
            ..Default::default()
        };
        let mut tasks = self.client.tasks();
        let answer = timed(tasks.wait(self.client.request(wait)?)).await;
        Ok(answer
            .with_context(|| format!("waiting for `{}`", self.id))?
            .exit_status)
    }

    /// Sends a signal to init, or to every process of the container.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<()> {
        let kill = api::KillRequest {
            container_id: self.id(),
            signal,
            all,
            ..Default::default()
        };
        timed(self.client.tasks().kill(self.client.request(kill)?)).await
    }

    /// Deletes it and returns the exit status that Delete answered.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn delete(&self) -> Result<u32> {
        let delete = api::DeleteTaskRequest {
            container_id: self.id(),
        };
        Ok(
            timed(self.client.tasks().delete(self.client.request(delete)?))
                .await?
                .exit_status,
        )
    }

    /// Its state: `Created`, `Running`, `Stopped`, …
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn status(&self) -> Result<containerd_client::types::v1::Status> {
        let get = api::GetRequest {
            container_id: self.id(),
            ..Default::default()
        };
        let answer = timed(self.client.tasks().get(self.client.request(get)?)).await?;
        Ok(answer.process.context("no process in the answer")?.status())
    }

    /// The pids of all its processes.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn pids(&self) -> Result<Vec<u32>> {
        let list = api::ListPidsRequest {
            container_id: self.id(),
        };
        let answer = timed(self.client.tasks().list_pids(self.client.request(list)?)).await?;
        Ok(answer
            .processes
            .into_iter()
            .map(|process| process.pid)
            .collect())
    }

    /// Its metrics, as containerd passes them on.
    ///
    /// # Errors
    /// containerd's answer, or there are none.
    pub async fn metrics(&self) -> Result<prost_types::Any> {
        let filters = vec![format!("id=={}", self.id)];
        let ask = api::MetricsRequest { filters };
        let answer = timed(self.client.tasks().metrics(self.client.request(ask)?)).await?;
        let metric = answer
            .metrics
            .into_iter()
            .next()
            .context("no metrics in the answer")?;
        metric.data.context("no data in the metrics")
    }

    /// Ends its input.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn close_stdin(&self) -> Result<()> {
        let close = api::CloseIoRequest {
            container_id: self.id(),
            stdin: true,
            ..Default::default()
        };
        timed(self.client.tasks().close_io(self.client.request(close)?)).await
    }

    /// The writing end of its input, of [`crate::stdio::Stdin::Open`].
    ///
    /// # Errors
    /// It has no reader.
    pub async fn stdin(&self) -> Result<File> {
        self.stdio.writer().await
    }

    /// Waits until its input is written, and ends it as `ctr` does; nothing to do for
    /// a task without input.
    ///
    /// # Errors
    /// The input is not taken, or containerd's answer.
    pub async fn written(&mut self) -> Result<()> {
        if self.stdio.paths()[0].is_empty() {
            return Ok(());
        }
        self.stdio.written().await?;
        self.close_stdin()
            .await
            .or_else(|error| match super::code(&error) {
                // It may have ended without reading all of it.
                Some(containerd_client::tonic::Code::NotFound) => Ok(()),
                _ => Err(error),
            })
    }

    /// What it wrote to stdout and stderr; waits until both are closed.
    ///
    /// # Errors
    /// They are not closed after it has ended.
    pub async fn output(&mut self) -> Result<(String, String)> {
        let (stdout, stderr) = self.output_bytes().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((text(stdout), text(stderr)))
    }

    /// As [`Task::output`], in bytes.
    ///
    /// # Errors
    /// As for [`Task::output`].
    pub async fn output_bytes(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        self.stdio.drain().await
    }

    /// Kills it with SIGKILL, waits, and deletes it; returns the exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn destroy(mut self) -> Result<u32> {
        self.kill(9, true).await?;
        let code = self.wait().await?;
        self.output().await?;
        let deleted = self.delete().await?;
        ensure!(code == deleted, "Wait says {code}, Delete says {deleted}");
        Ok(code)
    }

    /// Stops every process of it where it stands.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn pause(&self) -> Result<()> {
        let pause = api::PauseTaskRequest {
            container_id: self.id(),
        };
        timed(self.client.tasks().pause(self.client.request(pause)?)).await
    }

    /// Lets every process of it go on.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn resume(&self) -> Result<()> {
        let resume = api::ResumeTaskRequest {
            container_id: self.id(),
        };
        timed(self.client.tasks().resume(self.client.request(resume)?)).await
    }

    /// Sets its limits, the OCI runtime spec's `linux.resources`.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn update(&self, resources: &serde_json::Value) -> Result<()> {
        let resources = prost_types::Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: serde_json::to_vec(resources)?,
        };
        let update = api::UpdateTaskRequest {
            container_id: self.id(),
            resources: Some(resources),
            ..Default::default()
        };
        timed(self.client.tasks().update(self.client.request(update)?)).await
    }

    /// Waits until its stdout has brought `text`, and returns everything so far.
    ///
    /// # Errors
    /// It does not within a while.
    pub async fn until(&self, text: &str) -> Result<String> {
        self.stdio.until(text).await
    }

    /// Whether its stdout brings `text` before a program has run that needs no time.
    pub async fn has_said_soon(&self, text: &str) -> bool {
        const SOON: std::time::Duration = std::time::Duration::from_millis(500);
        tokio::time::timeout(SOON, self.stdio.until(text))
            .await
            .is_ok_and(|said| said.is_ok())
    }

    /// When its output first had something.
    pub fn first_output(&self) -> Option<std::time::Instant> {
        self.stdio.first_output()
    }

    /// The socket of the shim that serves it, if it is the first of its group.
    pub fn shim_socket(&self) -> std::path::PathBuf {
        self.client
            .leftovers
            .shim_socket(&self.client.namespace, &self.id)
    }
}
