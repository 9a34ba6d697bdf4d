//! The wire edge: the only module that knows protobuf and ttrpc.
//!
//! Serves the same task service under both of its names. containerd 1.x asks for
//! `containerd.task.v2.Task`; from 2.0 on it may ask for `containerd.task.v3.Task`, a renamed
//! copy.

mod event;
mod metrics;
mod parts;
mod request;
mod sandbox;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::sandbox_async;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::r#async::{Service as WireService, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code};

pub(crate) use event::envelope;
use parts::{pack, timestamp};
use request::{create_request, exec_request, size, update_request};

use crate::error::Error;
use crate::name::Name;
use crate::service::{Listed, Service};
use crate::status::Status;

const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";

/// The ttrpc services that answer for `service`.
#[must_use]
pub fn services(service: &Service) -> HashMap<String, WireService> {
    let mut services = HashMap::new();
    for name in [TASK_V2, TASK_V3] {
        let edge = Arc::new(Edge {
            service: service.clone(),
        });
        services.extend(
            create_task(edge)
                .into_values()
                .map(|methods| (name.to_owned(), methods)),
        );
    }
    let edge = Arc::new(Edge {
        service: service.clone(),
    });
    services.extend(sandbox_async::create_sandbox(edge));
    services
}

/// Which code containerd sees for which error. Clients compare codes, people read the text.
#[must_use]
pub fn code(error: &Error) -> Code {
    match error {
        Error::NotFound { .. } | Error::Finished { .. } => Code::NOT_FOUND,
        Error::Exists { .. } => Code::ALREADY_EXISTS,
        Error::IllegalState { .. } | Error::Precondition { .. } => Code::FAILED_PRECONDITION,
        Error::Invalid(_) => Code::INVALID_ARGUMENT,
        Error::Unimplemented { .. } => Code::UNIMPLEMENTED,
        Error::Ending { .. } => Code::UNAVAILABLE,
        Error::Runtime { .. } => Code::UNKNOWN,
        Error::Internal { .. } => Code::INTERNAL,
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        ttrpc::Error::RpcStatus(ttrpc::get_status(code(&error), error.sentence()))
    }
}

struct Edge {
    service: Service,
}

fn unimplemented<T>(call: &'static str) -> ttrpc::Result<T> {
    Err(Error::Unimplemented { call }.into())
}

#[async_trait]
impl Task for Edge {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        let pid = self.service.create(create_request(request)?).await?;
        Ok(api::CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        let pid = match request.exec_id.as_str() {
            "" => self.service.start(&request.id).await?,
            exec_id => self.service.start_exec(&request.id, exec_id).await?,
        };
        Ok(api::StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let task = match request.exec_id.as_str() {
            "" => self.service.state(&request.id)?,
            exec_id => self.service.exec_state(&request.id, exec_id)?,
        };
        let exit = task.status.exit();
        let stdio = task.request.stdio;
        Ok(api::StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle: task.request.bundle.display().to_string(),
            pid: task.pid,
            status: status(task.status).into(),
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            exit_status: exit.map(|exit| exit.status).unwrap_or_default(),
            exited_at: exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        let exit = self.service.wait(&request.id, &request.exec_id).await?;
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        let (id, signal) = (&request.id, request.signal);
        match request.exec_id.as_str() {
            "" => self.service.kill(id, signal, request.all).await?,
            exec_id => self.service.kill_exec(id, exec_id, signal).await?,
        }
        Ok(Empty::new())
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        let (pid, exit) = match request.exec_id.as_str() {
            "" => self.service.delete(&request.id).await?,
            exec_id => self.service.delete_exec(&request.id, exec_id).await?,
        };
        Ok(api::DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        let listed = self.service.pids(&request.id).await?;
        let processes = listed.into_iter().map(process_info);
        let processes = processes
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Runtime {
                name: Name::task(&request.id),
                verb: "list the processes of",
                source: error.into(),
            })?;
        Ok(api::PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        let metrics = self.service.metrics(&request.id).await?;
        let stats = metrics::any(&metrics).map_err(|error| Error::Runtime {
            name: Name::task(&request.id),
            verb: "encode the metrics of",
            source: error.into(),
        })?;
        Ok(api::StatsResponse {
            stats: Some(stats).into(),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self
                .service
                .state(&request.id)
                .map(|task| task.pid)
                .unwrap_or_default(),
            ..Default::default()
        })
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> ttrpc::Result<Empty> {
        if request.stdin {
            self.service.close_stdin(&request.id, &request.exec_id)?;
        }
        Ok(Empty::new())
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        self.service.shutdown();
        Ok(Empty::new())
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> ttrpc::Result<Empty> {
        self.service.pause(&request.id).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> ttrpc::Result<Empty> {
        self.service.resume(&request.id).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        unimplemented("Checkpoint")
    }

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> ttrpc::Result<Empty> {
        self.service.exec(exec_request(request)?).await?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let size = size(&request)?;
        self.service
            .resize(&request.id, &request.exec_id, size)
            .await?;
        Ok(Empty::new())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let (id, resources) = update_request(request)?;
        self.service.update(&id, resources).await?;
        Ok(Empty::new())
    }
}

/// One line of Pids. containerd tells by the details which exec a process is.
fn process_info(
    listed: Listed,
) -> Result<api::ProcessInfo, containerd_shim_protos::protobuf::Error> {
    let details = |exec_id| {
        let details = ProcessDetails {
            exec_id,
            ..Default::default()
        };
        pack("containerd.runc.v1.ProcessDetails", &details)
    };
    Ok(api::ProcessInfo {
        pid: listed.pid,
        info: listed.exec_id.map(details).transpose()?.into(),
        ..Default::default()
    })
}

fn status(status: Status) -> api::Status {
    match status {
        Status::Created | Status::Starting => api::Status::CREATED,
        Status::Running | Status::Resuming => api::Status::RUNNING,
        Status::Pausing => api::Status::PAUSING,
        Status::Paused => api::Status::PAUSED,
        Status::Stopped(_) | Status::Deleting(_) => api::Status::STOPPED,
    }
}

#[cfg(test)]
mod tests;
