//! The calls of the task service.

use super::{PATIENCE, Shim, TASK_V2};
use crate::stdio::Stdio;
use anyhow::Result;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::ttrpc;
use std::path::Path;
use ttrpc::asynchronous::Client;

impl Shim {
    /// Connects to the socket of a shim that a containerd has started.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let address = format!("unix://{}", socket.display());
        let client = Client::connect(&address).await?;
        Ok(Self {
            client,
            service: TASK_V2.to_owned(),
            answer: String::new(),
            address,
        })
    }

    /// The same connection, calling the task service by another name.
    #[must_use]
    pub fn speaking(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// Calls a method of the task service.
    ///
    /// # Errors
    /// The shim's answer, a [`ttrpc::Error`].
    pub async fn call<Q: Message, A: Message>(&self, method: &str, question: &Q) -> Result<A> {
        let request = ttrpc::Request {
            service: self.service.clone(),
            method: method.to_owned(),
            timeout_nano: i64::try_from(PATIENCE.as_nanos())?,
            payload: question.write_to_bytes()?,
            ..Default::default()
        };
        let answer = self.client.request(request).await?;
        Ok(A::parse_from_bytes(&answer.payload)?)
    }

    /// Create.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn create(&self, id: &str, bundle: &Path, stdio: &Stdio) -> Result<u32> {
        let [stdin, stdout, stderr] = stdio.paths();
        let bundle = bundle.to_string_lossy().into_owned();
        let id = id.to_owned();
        let create = api::CreateTaskRequest {
            id,
            bundle,
            stdin,
            stdout,
            stderr,
            ..Default::default()
        };
        Ok(self
            .call::<_, api::CreateTaskResponse>("Create", &create)
            .await?
            .pid)
    }

    /// Start.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn start(&self, id: &str) -> Result<u32> {
        let start = api::StartRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        Ok(self
            .call::<_, api::StartResponse>("Start", &start)
            .await?
            .pid)
    }

    /// Wait; returns the exit status.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn wait(&self, id: &str) -> Result<u32> {
        let wait = api::WaitRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        Ok(self
            .call::<_, api::WaitResponse>("Wait", &wait)
            .await?
            .exit_status)
    }

    /// Delete; returns the exit status.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn delete(&self, id: &str) -> Result<u32> {
        let delete = api::DeleteRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        Ok(self
            .call::<_, api::DeleteResponse>("Delete", &delete)
            .await?
            .exit_status)
    }

    /// Connect; returns the pids of the shim and of init.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn pids(&self, id: &str) -> Result<(u32, u32)> {
        let connect = api::ConnectRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        let answer = self
            .call::<_, api::ConnectResponse>("Connect", &connect)
            .await?;
        Ok((answer.shim_pid, answer.task_pid))
    }

    /// Shutdown. The connection may go before the answer does.
    pub async fn shutdown(&self, id: &str) {
        let shutdown = api::ShutdownRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        self.call::<_, Empty>("Shutdown", &shutdown).await.ok();
    }
}
