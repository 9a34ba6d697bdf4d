//! In the helper: a process between it and init. It changes what only a process's own namespaces and
//! limits can be, and clones init, which inherits them: of users and of time, and where systemd makes
//! the cgroup, which it does for a process that it knows by its pid.

use std::io;

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::namespaces::{NamespaceError, Namespaces};
use libcontainer::process::args::ContainerArgs;
use libcontainer::process::channel::{
    self, ChannelError, IntermediateReceiver, IntermediateSender, MainReceiver, MainSender,
};
use libcontainer::user_ns::{UserNamespaceConfig, UserNamespaceError};
use libcontainer::utils;
use medley_cgroup::Cgroup;
use medley_sys::clone::SingleThreaded;
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Spec};

/// Why there is no init.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Cgroup(#[from] medley_cgroup::Error),
    #[error("cgroup error: {0}")]
    Systemd(String),
    #[error(transparent)]
    Users(#[from] UserNamespaceError),
    #[error("cannot write the map of the user namespace")]
    Map(#[source] io::Error),
    #[error("cannot write the offsets of the time namespace")]
    Time(#[source] io::Error),
    #[error("cannot become root of the user namespace")]
    Root(#[source] io::Error),
    #[error("cannot change who may look into the process")]
    Dumpable(#[source] io::Error),
    #[error("cannot make the process")]
    Clone(#[source] io::Error),
    #[error("the process {0} has no name for libcontainer")]
    Pid(i32),
    #[error("the spec has no linux")]
    NoLinux,
    #[error(transparent)]
    Limits(Box<super::Error>),
    #[error(transparent)]
    Libcontainer(#[from] LibcontainerError),
}

/// Whether a spec needs such a process.
pub(super) fn is_needed(linux: &Linux) -> bool {
    let has = |wanted| super::namespace(linux, wanted).is_some();
    has(LinuxNamespaceType::User) || has(LinuxNamespaceType::Time)
}

/// What systemd is asked for.
pub(super) fn cgroup_config(spec: &Spec, id: &str) -> CgroupConfig {
    let path = spec
        .linux()
        .as_ref()
        .and_then(|it| it.cgroups_path().clone());
    CgroupConfig {
        cgroup_path: utils::get_cgroup_path(&path, id),
        systemd_cgroup: true,
        container_name: id.to_owned(),
    }
}

/// Clones it, has it clone init, which does `init`, and gives init's pid. Without `cgroup`, which is
/// there, systemd makes one.
pub(super) fn clone(
    alone: &SingleThreaded,
    args: &ContainerArgs,
    cgroup: Option<&Cgroup>,
    init: impl FnOnce() -> u8,
) -> Result<i32, super::Error> {
    let (mut to_us, mut from_it) = channel::main_channel()?;
    let (mut to_it, mut from_us) = channel::intermediate_channel()?;
    let between = alone
        .clone_waited(|| {
            let work = Between {
                alone,
                args,
                cgroup,
                channels: (&mut to_us, &mut from_us),
                ours: &to_it,
            };
            match work.run(init) {
                Ok(()) => 0,
                Err(error) => {
                    let text = medley_types::sentence(&error);
                    log::error!("failed to run intermediate process {text}");
                    if let Err(lost) = to_us.send_error(text) {
                        log::error!("and this could not be told to the helper: {lost}");
                    }
                    super::FAILED
                }
            }
        })
        .map_err(super::Error::Clone)?;
    to_us.close()?;
    serve(args, between.pid(), &mut from_it, &mut to_it)?;
    to_it.close()?;
    let pid = from_it.wait_for_intermediate_ready()?.as_raw();
    from_us.close()?;
    from_it.close()?;
    if let Err(error) = between.wait() {
        log::warn!("intermediate process: {error}");
    }
    Ok(pid)
}

/// In the helper: writes for it what it may not write itself.
fn serve(
    args: &ContainerArgs,
    pid: i32,
    from_it: &mut MainReceiver,
    to_it: &mut IntermediateSender,
) -> Result<(), Error> {
    if let Some(users) = &args.user_ns_config {
        from_it.wait_for_mapping_request()?;
        map(users, args, pid)?;
        to_it.mapping_written()?;
    }
    if let Some(offsets) = args.spec.linux().as_ref().and_then(time_offsets) {
        from_it.wait_for_time_offset_request()?;
        std::fs::write(format!("/proc/{pid}/timens_offsets"), offsets).map_err(Error::Time)?;
        to_it.time_offsets_written()?;
    }
    Ok(())
}

fn map(users: &UserNamespaceConfig, args: &ContainerArgs, pid: i32) -> Result<(), Error> {
    if !users.privileged {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").map_err(Error::Map)?;
    }
    let of_it = pid_of(args, pid)?;
    let pid = of_it.pid().ok_or(Error::Pid(pid))?;
    users.write_uid_mapping(pid)?;
    users.write_gid_mapping(pid)?;
    Ok(())
}

/// A container with this pid, of which the pid is of the type that libcontainer takes.
fn pid_of(args: &ContainerArgs, pid: i32) -> Result<Container, Error> {
    let mut container = args.container.clone().ok_or(Error::Pid(pid))?;
    container.set_status(ContainerStatus::Creating).set_pid(pid);
    Ok(container)
}

/// What the kernel reads the offsets of a new time namespace from.
fn time_offsets(linux: &Linux) -> Option<String> {
    let offsets = linux.time_offsets().as_ref().filter(|it| !it.is_empty())?;
    let time = super::namespace(linux, LinuxNamespaceType::Time)?;
    let line = |(clock, offset): (&String, &oci_spec::runtime::LinuxTimeOffset)| {
        let (secs, nanosecs) = (offset.secs(), offset.nanosecs());
        format!("{clock} {} {}", secs.unwrap_or(0), nanosecs.unwrap_or(0))
    };
    let lines: Vec<_> = offsets.iter().map(line).collect();
    time.path().is_none().then(|| lines.join("\n"))
}

/// The process itself.
struct Between<'a> {
    alone: &'a SingleThreaded,
    args: &'a ContainerArgs,
    cgroup: Option<&'a Cgroup>,
    channels: (&'a mut MainSender, &'a mut IntermediateReceiver),
    /// The helper's end of the channel to this process.
    ours: &'a IntermediateSender,
}

impl Between<'_> {
    fn run(self, init: impl FnOnce() -> u8) -> Result<(), Error> {
        let (to_helper, from_helper) = self.channels;
        self.ours.close()?;
        let spec = &self.args.spec;
        let linux = spec.linux().as_ref().ok_or(Error::NoLinux)?;
        let namespaces = Namespaces::try_from(linux.namespaces().as_ref())?;
        match self.cgroup {
            Some(cgroup) => cgroup.enter(false)?,
            None => join_by_systemd(self.args, linux.resources().as_ref())?,
        }
        if let Some(users) = namespaces.get(LinuxNamespaceType::User)? {
            namespaces.unshare_or_setns(users)?;
            if users.path().is_none() {
                // What writes its map has to be let at it.
                while_dumpable(|| {
                    to_helper.identifier_mapping_request()?;
                    from_helper.wait_for_mapping_ack()
                })?;
            }
            self.alone.become_root().map_err(Error::Root)?;
        }
        super::limit(spec).map_err(|error| Error::Limits(Box::new(error)))?;
        if let Some(time) = namespaces.get(LinuxNamespaceType::Time)? {
            namespaces.unshare_or_setns(time)?;
            if time_offsets(linux).is_some() {
                while_dumpable(|| {
                    to_helper.time_offset_request()?;
                    from_helper.wait_for_time_offsets_ack()
                })?;
            }
        }
        if let Some(pids) = namespaces.get(LinuxNamespaceType::Pid)? {
            namespaces.unshare_or_setns(pids)?;
        }
        let pid = self.alone.clone_sibling(init).map_err(Error::Clone)?;
        let init = pid_of(self.args, pid)?.pid().ok_or(Error::Pid(pid))?;
        Ok(to_helper.intermediate_ready(init)?)
    }
}

fn while_dumpable(ask: impl FnOnce() -> Result<(), ChannelError>) -> Result<(), Error> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let set =
        |behavior| set_dumpable_behavior(behavior).map_err(|errno| Error::Dumpable(errno.into()));
    set(DumpableBehavior::Dumpable)?;
    ask()?;
    set(DumpableBehavior::NotDumpable)
}

/// Has systemd make a scope with this process in it.
fn join_by_systemd(args: &ContainerArgs, resources: Option<&LinuxResources>) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Systemd(error.to_string());
    let manager =
        create_cgroup_manager(args.cgroup_config.clone()).map_err(|error| failed(&error))?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let own = pid_of(args, own)?.pid().ok_or(Error::Pid(own))?;
    manager.add_task(own).map_err(|error| failed(&error))?;
    let Some(resources) = resources else {
        return Ok(());
    };
    let options = ControllerOpt {
        resources,
        freezer_state: None,
        oom_score_adj: None,
        disable_oom_killer: false,
    };
    manager.apply(&options).map_err(|error| failed(&error))
}
