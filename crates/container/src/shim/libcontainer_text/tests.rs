use super::{Step, debug, fault, unknown};
use libcontainer::error::{ErrInvalidSpec, LibcontainerError};
use rustix::io::Errno;

fn told(reason: &str, log: &str) -> String {
    fault(reason, log).expect(reason).to_string()
}

/// How the way of an error through libcontainer's processes looks.
const WAY: &str = "failed to create container: exec process failed with error error in executing \
                   process : failed to prepare rootfs";

fn mount(fields: &str, errno: &str) -> String {
    let log = format!(
        "DEBUG mounting\n\
         ERROR failed to mount Mount {{ {fields}, uid_mappings: None, gid_mappings: None }}: syscall\n\
         ERROR failed to prepare rootfs err=Mount(Syscall(Nix({errno})))\n"
    );
    told(WAY, &log)
}

#[test]
fn a_mount_is_told_with_its_cause_and_what_would_help() {
    let text = mount(
        r#"destination: "/m", typ: Some("frobfs"), source: Some("x"), options: None"#,
        "ENODEV",
    );
    assert_eq!(
        text,
        "cannot mount the file system \"frobfs\" from \"x\" at \"/m\": No such device (os error 19); this \
         node's kernel has no such file system: correct the type, or load its module"
    );
    let text = mount(
        r#"destination: "/m", typ: Some("tmpfs"), source: Some("tmpfs"), options: Some(["mode=755", "a=\"EPERM\""])"#,
        "EINVAL",
    );
    assert_eq!(
        text,
        "cannot mount the file system \"tmpfs\" from \"tmpfs\" at \"/m\": Invalid argument (os error 22); it \
         does not take one of the options \"mode=755\", \"a=\\\"EPERM\\\"\""
    );
    let text = mount(
        r#"destination: "/m", typ: None, source: Some("/etc"), options: None"#,
        "ENODEV",
    );
    assert_eq!(
        text,
        "the mount at \"/m\" has neither a type nor the option bind; give it one of both"
    );
    let text = mount(
        r#"destination: "/m", typ: Some("bind"), source: None, options: None"#,
        "EINVAL",
    );
    assert_eq!(text, "the bind mount at \"/m\" has no source; name one");
}

#[test]
fn the_source_of_a_bind_mount_that_is_not_there_is_named() {
    let log = "ERROR failed to canonicalize \"/no\\nsuch\": No such file or directory (os error 2)\n\
               ERROR failed to mount Mount { destination: \"/m\", typ: Some(\"bind\"), source: \
               Some(\"/no\\nsuch\"), options: Some([\"rbind\"]), uid_mappings: None, gid_mappings: None }: io error\n\
               ERROR failed to prepare rootfs err=Mount(Io(Os { code: 2, kind: NotFound, message: \"No such file or directory\" }))\n";
    assert_eq!(
        told(WAY, log),
        "cannot mount \"/no\\nsuch\" at \"/m\": No such file or directory (os error 2); the source has to be \
         on the node: make it, or correct the mount"
    );
}

#[test]
fn what_failed_is_named_with_the_systems_word() {
    for (log, text) in [
        (
            r#"failed to open namespace file err=ENOENT namespace=LinuxNamespace { typ: Ipc, path: Some("/nope/ipc") }"#,
            "cannot open the ipc namespace \"/nope/ipc\": No such file or directory (os error 2); ",
        ),
        (
            r#"failed to set namespace err=Nix(EINVAL) namespace=LinuxNamespace { typ: Network, path: Some("/etc/passwd") }"#,
            "cannot enter the network namespace \"/etc/passwd\": Invalid argument (os error 22); the path has to be of a network namespace",
        ),
        (
            "failed to unshare namespace err=Nix(ENOSPC) namespace=LinuxNamespace { typ: Pid, path: None }",
            "cannot make a pid namespace: No space left on device (os error 28); ",
        ),
        (
            "failed to set rlimit err=Nix(EPERM) rlimit=PosixRlimit { typ: RlimitNofile, hard: 1099511627776, soft: 10 }",
            "cannot set the limit RLIMIT_NOFILE to 10, and 1099511627776 at most: Operation not permitted (os error 1); ",
        ),
        (
            r#"failed to mknod device err=Nix(EPERM) path="/run/rootfs/dev/x" major=1 minor=5"#,
            "cannot make the device \"/run/rootfs/dev/x\": Operation not permitted (os error 1); ",
        ),
        (
            "failed to set groups err=EINVAL groups=[Gid(4294967295)]",
            "cannot set the supplementary groups: Invalid argument (os error 22); ",
        ),
        (
            "failed to set sysctl a.b=x=y: z: Invalid argument (os error 22)",
            "cannot set the sysctl \"a.b\" to \"x=y: z\": Invalid argument (os error 22); ",
        ),
        (
            "failed to write to /proc/self/oom_score_adj: Permission denied (os error 13)",
            "cannot set oom_score_adj: Permission denied (os error 13); ",
        ),
        (
            "failed to apply cgroup pid=Pid(7) err=V1(MemoryController(UnableToSet { target: 1000, current: 282624, peak: 282624 })) init=true",
            "cannot limit the container: the memory limit, 1000 bytes, is lower than what is in use, 282624 bytes; ",
        ),
        (
            r#"failed to add task to cgroup pid=Pid(7) err=V1(WrappedIo(CreateDir { err: Os { code: 22, kind: InvalidInput, message: "Invalid argument" }, path: "/sys/fs/cgroup/pids/a\nb" })) init=true"#,
            "cannot make the cgroup \"/sys/fs/cgroup/pids/a\\nb\": Invalid argument (os error 22); ",
        ),
        (
            "failed to apply cgroup pid=Pid(7) err=V1(CGroupRequired(NetworkPriority)) init=true",
            "cannot limit the container: no cgroup controller NetworkPriority is mounted on this node; ",
        ),
        (
            r#"failed to connect to seccomp notify listener path err=ENOENT listener_path="/nope""#,
            "cannot reach the agent of linux.seccomp.listenerPath at \"/nope\": No such file or directory (os error 2); start it first",
        ),
    ] {
        let told = told(
            "failed to create container: syscall",
            &format!("ERROR {log}\n"),
        );
        assert!(told.starts_with(text), "{told}");
    }
}

