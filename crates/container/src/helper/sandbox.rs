//! In the helper: the namespaces of a pod that no container stands for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use medley_sys::clone::SingleThreaded;
use medley_sys::namespaces::{are_one, become_nobody, owner};

use crate::helper::log_file;
use crate::protocol::{Failure, MakeSandbox, Namespace, SandboxNamespaces};

/// Where sysctls are.
const SYSCTLS: &str = "/proc/sys";

/// Why the namespaces could not be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the helper cannot begin")]
    Begin(#[source] io::Error),
    #[error("cannot {what} for the pod")]
    Namespace {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot set the pod's sysctl {name}: it is the node's")]
    NotThePods { name: String },
    #[error("cannot set the pod's sysctl {name} to {value:?}")]
    Sysctl {
        name: String,
        value: String,
        source: io::Error,
    },
    #[error("the first process of the pod's pid namespace does not come to run: {reason}")]
    Holder { reason: String },
}

/// Makes them.
pub(crate) fn run(call: MakeSandbox<OwnedFd>) -> Result<SandboxNamespaces<OwnedFd>, Failure> {
    log_file::start(call.debug)?;
    make(call).map_err(|error| Failure::of(&error))
}

fn make(call: MakeSandbox<OwnedFd>) -> Result<SandboxNamespaces<OwnedFd>, Error> {
    let alone = SingleThreaded::check().map_err(Error::Begin)?;
    let failed = |what| move |source| Error::Namespace { what, source };
    let MakeSandbox {
        network,
        ipc,
        hostname,
        holder_lifeline,
        sysctls,
        debug: _,
    } = call;
    let mut namespaces = Vec::new();
    if let Some(network) = &network {
        // The pod's user namespace is the one that containerd made its network in.
        let user = owner(network.as_fd()).map_err(failed("find the user namespace"))?;
        let own = File::open("/proc/self/ns/user").map_err(Error::Begin)?;
        if !are_one(&user, &own).map_err(Error::Begin)? {
            let joined = alone.join(&user).and_then(|()| alone.become_root());
            joined.map_err(failed("enter the user namespace"))?;
            namespaces.push((Namespace::User, user));
        }
        let joined = alone.join(network);
        joined.map_err(failed("enter the network namespace"))?;
    }
    alone
        .leave(ipc, hostname.is_some(), false)
        .map_err(failed("make the ipc and uts namespaces"))?;
    let open = |name: &str| File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
    if ipc {
        let made = open("ipc").map_err(failed("hold the ipc namespace"))?;
        namespaces.push((Namespace::Ipc, made));
    }
    if let Some(hostname) = &hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(io::Error::from)
            .map_err(failed("set the hostname"))?;
        let made = open("uts").map_err(failed("hold the uts namespace"))?;
        namespaces.push((Namespace::Uts, made));
    }
    let has = Has {
        network: network.is_some(),
        ipc,
    };
    for (name, value) in &sysctls {
        set_sysctl(has, name, value)?;
    }
    let mut holder = None;
    if let Some(lifeline) = holder_lifeline {
        alone
            .leave(false, false, true)
            .map_err(failed("make the pid namespace"))?;
        holder = Some(hold(alone, lifeline)?);
        // There from its first process on, and ours to open, which nothing of that one is.
        let made = open("pid_for_children").map_err(failed("hold the pid namespace"))?;
        namespaces.push((Namespace::Pid, made));
    }
    Ok(SandboxNamespaces { holder, namespaces })
}

/// Makes the first process of the new pid namespace, which does nothing but live as long as the
/// other end of the pipe `life`: the shim's.
fn hold(alone: SingleThreaded, life: OwnedFd) -> Result<i32, Error> {
    let (mut ready, writer) = io::pipe().map_err(Error::Begin)?;
    let mut life = File::from(life);
    let pid = alone
        .clone_child(|| {
            let mut writer = File::from(OwnedFd::from(writer));
            match become_nobody() {
                Ok(()) => {
                    if writer.write_all(b"+").is_err() {
                        return 1;
                    }
                }
                Err(error) => {
                    // Anything but the answer above is read as the reason.
                    return u8::from(write!(writer, "{error}").is_err());
                }
            }
            drop(writer);
            medley_sys::child::close_all_but(&[life.as_fd()]);
            // Nothing is ever written: this is the pipe's end.
            while matches!(life.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted)
            {
            }
            0
        })
        .map_err(|source| Error::Namespace {
            what: "make the first process of the pid namespace",
            source,
        })?;
    let mut output = String::new();
    let read = ready.read_to_string(&mut output);
    match read {
        Ok(_) if output == "+" => Ok(pid),
        Ok(_) => Err(Error::Holder { reason: output }),
        Err(error) => Err(Error::Holder {
            reason: error.to_string(),
        }),
    }
}

/// Which of its own namespaces a sandbox has.
#[derive(Debug, Clone, Copy, Default)]
struct Has {
    network: bool,
    ipc: bool,
}

/// Sets a sysctl, provided that it is of a namespace which is the pod's own.
fn set_sysctl(has: Has, name: &str, value: &str) -> Result<(), Error> {
    let path = sysctl_path(has, name).ok_or_else(|| Error::NotThePods {
        name: name.to_owned(),
    })?;
    std::fs::write(&path, value).map_err(|source| Error::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The file of a sysctl that the pod may set. Those of the IPC namespace are the ones that runc
/// takes for it.
fn sysctl_path(has: Has, name: &str) -> Option<PathBuf> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    // Names are written with dots, or with slashes where a part has dots.
    let relative = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let plain = Path::new(&relative)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let network = has.network && relative.starts_with("net/");
    let ipc = has.ipc && (IPC.contains(&relative.as_str()) || relative.starts_with("fs/mqueue/"));
    (plain && (network || ipc)).then(|| Path::new(SYSCTLS).join(relative))
}

#[cfg(test)]
mod tests {
    use super::{Has, sysctl_path};
    use std::path::Path;

    #[test]
    fn a_pod_sets_sysctls_of_its_own_namespaces_and_no_others() {
        let all = Has {
            network: true,
            ipc: true,
        };
        assert_eq!(
            sysctl_path(all, "net.ipv4.ip_forward").as_deref(),
            Some(Path::new("/proc/sys/net/ipv4/ip_forward"))
        );
        assert_eq!(
            sysctl_path(all, "net/ipv4/conf/eth0.1/forwarding").as_deref(),
            Some(Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding"))
        );
        assert!(sysctl_path(all, "kernel.shmmax").is_some());
        for name in ["kernel.panic", "vm.swappiness", "net/../kernel/panic", ""] {
            assert_eq!(sysctl_path(all, name), None, "{name}");
        }
        let none = Has::default();
        assert_eq!(sysctl_path(none, "net.ipv4.ip_forward"), None);
        assert_eq!(sysctl_path(none, "kernel.shmmax"), None);
    }
}
