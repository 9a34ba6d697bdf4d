//! What libcontainer refuses of a spec, and what would help.

use super::fault::Fault;

/// How libcontainer's text begins, our sentence for it, and what would help. `{}` stands for the rest of
/// libcontainer's text.
const REFUSALS: &[(&str, &str, &str)] = &[
    (
        "runtime spec has incompatible version",
        "ociVersion of the container's spec is none that is known",
        "it begins with \"1.\"",
    ),
    (
        "invalid io priority or class.",
        "process.ioPriority of the container's spec is none that there is",
        "its priority is from 0 to 7",
    ),
    (
        "invalid scheduler config for process: ",
        "process.scheduler of the container's spec is none that there is: {}",
        "correct it",
    ),
    (
        "invalid netns path: ",
        "cannot look at the network namespace of the container's spec: {}",
        "it has to be there before the container",
    ),
    (
        "unable to set hostname without a private UTS namespace",
        "the container's spec has a hostname and no uts namespace of its own, so that it would be the \
         node's",
        "leave out the hostname, or add the namespace",
    ),
    (
        "unable to set domainname without a private UTS namespace",
        "the container's spec has a domainname and no uts namespace of its own, so that it would be \
         the node's",
        "leave out the domainname, or add the namespace",
    ),
    (
        "user namespace mappings specified, but user namespace isn't enabled in the config",
        "the container's spec has linux.uidMappings or gidMappings and no user namespace",
        "leave them out, or add the namespace",
    ),
    (
        "unable to restrict sys entries without a private MNT namespace",
        "the container's spec has linux.maskedPaths or readonlyPaths and no mount namespace, so that \
         they would be the node's",
        "leave them out, or add the namespace",
    ),
    (
        "invalid intelRdt.closID",
        "linux.intelRdt.closID of the container's spec is no name",
        "it must not be \".\" or \"..\", and has no slash",
    ),
    (
        "time namespace offsets specified, but time namespace isn't enabled in the config",
        "the container's spec has linux.timeOffsets and no time namespace",
        "leave them out, or add the namespace",
    ),
    (
        "time namespace enabled, but both namespace path and time offsets specified",
        "the container's spec has linux.timeOffsets for a time namespace that is there already",
        "leave out the offsets, or the namespace's path",
    ),
    (
        "unable to move network devices without a NET namespace",
        "the container's spec has linux.netDevices and no network namespace of its own",
        "leave them out, or add the namespace",
    ),
    (
        "invalid network device name: ",
        "linux.netDevices of the container's spec has a name that no device can have: {}",
        "correct it",
    ),
    (
        "invalid umask",
        "process.user.umask of the container's spec is none that there is",
        "it is at most 511, which is 0777",
    ),
    (
        "failed to receive. \"waiting for init ready\". BrokenChannel",
        "the container's init ended before it was ready",
        "it was killed, as it is where the memory limit is too low to begin with, or a limit in process.rlimits \
         leaves too little, such as of open files",
    ),
];

/// The part of a text between two others, where a sysctl is named.
const SYSCTLS: &[(&str, &str, &str)] = &[
    (
        " is not allowed in the hosts ipc namespace",
        "is the node's where the container has no ipc namespace of its own",
        "leave it out, or add the namespace",
    ),
    (
        " not allowed in host network namespace",
        "is the node's where the container has no network namespace of its own",
        "leave it out, or set it on the node",
    ),
    (
        " is not allowed as it conflicts with the OCI hostname field",
        "is what the field hostname is for",
        "set the hostname there",
    ),
    (
        " is not in a separate kernel namespace",
        "is the node's, as no namespace has its own",
        "set it on the node",
    ),
];

/// What `reason` says, if it is known.
pub(super) fn told(reason: &str) -> Option<Fault> {
    let fault = |what: String, cure: &str| Fault::new(what, None, cure);
    let sysctl = SYSCTLS.iter().find_map(|(ends, what, cure)| {
        let name = reason.strip_prefix("sysctl ")?.strip_suffix(ends)?;
        Some(fault(
            format!("the sysctl {name} of the container's spec {what}"),
            cure,
        ))
    });
    let host_user = reason.strip_prefix("setting ucounts without a user namespace not allowed: ");
    let host_user = host_user.map(|name| {
        let what = "is the node's where the container has no user namespace of its own";
        fault(
            format!("the sysctl {name} of the container's spec {what}"),
            "leave it out, or add the namespace",
        )
    });
    sysctl.or(host_user).or_else(|| {
        REFUSALS.iter().find_map(|(begins, what, cure)| {
            let rest = reason.strip_prefix(begins)?;
            Some(fault(what.replace("{}", rest), cure))
        })
    })
}
