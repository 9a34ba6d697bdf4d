//! What libcontainer's log says, and what it means to a user.

use rustix::io::Errno;

use super::debug;
use super::fault::{Fault, Step, shown};

/// A line of the log.
struct Line {
    /// How it begins.
    begins: &'static str,
    what: What,
    /// What would help.
    cure: &'static str,
}

/// What failed.
enum What {
    Plain(&'static str),
    /// The name of a field of the line, and what failed: `{}` stands for the field's text.
    On(&'static str, &'static str),
}

const fn line(begins: &'static str, what: What, cure: &'static str) -> Line {
    Line { begins, what, cure }
}

const LINES: &[Line] = &[
    line(
        "failed to mount /dev:",
        What::Plain("cannot mount /dev"),
        "correct the type and the options of the mount at /dev",
    ),
    line(
        "failed to mknod device",
        What::On("path=", "cannot make the device {}"),
        "correct its path and its numbers in linux.devices, and give containerd CAP_MKNOD",
    ),
    line(
        "failed to chown device",
        What::On("path=", "cannot give the device {} its owner"),
        "correct its uid and gid in linux.devices",
    ),
    line(
        "failed to create parent dir of ",
        What::On(
            "parent dir of ",
            "cannot make the directory of the device {}",
        ),
        "correct its path in linux.devices",
    ),
    line(
        "failed to open bind dev ",
        What::On("bind dev ", "cannot make a mount point for the device {}"),
        "correct its path in linux.devices",
    ),
    line(
        "failed to mount bind dev",
        What::On("path=", "cannot mount the device {}"),
        "it has to be on the node, as a container with a user namespace makes none",
    ),
    line(
        "failed to set hostname",
        What::On("hostname=", "cannot set the hostname {}"),
        "a name has at most 64 bytes",
    ),
    line(
        "failed to set domainname",
        What::On("domainname=", "cannot set the domainname {}"),
        "a name has at most 64 bytes",
    ),
    line(
        "failed to set readonly path",
        What::On("path=", "cannot make {} read-only"),
        "correct linux.readonlyPaths",
    ),
    line(
        "failed to mount path as readonly",
        What::On("path=", "cannot make {} read-only"),
        "correct linux.readonlyPaths",
    ),
    line(
        "failed to remount path as readonly",
        What::On("path=", "cannot make {} read-only"),
        "correct linux.readonlyPaths",
    ),
    line(
        "failed to mount path as masked",
        What::On("path=", "cannot mask {}"),
        "correct linux.maskedPaths",
    ),
    line(
        "failed to set masked paths",
        What::Plain("cannot mask a path"),
        "correct linux.maskedPaths",
    ),
    line(
        "failed to write to /proc/self/oom_score_adj",
        What::Plain("cannot set oom_score_adj"),
        "it is from -1000 to 1000, and a lower one than containerd's own needs CAP_SYS_RESOURCE",
    ),
    line(
        "failed to set groups",
        What::Plain("cannot set the supplementary groups"),
        "correct process.user.additionalGids; with a user namespace each has to be mapped",
    ),
    line(
        "failed to set real, effective and saved set gid",
        What::Plain("cannot become the group of process.user.gid"),
        "with a user namespace it has to be mapped by linux.gidMappings",
    ),
    line(
        "failed to set real, effective and saved set uid",
        What::Plain("cannot become the user of process.user.uid"),
        "with a user namespace it has to be mapped by linux.uidMappings",
    ),
    line(
        "failed to apply apparmor profile",
        What::Plain("cannot set the AppArmor profile of process.apparmorProfile"),
        "it has to be loaded on this node: apparmor_parser -r",
    ),
    line(
        "failed to set io_priority",
        What::Plain("cannot set process.ioPriority"),
        "the class IOPRIO_CLASS_RT needs CAP_SYS_NICE",
    ),
    line(
        "error setting scheduler",
        What::Plain("cannot set process.scheduler"),
        "correct its values; a policy for real time needs CAP_SYS_NICE",
    ),
    line(
        "failed to set memory policy",
        What::Plain("cannot set linux.memoryPolicy"),
        "its nodes have to be on this node",
    ),
    line(
        "failed to connect to seccomp notify listener path",
        What::On(
            "listener_path=",
            "cannot reach the agent of linux.seccomp.listenerPath at {}",
        ),
        "start it first",
    ),
    line(
        "failed to add seccomp",
        What::Plain("the container's seccomp profile can't be made a filter"),
        "correct its rules",
    ),
    line(
        "failed to initialize seccomp",
        What::Plain("cannot load the container's seccomp filter"),
        "",
    ),
    line(
        "failed to drop capabilities",
        What::Plain("cannot set the capabilities"),
        "containerd has to have those of process.capabilities itself",
    ),
    line(
        "failed to find a mounted resctrl file system",
        What::Plain(
            "linux.intelRdt asks for a share of the processor's cache, and no resctrl is mounted",
        ),
        "mount it at /sys/fs/resctrl, or leave linux.intelRdt out",
    ),
    line(
        "failed to write schemata to resctrl schemata file",
        What::Plain("cannot set the schemata of linux.intelRdt"),
        "this processor has to have them",
    ),
    line(
        "failed to write uid/gid mapping",
        What::On("map_file=", "cannot write {}"),
        "ranges of linux.uidMappings and gidMappings must not be empty nor overlap",
    ),
    line(
        "failed to bind mount rootfs",
        What::On("rootfs=", "cannot mount the rootfs {}"),
        "",
    ),
    line(
        "failed to change the mount propagation type of the root",
        What::Plain("cannot part the container's mounts from the node's"),
        "",
    ),
    line(
        "failed to adjust the mount propagation type of the root",
        What::Plain("cannot set linux.rootfsPropagation"),
        "",
    ),
    line(
        "failed to open /dev/null inside the container",
        What::Plain("cannot open /dev/null inside the container"),
        "a mount at /dev has to have it",
    ),
    line(
        "invalid /dev/null device inside the container",
        What::Plain("/dev/null inside the container is another file"),
        "a mount at /dev, or linux.devices, has to have the device 1:3 there",
    ),
    line(
        "failed to set linux personality",
        What::Plain("cannot set linux.personality"),
        "",
    ),
    line(
        "failed to set up tty",
        What::Plain("cannot make the container's terminal"),
        "",
    ),
];

/// Why `line` was logged, if it is known. `cause` gives the errno.
pub(super) fn told(line: &str, cause: impl Fn() -> Option<Errno>) -> Option<Fault> {
    const SPECIAL: [(&str, Teller); 9] = [
        ("failed to mount Mount {", mount),
        ("failed to set rlimit", limit),
        ("failed to apply cgroup", cgroup),
        ("failed to add task to cgroup", cgroup),
        ("failed to chdir", working_dir),
        ("failed to run ", hook),
        ("failed to set sysctl ", sysctl),
        (
            "failed to initialize container process: open subpath in procfs",
            unknown_sysctl,
        ),
        ("", namespace),
    ];
    let mut special = SPECIAL
        .iter()
        .filter(|(begins, _)| line.starts_with(begins));
    special
        .find_map(|(_, tell)| tell(line, cause()))
        .or_else(|| {
            let known = LINES.iter().find(|known| line.starts_with(known.begins))?;
            let what = match known.what {
                What::Plain(what) => what.to_owned(),
                What::On(field, what) => what.replace("{}", &shown(&debug::text(line, field)?)),
            };
            Some(Fault::new(what, cause(), known.cure))
        })
}

type Teller = fn(&str, Option<Errno>) -> Option<Fault>;

fn mount(line: &str, cause: Option<Errno>) -> Option<Fault> {
    let at = shown(&debug::text(line, "destination: ")?);
    let kind = debug::text(line, "typ: ");
    let options = debug::texts(line, "options: ");
    let is_bind = kind.as_deref() == Some("bind")
        || options
            .iter()
            .any(|option| option == "bind" || option == "rbind");
    let source = debug::text(line, ", source: ").filter(|source| !source.is_empty());
    let named = source.as_deref().map(shown);
    let (what, cure) = match (is_bind, kind.filter(|kind| !kind.is_empty()), named) {
        (true, _, None) => (
            format!("the bind mount at {at} has no source"),
            "name one".to_owned(),
        ),
        (true, _, Some(source)) => (format!("cannot mount {source} at {at}"), bind_cure(cause)),
        (false, None, _) => (
            format!("the mount at {at} has neither a type nor the option bind"),
            "give it one of both".to_owned(),
        ),
        (false, Some(kind), source) => {
            let from = source.map_or_else(String::new, |source| format!(" from {source}"));
            let what = format!(
                "cannot mount the file system {}{from} at {at}",
                shown(&kind)
            );
            (what, cure(cause, &options))
        }
    };
    // Of what is missing the errno says something else.
    let cause = cause.filter(|_| what.starts_with("cannot"));
    let mut fault = Fault::new(what, cause, &cure);
    if is_bind {
        fault.step = Step::Bind;
    }
    Some(fault)
}

fn working_dir(_: &str, cause: Option<Errno>) -> Option<Fault> {
    let what = "cannot enter the working directory";
    Some(Fault::of(Step::WorkingDir, what, cause))
}

fn hook(line: &str, cause: Option<Errno>) -> Option<Fault> {
    // The others are run by ourselves.
    if !line.starts_with("failed to run create container hooks") {
        return None;
    }
    let code =
        debug::word(line, "non-zero exit code: ").or_else(|| debug::word(line, "NonZeroExitCode("));
    let is_late = line.contains("due to a timeout") || line.contains("err=Timeout");
    let is_killed = line.contains("killed by a signal") || line.contains("err=Killed");
    // Of a program that ran no errno is meant.
    let cause = cause.filter(|_| code.is_none() && !is_late && !is_killed);
    let did = match code {
        Some(code) => format!("ended with exit code {code}"),
        None if is_late => "took longer than its timeout, and was killed".to_owned(),
        None if is_killed => "was killed by a signal".to_owned(),
        None => "failed".to_owned(),
    };
    Some(Fault::of(
        Step::Hook,
        format!("a createContainer hook {did}"),
        cause,
    ))
}

fn sysctl(line: &str, cause: Option<Errno>) -> Option<Fault> {
    let (name, rest) = debug::field(line, "sysctl ")?.split_once('=')?;
    let (value, _) = rest.rsplit_once(": ")?;
    let what = format!("cannot set the sysctl {} to {}", shown(name), shown(value));
    Some(Fault::new(what, cause, "correct linux.sysctl"))
}

fn unknown_sysctl(_: &str, _: Option<Errno>) -> Option<Fault> {
    Some(Fault::of(Step::UnknownSysctl, "cannot set a sysctl", None))
}

fn bind_cure(cause: Option<Errno>) -> String {
    let cure = match cause {
        Some(Errno::NOENT) => "the source has to be on the node: make it, or correct the mount",
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::EXIST | Errno::INVAL) => {
            "a directory is mounted on a directory alone, a file on a file, and what is unbindable nowhere"
        }
        Some(Errno::NAMETOOLONG) => "a name has at most 255 bytes, and a path 4095",
        Some(Errno::NOSPC) => "the node allows no more mounts: see /proc/sys/fs/mount-max",
        _ => "correct its source and its destination",
    };
    cure.to_owned()
}

