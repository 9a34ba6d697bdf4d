//! What a client does with the terminal of a task or an exec.

use super::{Exec, Task, timed};
use anyhow::Result;
use containerd_client::services::v1 as api;
use std::io::Write;

impl Task {
    /// Types into its input, and lets go of it.
    ///
    /// # Errors
    /// It has no reader.
    pub async fn types(&self, text: &str) -> Result<()> {
        Ok(self.stdio.writer().await?.write_all(text.as_bytes())?)
    }

    /// Waits until it has said `text`, and returns everything that it said by then.
    ///
    /// # Errors
    /// It does not say it in time.
    pub async fn says(&self, text: &str) -> Result<String> {
        self.stdio.until(text).await
    }

    /// Lets go of its output, as a client that goes away does.
    ///
    /// # Errors
    /// It was let go of before.
    pub async fn detach(&mut self) -> Result<()> {
        self.stdio.detach().await
    }

    /// Reads its output again.
    pub fn attach(&mut self) {
        self.stdio.attach();
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        resize(&self.client, &self.id, "", width, height).await
    }
}

impl Exec {
    /// Types into its input, and lets go of it.
    ///
    /// # Errors
    /// It has no reader.
    pub async fn types(&self, text: &str) -> Result<()> {
        Ok(self.stdio.writer().await?.write_all(text.as_bytes())?)
    }

    /// Waits until it has said `text`, and returns everything that it said by then.
    ///
    /// # Errors
    /// It does not say it in time.
    pub async fn says(&self, text: &str) -> Result<String> {
        self.stdio.until(text).await
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        resize(&self.client, &self.task, &self.id, width, height).await
    }

    /// Starts it, waits for its end and deletes it: its exit status and what the terminal showed.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn run_terminal(mut self) -> Result<(u32, String)> {
        self.start().await?;
        let code = self.wait().await?;
        let said = self.output().await?;
        self.delete().await?;
        Ok((code, said))
    }

    /// What it wrote to stdout; waits until that is closed.
    ///
    /// # Errors
    /// It is not closed after it has ended.
    pub async fn output(&mut self) -> Result<String> {
        let (stdout, _) = self.stdio.drain().await?;
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

async fn resize(
    client: &super::Client,
    task: &str,
    exec_id: &str,
    width: u32,
    height: u32,
) -> Result<()> {
    let resize = api::ResizePtyRequest {
        container_id: task.to_owned(),
        exec_id: exec_id.to_owned(),
        width,
        height,
    };
    timed(client.tasks().resize_pty(client.request(resize)?)).await
}
