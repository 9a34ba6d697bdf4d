//! What a user types.

use super::Docker;
use crate::containerd::PATIENCE;
use crate::runtime::Runtime;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit code, -1 if a signal ended it.
    pub code: i32,
    /// What it wrote on stdout.
    pub out: String,
    /// What it wrote on stderr.
    pub err: String,
}

impl CommandOutput {
    /// Its stdout without the newline at its end.
    ///
    /// # Errors
    /// It failed.
    pub fn text(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}: {}", self.code, self.err);
        Ok(self.out.trim_end().to_owned())
    }
}

impl Docker {
    /// Runs `docker` with these arguments.
    ///
    /// # Errors
    /// It cannot be run, or does not come to an end; one that fails is no error.
    pub async fn docker(&self, args: &[&str]) -> Result<CommandOutput> {
        let mut command = self.client();
        command.args(args);
        finish(command, None).await
    }

    /// As [`Docker::docker`], and types `input` first.
    ///
    /// # Errors
    /// As for [`Docker::docker`].
    pub async fn docker_reads(&self, input: &str, args: &[&str]) -> Result<CommandOutput> {
        let mut command = self.client();
        command.args(args);
        finish(command, Some(input)).await
    }

    /// What `docker` says on stdout, trimmed at its end.
    ///
    /// # Errors
    /// It fails.
    pub async fn says(&self, args: &[&str]) -> Result<String> {
        let said = self.docker(args).await?;
        said.text()
            .with_context(|| format!("docker {}", args.join(" ")))
    }

    /// `run --rm` on the runtime under test, with these further arguments.
    ///
    /// # Errors
    /// As for [`Docker::docker`].
    pub async fn run(&self, args: &[&str]) -> Result<CommandOutput> {
        self.docker(&[&["run", "--rm", "--runtime", self.flag()], args].concat())
            .await
    }

    /// What a container says that [`Docker::run`] runs.
    ///
    /// # Errors
    /// It fails.
    pub async fn run_says(&self, args: &[&str]) -> Result<String> {
        let said = self.run(args).await?;
        said.text()
            .with_context(|| format!("docker run {}", args.join(" ")))
    }

    /// `run --detach` of a container called `name`.
    ///
    /// # Errors
    /// It fails.
    pub async fn up(&self, name: &str, args: &[&str]) -> Result<String> {
        let run = ["run", "--detach", "--name", name, "--runtime", self.flag()];
        self.says(&[&run[..], args].concat()).await
    }

    /// `exec` with these arguments.
    ///
    /// # Errors
    /// As for [`Docker::docker`].
    pub async fn exec(&self, args: &[&str]) -> Result<CommandOutput> {
        self.docker(&[&["exec"], args].concat()).await
    }

    /// What a process says that [`Docker::exec`] runs.
    ///
    /// # Errors
    /// It fails.
    pub async fn exec_says(&self, args: &[&str]) -> Result<String> {
        self.says(&[&["exec"], args].concat()).await
    }

    /// `inspect` by a template.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn inspect(&self, name: &str, template: &str) -> Result<String> {
        self.says(&["inspect", "--format", template, name]).await
    }

    /// The pid of a container's init.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn pid_of(&self, name: &str) -> Result<u32> {
        Ok(self.inspect(name, "{{.State.Pid}}").await?.parse()?)
    }

    /// Waits until `inspect` says `expected`.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until(&self, name: &str, template: &str, expected: &str) -> Result<()> {
        self.until_says(&["inspect", "--format", template, name], |said| {
            said.trim_end() == expected
        })
        .await
        .map(drop)
    }

    /// Waits until `docker` says what is expected, and returns that; both streams are looked at.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn until_says(&self, args: &[&str], is_so: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.docker(args).await?;
            let text = said.out + &said.err;
            if is_so(&text) {
                return Ok(text);
            }
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "docker {} still says: {text}", args.join(" "));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a URL gives in the network of dockerd, asked for until a server answers.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn fetch(&self, url: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut wget = self.in_network("busybox");
            wget.args(["wget", "-qO-", url]);
            let said = finish(wget, None).await?;
            if said.code == 0 {
                return Ok(said.out);
            }
            ensure!(Instant::now() < deadline, "{url}: {}", said.err);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What `--runtime` is given: Docker has a name of its own for runc.
    pub fn flag(&self) -> &'static str {
        match self.runtime() {
            Runtime::Medley => Runtime::Medley.name(),
            Runtime::Runc => "runc",
        }
    }
}

/// Runs a command to its end, and types `input` first.
///
/// # Errors
/// It cannot be run, or does not come to an end; one that fails is no error.
pub async fn finish(command: Command, input: Option<&str>) -> Result<CommandOutput> {
    let name = format!("{command:?}");
    let mut child = tokio::process::Command::from(command)
        .stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await?;
    }
    let done = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let done = done.with_context(|| format!("{name} does not end"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(CommandOutput {
        code: done.status.code().unwrap_or(-1),
        out: text(done.stdout),
        err: text(done.stderr),
    })
}
