//! Ends, told in the order that containerd relies on.

use std::sync::Arc;
use std::time::Duration;

use crate::events::{Event, Events};
use crate::runtime::{Exit, Process};
use crate::state::{Exec, Life, Status, Task};

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
                () = task.container.memory_event() => tell_oom(&task, &events).await,
            }
        }
    };
    tell_oom(&task, &events).await;
    task.life.when(Status::not_starting).await;
    let ends = async {
        for exec in task.every_exec() {
            exec.life.when(at_rest).await;
        }
    };
    if tokio::time::timeout(EXECS_END, ends).await.is_err() {
        log::warn!(
            "{} has ended, and not every exec of it within {EXECS_END:?}",
            task.life.name
        );
    }
    tell(&*task.container, &task.life, exit, &events);
}

/// Waits for an exec's end and tells it. It runs: its start event is out.
pub(super) async fn exec(exec: Arc<Exec>, events: Events) {
    let exit = exec.process.exited().await;
    tell(&*exec.process, &exec.life, exit, &events);
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

fn tell(process: &dyn Process, life: &Life, exit: Exit, events: &Events) {
    // No call sees the one without the other: the runtime has one thread, and nothing waits here.
    events.send(Event::Exit {
        name: life.name.clone(),
        pid: process.pid(),
        exit,
    });
    let stopped = life.advance("stop", |status| match status {
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

async fn tell_oom(task: &Task, events: &Events) {
    if task.container.oom_killed().await {
        events.send(Event::Oom {
            id: task.id().to_owned(),
        });
    }
}
