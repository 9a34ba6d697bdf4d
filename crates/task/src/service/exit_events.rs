//! Ends, told in the order that containerd relies on.

use std::sync::Arc;
use std::time::Duration;

use crate::events::{Event, Events};
use crate::exit::Exit;
use crate::runtime::Process;
use crate::state_machine::StateMachine;
use crate::status::Status;
use crate::task_record::{Exec, Task};

/// How long init's exit waits for those of its execs. The kernel kills them with init, or the
/// container's end does: this is for one that can't be killed.
const EXECS_END: Duration = Duration::from_secs(10);

/// Waits for init's end and tells it: never before the start event is out, after every kill for
/// want of memory, and after the end of every exec.
pub(super) async fn init(task: Arc<Task>, events: Events) {
    let exit = {
        let mut exited = task.container.exited();
        loop {
            tokio::select! {
                exit = &mut exited => break exit,
                () = task.container.memory_event() => publish_oom(&task, &events).await,
            }
        }
    };
    publish_oom(&task, &events).await;
    task.state.wait_for(Status::not_starting).await;
    let ends = async {
        for exec in task.every_exec() {
            exec.state.wait_for(at_rest).await;
        }
    };
    if tokio::time::timeout(EXECS_END, ends).await.is_err() {
        log::warn!(
            "{} has ended, and not every exec of it within {EXECS_END:?}",
            task.state.name
        );
    }
    publish_exit(&*task.container, &task.state, exit, &events);
}

/// Waits for an exec's end and tells it. It runs: its start event is out.
pub(super) async fn exec(exec: Arc<Exec>, events: Events) {
    let exit = exec.process.exited().await;
    publish_exit(&*exec.process, &exec.state, exit, &events);
}

/// Something, unless the process runs.
fn at_rest(status: Status) -> Option<()> {
    match status {
        Status::Created | Status::Stopped(_) | Status::Deleting(_) => Some(()),
        Status::Starting
        | Status::Running
        | Status::Pausing
        | Status::Paused
        | Status::Resuming => None,
    }
}

fn publish_exit(process: &dyn Process, state: &StateMachine, exit: Exit, events: &Events) {
    // No call sees the one without the other: the runtime has one thread, and nothing waits here.
    events.send(Event::Exit {
        name: state.name.clone(),
        pid: process.pid(),
        exit,
    });
    let stopped = state.transition_if("stop", |status| match status {
        // Starting, if Start came after init had died: it fails, and finds the task stopped.
        Status::Created
        | Status::Starting
        | Status::Running
        | Status::Pausing
        | Status::Paused
        | Status::Resuming => Some(Status::Stopped(exit)),
        Status::Stopped(_) | Status::Deleting(_) => None,
    });
    if let Err(error) = stopped {
        log::error!("{}", error.sentence());
    }
}

async fn publish_oom(task: &Task, events: &Events) {
    if task.container.oom_killed().await {
        events.send(Event::Oom {
            id: task.id().to_owned(),
        });
    }
}
