//! The wire edge: the only module that knows protobuf and ttrpc.
//!
//! Serves the same task service under both of its names. containerd 1.x asks for
//! `containerd.task.v2.Task`; from 2.0 on it may ask for `containerd.task.v3.Task`, a renamed
//! copy.

mod event;
mod metrics;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::r#async::{Service as WireService, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code};

pub(crate) use event::envelope;

use crate::error::{Cause, Error};
use crate::runtime::{CreateRequest, RootfsMount};
use crate::service::Service;
use crate::state::Status;

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
    services
}

/// Which code containerd sees for which error. Clients compare codes, people read the text.
#[must_use]
pub fn code(error: &Error) -> Code {
    match error {
        Error::NoSuchTask { .. } | Error::NoSuchExec { .. } | Error::Finished { .. } => {
            Code::NOT_FOUND
        }
        Error::Exists { .. } => Code::ALREADY_EXISTS,
        Error::IllegalState { .. } => Code::FAILED_PRECONDITION,
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

/// Refuses calls that name an exec process: this version has none.
fn init_only(id: &str, exec_id: &str) -> Result<(), Error> {
    if exec_id.is_empty() {
        Ok(())
    } else {
        Err(Error::NoSuchExec {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
        })
    }
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
        init_only(&request.id, &request.exec_id)?;
        let pid = self.service.start(&request.id).await?;
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
        init_only(&request.id, &request.exec_id)?;
        let task = self.service.state(&request.id)?;
        let exit = task.status.exit();
        Ok(api::StateResponse {
            id: request.id,
            bundle: task.request.bundle.display().to_string(),
            pid: task.pid,
            status: status(task.status).into(),
            stdin: task.request.stdin,
            stdout: task.request.stdout,
            stderr: task.request.stderr,
            terminal: task.request.terminal,
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
        init_only(&request.id, &request.exec_id)?;
        let exit = self.service.wait(&request.id).await?;
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        init_only(&request.id, &request.exec_id)?;
        self.service
            .kill(&request.id, request.signal, request.all)
            .await?;
        Ok(Empty::new())
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        init_only(&request.id, &request.exec_id)?;
        let (pid, exit) = self.service.delete(&request.id).await?;
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
        let pids = self.service.pids(&request.id).await?;
        let process = |pid| api::ProcessInfo {
            pid,
            ..Default::default()
        };
        Ok(api::PidsResponse {
            processes: pids.into_iter().map(process).collect(),
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
            id: request.id,
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
        init_only(&request.id, &request.exec_id)?;
        if request.stdin {
            self.service.close_stdin(&request.id)?;
        }
        Ok(Empty::new())
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        self.service.shutdown();
        Ok(Empty::new())
    }

    async fn pause(&self, _: &TtrpcContext, _: api::PauseRequest) -> ttrpc::Result<Empty> {
        unimplemented("Pause")
    }

    async fn resume(&self, _: &TtrpcContext, _: api::ResumeRequest) -> ttrpc::Result<Empty> {
        unimplemented("Resume")
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        unimplemented("Checkpoint")
    }

    async fn exec(&self, _: &TtrpcContext, _: api::ExecProcessRequest) -> ttrpc::Result<Empty> {
        unimplemented("Exec")
    }

    async fn resize_pty(&self, _: &TtrpcContext, _: api::ResizePtyRequest) -> ttrpc::Result<Empty> {
        unimplemented("ResizePty")
    }

    async fn update(&self, _: &TtrpcContext, _: api::UpdateTaskRequest) -> ttrpc::Result<Empty> {
        unimplemented("Update")
    }
}

/// What is wrong with a request before anything was tried.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("the request names no task id")]
    NoId,
    #[error("the bundle of task {id:?} is {bundle:?}, which is not an absolute path")]
    Bundle { id: String, bundle: String },
    #[error("task {id:?} is to be restored from a checkpoint, which this version cannot do")]
    Checkpoint { id: String },
}

fn create_request(request: api::CreateTaskRequest) -> Result<CreateRequest, Error> {
    let invalid = |reason: Malformed| Error::Invalid(Cause::from(reason));
    if request.id.is_empty() {
        return Err(invalid(Malformed::NoId));
    }
    if !request.bundle.starts_with('/') {
        return Err(invalid(Malformed::Bundle {
            id: request.id,
            bundle: request.bundle,
        }));
    }
    if !request.checkpoint.is_empty() {
        return Err(invalid(Malformed::Checkpoint { id: request.id }));
    }
    Ok(CreateRequest {
        id: request.id,
        bundle: request.bundle.into(),
        rootfs: request
            .rootfs
            .into_iter()
            .map(|mount| RootfsMount {
                kind: mount.type_,
                source: mount.source,
                target: mount.target,
                options: mount.options,
            })
            .collect(),
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
        options: request
            .options
            .into_option()
            .map(|any| (any.type_url, any.value)),
    })
}

fn status(status: Status) -> api::Status {
    match status {
        Status::Created | Status::Starting => api::Status::CREATED,
        Status::Running => api::Status::RUNNING,
        Status::Stopped(_) | Status::Deleting(_) => api::Status::STOPPED,
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Default::default()
    }
}

/// Packs a message under containerd's bare type name.
///
/// The name is given, not asked of the message: protobuf's reflection would build and keep
/// every descriptor of the file for it.
fn pack(
    name: &str,
    message: &impl Message,
) -> Result<Any, containerd_shim_protos::protobuf::Error> {
    Ok(Any {
        type_url: name.to_owned(),
        value: message.write_to_bytes()?,
        ..Default::default()
    })
}

/// `Some` for a message that is present.
fn present<T>(message: T) -> MessageField<T> {
    MessageField::some(message)
}

#[cfg(test)]
mod tests;
