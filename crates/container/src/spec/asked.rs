//! What a spec asks for that would be passed over in silence: it is refused, by its place and with
//! what would help, or told in the log. Limits are for `medley_cgroup` to set or refuse.
//!
//! The tests hold a list of every field that a spec can have, and of what becomes of it.

use oci_spec::runtime::{
    Capabilities, Capability, Hook, Hooks, Linux, LinuxDeviceType, LinuxNamespaceType,
    LinuxSeccompAction, Spec,
};

use self::refused::refused;
use super::propagation;

#[cfg(test)]
mod fields;
mod process;
mod refused;
#[cfg(test)]
mod tests;

pub(crate) use process::check_process;
pub(crate) use refused::Refused;

/// Refuses what is not done.
pub(crate) fn check(spec: &Spec) -> Result<(), Refused> {
    if let Some(hooks) = spec.hooks() {
        check_hooks(hooks)?;
    }
    if let Some(process) = spec.process() {
        check_process(process)?;
    }
    check_name("hostname", spec.hostname().as_deref())?;
    check_name("domainname", spec.domainname().as_deref())?;
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    check_namespaces(linux)?;
    check_user_namespace(linux)?;
    check_filter(linux)?;
    check_devices(linux)?;
    check_propagation(linux)?;
    check_personality(linux)?;
    check_agent(linux)
}

/// A hook as the OCI runtime spec has it: with an absolute path, and a timeout that is none or more
/// than nothing.
fn check_hooks(hooks: &Hooks) -> Result<(), Refused> {
    #[allow(deprecated, reason = "a spec may have them, and they are run")]
    let kinds = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            check_hook(&format!("hooks.{kind}[{index}]"), hook)?;
        }
    }
    Ok(())
}

fn check_hook(place: &str, hook: &Hook) -> Result<(), Refused> {
    let path = hook.path();
    if !path.is_absolute() {
        let what = format!("is {path:?}: it has to be an absolute path");
        return refused(format!("{place}.path"), what);
    }
    match hook.timeout() {
        Some(timeout) if timeout <= 0 => {
            let what = format!("is {timeout}: it has to be a number of seconds, or left out");
            refused(format!("{place}.timeout"), what)
        }
        _ => Ok(()),
    }
}

/// Refuses a hostname or domainname that is longer than the kernel takes.
fn check_name(place: &str, name: Option<&str>) -> Result<(), Refused> {
    const LONGEST: usize = 64;
    match name.map(str::len) {
        Some(length) if length > LONGEST => {
            let what = format!("has {length} bytes: it has to have {LONGEST} at most");
            refused(place, what)
        }
        _ => Ok(()),
    }
}

/// Refuses a new user namespace without mappings: it has no ids, so no process in it could be root.
fn check_user_namespace(linux: &Linux) -> Result<(), Refused> {
    let mut namespaces = linux.namespaces().iter().flatten();
    let is_new =
        namespaces.any(|one| one.typ() == LinuxNamespaceType::User && one.path().is_none());
    let mappings = [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ];
    for (place, mappings) in mappings {
        if is_new && mappings.as_ref().is_none_or(Vec::is_empty) {
            return refused(
                place,
                "is missing, which a new user namespace takes its ids from",
            );
        }
    }
    Ok(())
}

/// Refuses a rule for pipes, which neither version of cgroups has: it would be one for all devices of its
/// numbers.
fn check_devices(linux: &Linux) -> Result<(), Refused> {
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_deref());
    for (rule, device) in rules.unwrap_or_default().iter().enumerate() {
        if device.typ() == Some(LinuxDeviceType::P) {
            let place = format!("linux.resources.devices[{rule}].type");
            return refused(place, "is p: a rule is for devices of the type a, b or c");
        }
    }
    Ok(())
}

/// Refuses a seccomp rule for more arguments than the six that a system call has.
fn check_filter(linux: &Linux) -> Result<(), Refused> {
    const ARGUMENTS: usize = 6;
    let seccomp = linux.seccomp().as_ref();
    let rules = seccomp.and_then(|seccomp| seccomp.syscalls().as_deref());
    for (rule, call) in rules.unwrap_or_default().iter().enumerate() {
        for (at, argument) in call.args().iter().flatten().enumerate() {
            if argument.index() >= ARGUMENTS {
                let place = format!("linux.seccomp.syscalls[{rule}].args[{at}].index");
                let what = format!("is {}: a call's arguments are 0 to 5", argument.index());
                return refused(place, what);
            }
        }
    }
    Ok(())
}

fn check_namespaces(linux: &Linux) -> Result<(), Refused> {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in namespaces.iter().enumerate() {
        let kind = namespace.typ();
        if namespaces[..index].iter().any(|one| one.typ() == kind) {
            let what = format!("names the namespace {kind} for the second time: name it once");
            return refused(format!("linux.namespaces[{index}]"), what);
        }
    }
    Ok(())
}

fn check_propagation(linux: &Linux) -> Result<(), Refused> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(()),
        Some(word) if propagation::Kind::of_option(word).is_some() => Ok(()),
        Some(word) => {
            let words = propagation::Kind::WORDS.map(|(_, word)| word).join(", ");
            let what = format!("is {word:?}, which is none of {words}, or these after an \"r\"");
            refused("linux.rootfsPropagation", what)
        }
    }
}

fn check_personality(linux: &Linux) -> Result<(), Refused> {
    let flags = linux
        .personality()
        .as_ref()
        .and_then(|it| it.flags().as_ref());
    match flags {
        Some(flags) if !flags.is_empty() => refused(
            "linux.personality.flags",
            "has flags, none of which exists yet: leave it out",
        ),
        _ => Ok(()),
    }
}

fn check_agent(linux: &Linux) -> Result<(), Refused> {
    let Some(seccomp) = linux.seccomp() else {
        return Ok(());
    };
    let asks = |action| action == LinuxSeccompAction::ScmpActNotify;
    let calls = seccomp.syscalls().iter().flatten();
    let mut asked = calls.filter(|call| asks(call.action())).peekable();
    let is_asked = asked.peek().is_some();
    // By which init tells of it.
    if asked.any(|call| call.names().iter().any(|name| name == "write")) {
        return refused(
            "linux.seccomp.syscalls",
            "has an agent decide about write: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        );
    }
    if is_asked && seccomp.listener_path().is_none() {
        return refused(
            "linux.seccomp.listenerPath",
            "is missing, where the agent listens that SCMP_ACT_NOTIFY asks",
        );
    }
    Ok(())
}

/// Tells of what is passed over where runc does it.
pub(crate) fn warn(id: &str, spec: &Spec, systemd: bool) {
    /// What runc sets of a unit that systemd makes for it.
    const PROPERTY: &str = "org.systemd.property.";
    let annotations = spec.annotations().iter().flat_map(|all| all.keys());
    for name in annotations.filter(|name| systemd && name.starts_with(PROPERTY)) {
        log::warn!("{id}: the annotation {name} is passed over: set it in the slice of the pod");
    }
    let process = spec.process().as_ref();
    if let Some(sets) = process.and_then(|process| process.capabilities().as_ref()) {
        let has =
            |set: Option<&Capabilities>, one: &Capability| set.is_some_and(|set| set.contains(one));
        let is_raised = |one: &Capability| {
            has(sets.inheritable().as_ref(), one) && has(sets.permitted().as_ref(), one)
        };
        for one in sets
            .ambient()
            .iter()
            .flatten()
            .filter(|one| !is_raised(one))
        {
            // In runc's words.
            log::warn!(
                "{id}: can't raise ambient capability CAP_{one}: it has to be inheritable and permitted"
            );
        }
    }
}
