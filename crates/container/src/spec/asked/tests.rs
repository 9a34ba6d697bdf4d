//! Every field that a spec can have, and what becomes of it. A field that the crate which reads specs
//! learns of later has no line here, and fails a test until it has one.

use std::collections::BTreeSet;

use oci_spec::runtime::Spec;

use super::check;
use super::fields::fields_of;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done, or refused where it can't be on this node.
    Done,
    /// It is refused: in a spec that has this instead of nothing, at this place.
    Refused(&'static str, &'static str),
    /// It is passed over, as runc does, for this reason.
    AsRunc(&'static str),
    /// It is for another platform, whose fields a runtime of Linux has to pass over.
    Elsewhere,
}

use Fate::{AsRunc, Done, Elsewhere, Refused};

/// By the beginnings of paths; the longest counts.
const FIELDS: &[(&str, Fate)] = &[
    ("annotations.*", Done),
    ("domainname", Done),
    ("gidMappings[].", AsRunc("not of the OCI runtime spec")),
    ("hooks.createContainer[].", Done),
    ("hooks.createRuntime[].", Done),
    ("hooks.poststart[].", Done),
    ("hooks.poststop[].", Done),
    ("hooks.prestart[].", Done),
    ("hooks.startContainer[].", Done),
    ("hostname", Done),
    ("linux.cgroupsPath", Done),
    ("linux.devices[].", Done),
    ("linux.gidMappings[].", Done),
    ("linux.intelRdt.closID", Done),
    // By these names there is no such field: the real ones are refused where a spec is read.
    ("linux.intelRdt.enableCmt", AsRunc("enableCMT is the field")),
    ("linux.intelRdt.enableMbm", AsRunc("enableMBM is the field")),
    ("linux.intelRdt.enableMonitoring", Done),
    ("linux.intelRdt.l3CacheSchema", Done),
    ("linux.intelRdt.memBwSchema", Done),
    ("linux.intelRdt.schemata[]", Done),
    ("linux.maskedPaths[]", Done),
    ("linux.memoryPolicy.", Done),
    ("linux.mountLabel", Done),
    ("linux.namespaces[].path", Done),
    (
        "linux.namespaces[].type",
        Refused(
            r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"uts"},{"type":"pid"}]}}"#,
            "linux.namespaces[2]",
        ),
    ),
    ("linux.netDevices.*.name", Done),
    ("linux.personality.domain", Done),
    (
        "linux.personality.flags[]",
        Refused(
            r#"{"linux":{"personality":{"domain":"LINUX","flags":["A"]}}}"#,
            "linux.personality.flags",
        ),
    ),
    ("linux.readonlyPaths[]", Done),
    ("linux.resources.blockIO.throttle", Done),
    ("linux.resources.blockIO.weight", Done),
    ("linux.resources.blockIO.leafWeight", Done),
    ("linux.resources.cpu.", Done),
    ("linux.resources.devices[].", Done),
    ("linux.resources.hugepageLimits[].", Done),
    (
        "linux.resources.memory.checkBeforeUpdate",
        AsRunc("a container that is made uses nothing yet"),
    ),
    ("linux.resources.memory.disableOOMKiller", Done),
    (
        "linux.resources.memory.kernel",
        AsRunc("Linux has no such limit any more; the log says so"),
    ),
    ("linux.resources.memory.limit", Done),
    ("linux.resources.memory.reservation", Done),
    ("linux.resources.memory.swap", Done),
    (
        "linux.resources.memory.useHierarchy",
        AsRunc("Linux knows no other way any more"),
    ),
    ("linux.resources.network.", Done),
    ("linux.resources.pids.limit", Done),
    ("linux.resources.rdma.", Done),
    ("linux.resources.unified.*", Done),
    (
        "linux.rootfsPropagation",
        Refused(
            r#"{"linux":{"rootfsPropagation":"weird"}}"#,
            "linux.rootfsPropagation",
        ),
    ),
    ("linux.seccomp.", Done),
    (
        "linux.seccomp.listenerPath",
        Refused(
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}"#,
            "linux.seccomp.listenerPath",
        ),
    ),
    ("linux.sysctl.*", Done),
    ("linux.timeOffsets.*.", Done),
    ("linux.uidMappings[].", Done),
    ("mounts[].", Done),
    ("ociVersion", Done),
    ("process.apparmorProfile", Done),
    ("process.args[]", Done),
    ("process.capabilities.", Done),
    ("process.commandLine", Elsewhere),
    ("process.consoleSize.", Done),
    ("process.cwd", Done),
    ("process.env[]", Done),
    ("process.execCPUAffinity.", Done),
    ("process.ioPriority.", Done),
    ("process.noNewPrivileges", Done),
    ("process.oomScoreAdj", Done),
    ("process.rlimits[].", Done),
    ("process.scheduler.", Done),
    ("process.selinuxLabel", Done),
    ("process.terminal", Done),
    ("process.user.", Done),
    ("process.user.username", Elsewhere),
    ("root.", Done),
    ("solaris.", Elsewhere),
    ("uidMappings[].", AsRunc("not of the OCI runtime spec")),
    ("vm.", Elsewhere),
    ("windows.", Elsewhere),
    ("zos.", Elsewhere),
];