#[test]
fn what_the_spec_tells_more_about_is_told_apart() {
    let step =
        |line: &str| fault("", &format!("ERROR {line}\n")).map(|fault| (fault.step, fault.cause));
    assert_eq!(
        step("failed to chdir e=EACCES"),
        Some((Step::WorkingDir, Some(Errno::ACCESS)))
    );
    assert_eq!(
        step("failed to run create container hooks: failed to execute hook command"),
        Some((Step::Hook, None))
    );
}

/// Of each refusal: a text of libcontainer's that has changed would be found no more.
#[test]
fn what_libcontainer_refuses_is_said_in_our_words() {
    use ErrInvalidSpec as Refused;
    let name = || "a.b".to_owned();
    for refused in [
        Refused::UnsupportedVersion,
        Refused::IoPriority,
        Refused::Scheduler("x".into()),
        Refused::InvalidNetNsPath("x".into()),
        Refused::HostnameWithoutUTS,
        Refused::DomainnameWithoutUTS,
        Refused::UserMappingsWithoutNamespace,
        Refused::SysEntriesWithoutMntNamespace,
        Refused::SysctlNotAllowedInHostIpc(name()),
        Refused::SysctlNotAllowedInHostNet(name()),
        Refused::SysctlConflictsWithOci(name(), "hostname".into()),
        Refused::SysctlNotAllowedInHostUser(name()),
        Refused::SysctlNotInSeparateNamespace(name()),
        Refused::InvalidIntelRdtClosId,
        Refused::TimeNamespace,
        Refused::TimeOffsetsWithPath,
    ] {
        let is_sysctl = format!("{refused:?}").starts_with("Sysctl");
        let text = told(&LibcontainerError::from(refused).to_string(), "");
        assert!(
            text.contains("of the container's spec") || text.contains("the container's spec has"),
            "{text}"
        );
        assert!(text.contains("; "), "{text}");
        assert!(!is_sysctl || text.contains("the sysctl a.b "), "{text}");
    }
}

#[test]
fn what_is_not_known_keeps_no_structures() {
    let log = "ERROR failed to frob err=Frob(Nix(EPERM)) path=\"/x\"\nERROR more\n";
    assert!(fault("failed to create container: frob", log).is_none());
    assert_eq!(
        unknown(
            "failed to create container: intermediate process error frob",
            log
        ),
        "frob (failed to frob: Operation not permitted (os error 1))"
    );
    assert_eq!(unknown("it. error during cleanup: more", ""), "it");
    let cleaning = "ERROR failed to run create container hooks: hook command was killed by a signal\n\
        ERROR failed to run container process failed hooks\n\
        ERROR failed to remove cgroup manager error=Os { code: 16, kind: ResourceBusy }\n";
    assert_eq!(
        told("failed hooks", cleaning),
        "a createContainer hook was killed by a signal"
    );
}

#[test]
fn literals_are_read_as_rust_writes_them() {
    for text in ["", "a\"b\\c\n\t\r\0'\u{7f}\u{1f600} é", "\u{200b}"] {
        let code = format!("{text:?} rest");
        assert_eq!(debug::literal(&code), Some((text.to_owned(), " rest")));
    }
    for code in ["", "\"", "\"\\", "\"\\u{", "\"\\u{x}\"", "x\"\""] {
        assert_eq!(debug::literal(code), None, "{code}");
    }
    assert_eq!(
        debug::errno("err=\"EPERM\" EFROB (os error 99999999999)"),
        None
    );
    assert_eq!(debug::texts("o: Some([\"a\", \"b\"])", "o: "), ["a", "b"]);
}