fn cure(cause: Option<Errno>, options: &[String]) -> String {
    let cure = match cause {
        Some(Errno::NODEV) => {
            "this node's kernel has no such file system: correct the type, or load its module"
        }
        Some(Errno::INVAL) => {
            let options: Vec<_> = options.iter().map(|option| shown(option)).collect();
            return match options.as_slice() {
                [] => "it may lack an option that it needs".to_owned(),
                options => format!("it does not take one of the options {}", options.join(", ")),
            };
        }
        Some(Errno::NOTBLK) => "the source has to be a block device",
        Some(Errno::NOENT) => "the source, or a path among the options, does not exist",
        Some(Errno::PERM | Errno::ACCESS) => "the kernel does not let this container mount it",
        Some(Errno::NOTDIR | Errno::EXIST) => "it is mounted on a directory alone",
        Some(Errno::BUSY) => "it may be mounted already with other options",
        Some(Errno::NOSPC) => "the node allows no more mounts: see /proc/sys/fs/mount-max",
        _ => "correct its type, its source and its options",
    };
    cure.to_owned()
}

fn namespace(line: &str, cause: Option<Errno>) -> Option<Fault> {
    let namespace = debug::field(line, "namespace=LinuxNamespace {")?;
    let kind = debug::word(namespace, "typ: ")?.to_lowercase();
    // One that is held by its descriptor has no path of the spec's.
    let path =
        debug::text(namespace, "path: ").map(|path| match path.starts_with("/proc/self/fd/") {
            true => "of linux.namespaces".to_owned(),
            false => shown(&path),
        });
    let (what, cure) = match path {
        Some(path) if line.starts_with("failed to open") => (
            format!("cannot open the {kind} namespace {path}"),
            "it has to be there before the container, and of a process that lives".to_owned(),
        ),
        Some(path) => (
            format!("cannot enter the {kind} namespace {path}"),
            format!("the path has to be of a {kind} namespace"),
        ),
        None => (
            format!("cannot make a {kind} namespace"),
            format!(
                "the kernel has to have them, and as many as the container takes: see /proc/sys/user/max_{kind}_namespaces"
            ),
        ),
    };
    Some(Fault::new(what, cause, &cure))
}

