//! Further processes of a task.

use super::{Task, timed};
use crate::stdio::{Stdin, Stdio};
use anyhow::{Context, Result};
use containerd_client::services::v1 as api;
use serde_json::{Value, json};

/// A process that was added to a task.
#[derive(Debug)]
pub struct Exec {
    pub(super) task: String,
    /// Its id.
    pub id: String,
    pub(super) client: super::Client,
    pub(super) stdio: Stdio,
}

/// The OCI process that runs `args` as root, with nothing special.
#[must_use]
pub fn process(args: &[&str]) -> Value {
    let capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"];
    json!({
        "args": args,
        "cwd": "/",
        "env": ["PATH=/bin:/usr/bin"],
        "user": { "uid": 0, "gid": 0 },
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
    })
}

impl Task {
    /// Adds a process; it waits to be started.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn exec(&self, id: &str, process: Value, stdin: Stdin) -> Result<Exec> {
        let name = format!("{}-{id}-{}", self.id, crate::leftovers::unique());
        let stdio = Stdio::open(self.client.dir.join("fifo").join(name), stdin)?;
        self.exec_with(id, process, stdio).await
    }

    /// As [`Task::exec`], with output that goes where these paths or URIs say.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn exec_to(
        &self,
        id: &str,
        process: Value,
        stdout: &str,
        stderr: &str,
        terminal: bool,
    ) -> Result<Exec> {
        let stdio = Stdio::logged(stdout, stderr, terminal);
        self.exec_with(id, process, stdio).await
    }

    async fn exec_with(&self, id: &str, process: Value, stdio: Stdio) -> Result<Exec> {
        let [stdin, stdout, stderr] = stdio.paths();
        let exec = api::ExecProcessRequest {
            terminal: stdio.is_terminal(),
            container_id: self.id.clone(),
            exec_id: id.to_owned(),
            stdin,
            stdout,
            stderr,
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: serde_json::to_vec(&process)?,
            }),
        };
        let mut tasks = self.client.tasks();
        timed(tasks.exec(self.client.request(exec)?)).await?;
        Ok(Exec {
            task: self.id.clone(),
            id: id.to_owned(),
            client: self.client.clone(),
            stdio,
        })
    }

    /// Runs a process to its end: its exit status, stdout and stderr.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn run_exec(&self, id: &str, process: Value) -> Result<(u32, String, String)> {
        self.exec(id, process, Stdin::None).await?.run().await
    }
}

impl Exec {
    /// Starts it and returns its pid.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn start(&self) -> Result<u32> {
        let start = api::StartRequest {
            container_id: self.task.clone(),
            exec_id: self.id.clone(),
        };
        let mut tasks = self.client.tasks();
        Ok(timed(tasks.start(self.client.request(start)?)).await?.pid)
    }

    /// Waits for its end and returns its exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn wait(&self) -> Result<u32> {
        let wait = api::WaitRequest {
            container_id: self.task.clone(),
            exec_id: self.id.clone(),
        };
        let mut tasks = self.client.tasks();
        let answer = timed(tasks.wait(self.client.request(wait)?)).await;
        Ok(answer
            .with_context(|| format!("waiting for exec `{}`", self.id))?
            .exit_status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn kill(&self, signal: u32) -> Result<()> {
        let kill = api::KillRequest {
            container_id: self.task.clone(),
            exec_id: self.id.clone(),
            signal,
            ..Default::default()
        };
        timed(self.client.tasks().kill(self.client.request(kill)?)).await
    }

    /// Ends its input as `ctr` does.
    ///
    /// # Errors
    /// containerd's answer, but for an exec that has ended already.
    pub async fn close_stdin(&self) -> Result<()> {
        let close = api::CloseIoRequest {
            container_id: self.task.clone(),
            exec_id: self.id.clone(),
            stdin: true,
        };
        let closed = timed(self.client.tasks().close_io(self.client.request(close)?)).await;
        match closed {
            Err(error) if super::code(&error) == Some(super::Code::NotFound) => Ok(()),
            closed => closed,
        }
    }

    /// Deletes it and returns the exit status that Delete answered.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn delete(&self) -> Result<u32> {
        let delete = api::DeleteProcessRequest {
            container_id: self.task.clone(),
            exec_id: self.id.clone(),
        };
        let mut tasks = self.client.tasks();
        let answer = timed(tasks.delete_process(self.client.request(delete)?)).await?;
        Ok(answer.exit_status)
    }

    /// Starts it, waits for its end and deletes it, and only then reads to the end what it said on
    /// stdout: that may be held by what it has left behind.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn run_before_it_is_read(mut self) -> Result<(u32, String)> {
        self.start().await?;
        let code = self.wait().await?;
        self.delete().await?;
        let (stdout, _) = self.stdio.drain().await?;
        Ok((code, String::from_utf8_lossy(&stdout).into_owned()))
    }

    /// Starts it, waits for its end and deletes it: its exit status, stdout and stderr.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn run(mut self) -> Result<(u32, String, String)> {
        self.start().await?;
        if !self.stdio.paths()[0].is_empty() {
            self.stdio.written().await?;
            self.close_stdin().await?;
        }
        let code = self.wait().await?;
        let (stdout, stderr) = self.stdio.drain().await?;
        self.delete().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((code, text(stdout), text(stderr)))
    }
}
