//! Processes in a container: exec probes, and `kubectl exec` over the streaming server.

use super::{CriContainer, Streams, request, timed};
use anyhow::{Context, Result, bail};
use k8s_cri::v1;

/// What a process said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl CriContainer {
    /// Runs a command to its end, as an exec probe does. No `timeout`, in seconds, is 0.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn exec_sync(&self, command: &[&str], timeout: i64) -> Result<Executed> {
        let ask = v1::ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            timeout,
        };
        let answer = timed(self.cri.runtime.clone().exec_sync(request(ask))).await?;
        Ok(Executed {
            code: answer.exit_code,
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
        })
    }

    /// Runs a command as `kubectl exec -i` does, and sends it `input`, whose end it can't be told.
    ///
    /// # Errors
    /// The CRI plugin's answer, or that of its streaming server.
    pub async fn exec(&self, command: &[&str], input: &str) -> Result<Executed> {
        let mut streams = self.exec_streams(command).await?;
        streams.send(input.as_bytes()).await?;
        let executed = read(&mut streams).await;
        streams.close().await;
        executed.with_context(|| format!("{command:?} does not end"))
    }

    /// Runs a command as `kubectl exec -i` does, for as long as one talks to it.
    ///
    /// # Errors
    /// The CRI plugin's answer, or that of its streaming server.
    pub async fn exec_streams(&self, command: &[&str]) -> Result<Streams> {
        self.exec_with(command, false).await
    }

    /// Runs a command on a terminal of its own, as `kubectl exec -it` does.
    ///
    /// # Errors
    /// As for [`CriContainer::exec_streams`].
    pub async fn exec_on_a_terminal(&self, command: &[&str]) -> Result<Streams> {
        self.exec_with(command, true).await
    }

    async fn exec_with(&self, command: &[&str], tty: bool) -> Result<Streams> {
        let ask = v1::ExecRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            tty,
            stdin: true,
            stdout: true,
            // A terminal has but one output.
            stderr: !tty,
        };
        let answer = timed(self.cri.runtime.clone().exec(request(ask))).await?;
        Streams::open(&answer.url).await
    }
}

/// Reads the streams of a process to their end.
async fn read(streams: &mut Streams) -> Result<Executed> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((stream, bytes)) = streams.next().await? {
        match stream {
            Streams::STDOUT => stdout.extend(bytes),
            Streams::STDERR => stderr.extend(bytes),
            Streams::STATUS => {
                return Ok(Executed {
                    code: exit_code(&bytes)?,
                    stdout: String::from_utf8_lossy(&stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&stderr).into_owned(),
                });
            }
            _ => {}
        }
    }
    bail!("the streams ended without a status")
}

/// The exit code of Kubernetes' `Status` object.
fn exit_code(status: &[u8]) -> Result<i32> {
    let status: serde_json::Value = serde_json::from_slice(status)?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode");
    let code = code.with_context(|| format!("no exit code in {status}"))?;
    Ok(code["message"].as_str().unwrap_or_default().parse()?)
}