fn limit(line: &str, cause: Option<Errno>) -> Option<Fault> {
    let name = debug::word(line, "typ: Rlimit")?.to_uppercase();
    let (hard, soft) = (debug::word(line, "hard: ")?, debug::word(line, "soft: ")?);
    let cure = match cause {
        Some(Errno::INVAL) => "the soft limit must not be above the hard one",
        _ if name == "NOFILE" => {
            "a hard limit above that of who asks for the container needs CAP_SYS_RESOURCE, and it is at most /proc/sys/fs/nr_open"
        }
        _ => "a hard limit above that of who asks for the container needs CAP_SYS_RESOURCE",
    };
    let what = format!("cannot set the limit RLIMIT_{name} to {soft}, and {hard} at most");
    Some(Fault::new(what, cause, cure))
}

fn cgroup(line: &str, cause: Option<Errno>) -> Option<Fault> {
    const CONTROLLER: &str = "CGroupRequired(";
    let path = || debug::text(line, "path: ").map(|path| shown(&path));
    let current = debug::word(line, "current: ");
    let (what, cure) = match debug::word(line, "UnableToSet { target: ") {
        Some(target) => (
            format!(
                "cannot limit the container: the memory limit, {target} bytes, is lower than what is in \
                 use, {} bytes",
                current?
            ),
            "choose a higher one",
        ),
        None if line.contains("CreateDir {") => (
            format!("cannot make the cgroup {}", path()?),
            "correct linux.cgroupsPath",
        ),
        None if line.contains("Write {") => (
            format!(
                "cannot limit the container: cannot write {} to {}",
                shown(&debug::text(line, "data: ")?),
                path()?
            ),
            "correct linux.resources",
        ),
        None => (
            format!(
                "cannot limit the container: no cgroup controller {} is mounted on this node",
                debug::word(line, CONTROLLER)?
            ),
            "mount it, or leave the limit out",
        ),
    };
    Some(Fault::new(what, cause, cure))
}