fn spec(json: &str) -> Spec {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["ociVersion"] = "1.2.0".into();
    serde_json::from_value(value).unwrap()
}

/// Whether a line of the table is a whole path, or the beginning of several.
fn covers(line: &str, path: &str) -> bool {
    path.starts_with(line)
}

#[test]
fn every_field_of_a_spec_has_a_fate_and_every_fate_a_field() {
    let fields = fields_of::<Spec>();
    assert!(fields.len() > 150, "the walk ended early: {fields:?}");
    let mut used = BTreeSet::new();
    let mut nobodys = Vec::new();
    for field in &fields {
        let lines = FIELDS.iter().map(|(line, _)| *line);
        match lines
            .filter(|line| covers(line, field))
            .max_by_key(|line| line.len())
        {
            Some(line) => drop(used.insert(line)),
            None => nobodys.push(field),
        }
    }
    assert!(nobodys.is_empty(), "nothing is said of {nobodys:?}");
    let unused: Vec<_> = FIELDS
        .iter()
        .filter(|(line, _)| !used.contains(line))
        .collect();
    assert!(unused.is_empty(), "there is no {unused:?}");
}

#[test]
fn what_is_refused_is_named_by_its_place() {
    for (field, fate) in FIELDS {
        let Refused(json, place) = fate else { continue };
        let error = check(&spec(json)).expect_err(field).to_string();
        assert!(
            error.starts_with(&format!("{place} of the container's spec")),
            "{error}"
        );
    }
    assert_eq!(
        check(&spec(r#"{"linux":{"rootfsPropagation":"rslave"}}"#)),
        Ok(())
    );
}

#[test]
fn a_hook_has_an_absolute_path_and_a_timeout_that_is_one() {
    let hooks = |hook: &str| {
        spec(&format!(
            r#"{{"hooks":{{"poststart":[{{"path":"/a"}},{hook}]}}}}"#
        ))
    };
    check(&hooks(r#"{"path":"/b","timeout":5}"#)).unwrap();
    for (hook, place) in [
        (r#"{"path":"b"}"#, "hooks.poststart[1].path"),
        (r#"{"path":"/b","timeout":0}"#, "hooks.poststart[1].timeout"),
        (
            r#"{"path":"/b","timeout":-1}"#,
            "hooks.poststart[1].timeout",
        ),
    ] {
        let error = check(&hooks(hook)).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

#[test]
fn what_the_kernel_would_refuse_is_told_by_its_place() {
    let long = "x".repeat(65);
    let users = r#"{"linux":{"namespaces":[{"type":"user"}],"uidMappings":
        [{"containerID":0,"hostID":1000,"size":1}]}}"#;
    let filter = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[
            {"index":5,"value":1,"op":"SCMP_CMP_EQ"},{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}}}"#;
    let asked = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a","syscalls":[
        {"names":["mkdir","write"],"action":"SCMP_ACT_NOTIFY"}]}}}"#;
    let pipes =
        r#"{"linux":{"resources":{"devices":[{"allow":false},{"allow":true,"type":"p"}]}}}"#;
    for (json, place) in [
        (format!(r#"{{"hostname":"{long}"}}"#).as_str(), "hostname "),
        (&format!(r#"{{"domainname":"{long}"}}"#), "domainname "),
        (users, "linux.gidMappings "),
        (filter, "linux.seccomp.syscalls[0].args[1].index "),
        (asked, "linux.seccomp.syscalls "),
        (pipes, "linux.resources.devices[1].type "),
    ] {
        let error = check(&spec(json)).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
    let joined = r#"{"linux":{"namespaces":[{"type":"user","path":"/proc/1/ns/user"}]}}"#;
    assert_eq!(check(&spec(joined)), Ok(()));
}
