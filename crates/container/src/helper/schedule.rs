//! How a process that is added to a container is scheduled: as its own spec says, or else as its
//! container's.

use std::io;

use medley_sys::schedule::{self, Scheduler as Attributes};
use oci_spec::runtime::{
    IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler, Spec,
};

/// Why it can't be scheduled so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot set the ioPriority of the process to {priority} of its class")]
    IoPriority { priority: i64, source: io::Error },
    #[error("cannot set the scheduler of the process to {policy:?}")]
    Scheduler {
        policy: LinuxSchedulerPolicy,
        source: io::Error,
    },
    #[error("cannot run the process on the processors {list:?} of execCPUAffinity")]
    Affinity { list: String, source: io::Error },
}

/// What a process is to have of the kernel's schedulers.
pub(crate) struct Schedule {
    io_priority: Option<(u8, i64)>,
    scheduler: Option<Scheduler>,
    /// The processors until it is in the container's cgroup, and from then on.
    affinity: (Option<String>, Option<String>),
}

impl Schedule {
    /// That of `process` in the container of `spec`.
    pub(crate) fn of(process: &Process, spec: &Spec) -> Self {
        let inits = spec.process().as_ref();
        let io_priority = process.io_priority();
        let io_priority = io_priority.or_else(|| *inits?.io_priority());
        let scheduler = process.scheduler().clone();
        let affinity = process.exec_cpu_affinity().clone();
        let affinity = affinity.or_else(|| inits?.exec_cpu_affinity().clone());
        let list = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        Self {
            io_priority: io_priority.map(|own| (class(&own.class()), own.priority())),
            scheduler: scheduler.or_else(|| inits?.scheduler().clone()),
            affinity: affinity.map_or((None, None), |own| {
                (list(own.initial()), list(own.cpu_affinity_final()))
            }),
        }
    }

    /// Before this process is in the container's cgroup.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn begin(&self) -> Result<(), Error> {
        match self.affinity.0.as_deref() {
            Some(list) => run_on(Some(list))?,
            None => run_anywhere(),
        }
        if log::log_enabled!(log::Level::Debug)
            && let Ok(mask) = schedule::affinity()
        {
            log::debug!("nsexec[{}]: affinity: {mask}", std::process::id());
        }
        Ok(())
    }

    /// Once it is there, and has root's rights still.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn settle(&self) -> Result<(), Error> {
        run_on(self.affinity.1.as_deref())?;
        if let Some((class, priority)) = self.io_priority {
            schedule::set_io_priority(class, priority)
                .map_err(|source| Error::IoPriority { priority, source })?;
        }
        Ok(())
    }

    /// In the process itself: a policy may be one that no clone inherits, or that lets none be made.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn take_policy(&self) -> Result<(), Error> {
        if let Some(scheduler) = &self.scheduler {
            schedule::set_scheduler(attributes(scheduler)).map_err(|source| Error::Scheduler {
                policy: *scheduler.policy(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Undoes what the shim, or the command, was bound to. It is no more than a binding.
pub(super) fn run_anywhere() {
    if let Err(error) = schedule::run_anywhere() {
        log::debug!("the processors stay those of who asked: {error}");
    }
}

fn run_on(list: Option<&str>) -> Result<(), Error> {
    let Some(list) = list else {
        return Ok(());
    };
    schedule::set_affinity(list).map_err(|source| Error::Affinity {
        list: list.to_owned(),
        source,
    })
}

/// The kernel's number of a class.
fn class(class: &IOPriorityClass) -> u8 {
    match class {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    }
}

/// The kernel's numbers of a scheduler.
fn attributes(scheduler: &Scheduler) -> Attributes {
    let flags = scheduler.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    Attributes {
        policy: match scheduler.policy() {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        },
        flags: flags.fold(0, |all, flag| all | flag),
        nice: scheduler.nice().unwrap_or_default(),
        // What is no priority is none that the kernel takes either.
        priority: u32::try_from(scheduler.priority().unwrap_or_default()).unwrap_or(u32::MAX),
        runtime: scheduler.runtime().unwrap_or_default(),
        deadline: scheduler.deadline().unwrap_or_default(),
        period: scheduler.period().unwrap_or_default(),
        ..Attributes::default()
    }
}
