//! Events as containerd's envelopes.

use std::time::SystemTime;

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::Error;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::{api, topics};

use super::parts::{pack, present, timestamp};
use crate::events::Event;

/// The envelope of `event`, stamped with the time at which it is made.
pub(crate) fn envelope(namespace: &str, event: &Event) -> Result<Envelope, Error> {
    let (topic, body) = body(event)?;
    Ok(Envelope {
        timestamp: present(timestamp(SystemTime::now())),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: present(body),
        ..Default::default()
    })
}

fn body(event: &Event) -> Result<(&'static str, Any), Error> {
    Ok(match event {
        Event::Create { request, pid } => {
            let mount = |mount: &medley_types::RootfsMount| api::Mount {
                type_: mount.kind.clone(),
                source: mount.source.clone(),
                target: mount.target.clone(),
                options: mount.options.clone(),
                ..Default::default()
            };
            let create = TaskCreate {
                container_id: request.id.clone(),
                bundle: request.bundle.display().to_string(),
                rootfs: request.rootfs.iter().map(mount).collect(),
                io: present(TaskIO {
                    stdin: request.stdio.stdin.clone(),
                    stdout: request.stdio.stdout.clone(),
                    stderr: request.stdio.stderr.clone(),
                    terminal: request.stdio.terminal,
                    ..Default::default()
                }),
                pid: *pid,
                ..Default::default()
            };
            (
                topics::TASK_CREATE_EVENT_TOPIC,
                pack("containerd.events.TaskCreate", &create)?,
            )
        }
        Event::Start { id, pid } => {
            let start = TaskStart {
                container_id: id.clone(),
                pid: *pid,
                ..Default::default()
            };
            (
                topics::TASK_START_EVENT_TOPIC,
                pack("containerd.events.TaskStart", &start)?,
            )
        }
        Event::ExecAdded { id, exec_id } => {
            let added = TaskExecAdded {
                container_id: id.clone(),
                exec_id: exec_id.clone(),
                ..Default::default()
            };
            (
                topics::TASK_EXEC_ADDED_EVENT_TOPIC,
                pack("containerd.events.TaskExecAdded", &added)?,
            )
        }
        Event::ExecStarted { id, exec_id, pid } => {
            let started = TaskExecStarted {
                container_id: id.clone(),
                exec_id: exec_id.clone(),
                pid: *pid,
                ..Default::default()
            };
            (
                topics::TASK_EXEC_STARTED_EVENT_TOPIC,
                pack("containerd.events.TaskExecStarted", &started)?,
            )
        }
        Event::Paused { id } => {
            let paused = TaskPaused {
                container_id: id.clone(),
                ..Default::default()
            };
            (
                topics::TASK_PAUSED_EVENT_TOPIC,
                pack("containerd.events.TaskPaused", &paused)?,
            )
        }
        Event::Resumed { id } => {
            let resumed = TaskResumed {
                container_id: id.clone(),
                ..Default::default()
            };
            (
                topics::TASK_RESUMED_EVENT_TOPIC,
                pack("containerd.events.TaskResumed", &resumed)?,
            )
        }
        Event::Oom { id } => {
            let oom = TaskOOM {
                container_id: id.clone(),
                ..Default::default()
            };
            (
                topics::TASK_OOM_EVENT_TOPIC,
                pack("containerd.events.TaskOOM", &oom)?,
            )
        }
        Event::Exit { name, pid, exit } => {
            let exit = TaskExit {
                container_id: name.id.clone(),
                id: name.exec_id.as_ref().unwrap_or(&name.id).clone(),
                pid: *pid,
                exit_status: exit.status,
                exited_at: present(timestamp(exit.at)),
                ..Default::default()
            };
            (
                topics::TASK_EXIT_EVENT_TOPIC,
                pack("containerd.events.TaskExit", &exit)?,
            )
        }
        Event::Delete { id, pid, exit } => {
            let delete = TaskDelete {
                container_id: id.clone(),
                pid: *pid,
                exit_status: exit.status,
                exited_at: present(timestamp(exit.at)),
                ..Default::default()
            };
            (
                topics::TASK_DELETE_EVENT_TOPIC,
                pack("containerd.events.TaskDelete", &delete)?,
            )
        }
    })
}
