//! Requests, checked for what can be seen before anything is tried.

use containerd_shim_protos::api;

use crate::error::{Cause, Error};
use crate::runtime::{CreateRequest, ExecRequest, Size};
use medley_types::{Cancel, RootfsMount, StdioPaths};

/// What is wrong with a request before anything was tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the request names no task id")]
    NoId,
    #[error("the request names no exec id for a process of task {id:?}")]
    NoExecId { id: String },
    #[error("the request has no process to run in task {id:?}")]
    NoProcess { id: String },
    #[error("the request has no resources for task {id:?}")]
    NoResources { id: String },
    #[error(
        "the resources for task {id:?} are a {kind:?}, not the OCI runtime spec's LinuxResources"
    )]
    Resources { id: String, kind: String },
    #[error("a terminal of {columns} columns and {rows} rows is too large: 65535 is the most")]
    Size { rows: u32, columns: u32 },
    #[error("the bundle of task {id:?} is {bundle:?}, which is not an absolute path")]
    Bundle { id: String, bundle: String },
}

pub(super) fn create_request(request: api::CreateTaskRequest) -> Result<CreateRequest, Error> {
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
        return Err(Error::Unimplemented {
            call: "Create from a checkpoint",
        });
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
        stdio: StdioPaths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        options: request
            .options
            .into_option()
            .map(|any| (any.type_url, any.value)),
        cancel: Cancel::default(),
    })
}

/// An exec. The process is the OCI runtime spec's, as JSON.
pub(super) fn exec_request(request: api::ExecProcessRequest) -> Result<ExecRequest, Error> {
    if request.id.is_empty() {
        return Err(invalid(Malformed::NoId));
    }
    if request.exec_id.is_empty() {
        return Err(invalid(Malformed::NoExecId { id: request.id }));
    }
    let Some(process) = request.spec.into_option() else {
        return Err(invalid(Malformed::NoProcess { id: request.id }));
    };
    Ok(ExecRequest {
        id: request.id,
        exec_id: request.exec_id,
        stdio: StdioPaths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        process: process.value,
    })
}

/// The task's id, and the OCI runtime spec's `linux.resources` as JSON.
pub(super) fn update_request(request: api::UpdateTaskRequest) -> Result<(String, Vec<u8>), Error> {
    let Some(resources) = request.resources.into_option() else {
        return Err(invalid(Malformed::NoResources { id: request.id }));
    };
    // `types.containerd.io/opencontainers/runtime-spec/1/LinuxResources`
    if !resources.type_url.ends_with("/LinuxResources") {
        return Err(invalid(Malformed::Resources {
            id: request.id,
            kind: resources.type_url,
        }));
    }
    Ok((request.id, resources.value))
}

/// A terminal's size, which the kernel counts in 16 bits.
pub(super) fn size(request: &api::ResizePtyRequest) -> Result<Size, Error> {
    match (request.height.try_into(), request.width.try_into()) {
        (Ok(rows), Ok(columns)) => Ok(Size { rows, columns }),
        _ => Err(invalid(Malformed::Size {
            rows: request.height,
            columns: request.width,
        })),
    }
}

fn invalid(reason: Malformed) -> Error {
    Error::Invalid(Cause::from(reason))
}
