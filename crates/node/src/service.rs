//! How the runtime is had to take over its configuration.

use std::path::Path;

use crate::args::Restart;
use crate::distribution::{Distribution, Service};
use crate::error::Error;
use crate::node::Node;
use crate::root::Root;
use crate::run::Runner;

/// When it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nothing that it reads changes, or the user does not want a restart.
    Never,
    /// While everything can still be taken back.
    Within,
    /// When all is done: we end with it.
    Last,
}

impl Moment {
    /// When it is to be; an error if it can't be restarted from here, before anything is changed.
    pub(crate) fn of(node: &Node, is_changed: bool) -> Result<Self, Error> {
        match &node.settings.restart {
            _ if !is_changed => Ok(Self::Never),
            Restart::No => Ok(Self::Never),
            Restart::With(_) => Ok(Self::Within),
            Restart::Found if node.runner == Runner::Nowhere => Err(Error::OtherRoot {
                root: node.root.path().to_owned(),
            }),
            Restart::Found => match node.distribution.service() {
                Service::ByItself => Ok(Self::Within),
                Service::Init if node.root.is("/proc/1/root") => Ok(Self::Last),
                Service::Restart(_) | Service::Reload(_)
                    if has_systemd(&node.root) || has_openrc(&node.root) =>
                {
                    Ok(Self::Within)
                }
                _ => Err(unknown(node)),
            },
        }
    }
}

fn unknown(node: &Node) -> Error {
    Error::NoService {
        distribution: node.distribution.name(),
    }
}

/// Restarts it, or does what comes to the same.
pub(crate) fn restart(node: &Node) -> Result<(), Error> {
    if let Restart::With(command) = &node.settings.restart {
        return shell(node, command);
    }
    match node.distribution.service() {
        Service::ByItself => Ok(()),
        Service::Init => end_init(),
        Service::Restart(names) => service(node, names, "restart"),
        Service::Reload(name) => service(node, &[name], "reload"),
    }
}

/// What to do by hand.
pub(crate) fn advice(root: &Root, distribution: Distribution) -> String {
    let openrc = root.is_dir("/run/openrc") || root.exists("/sbin/openrc-run");
    let command = |verb: &str, name: &str| {
        if openrc && !root.is_dir("/run/systemd/system") {
            format!("rc-service {name} {verb}")
        } else {
            format!("systemctl {verb} {name}")
        }
    };
    match distribution.service() {
        Service::ByItself => "k0s takes it over by itself".to_owned(),
        Service::Init => "restart the node's container to take it over".to_owned(),
        Service::Restart(names) => {
            let commands: Vec<_> = names.iter().map(|name| command("restart", name)).collect();
            format!("to take it over: {}", commands.join(", or "))
        }
        Service::Reload(name) => format!("to take it over: {}", command("reload", name)),
    }
}

fn has_systemd(root: &Root) -> bool {
    root.is_dir("/run/systemd/system")
}

fn has_openrc(root: &Root) -> bool {
    root.is_dir("/run/openrc")
}

fn service(node: &Node, names: &[&str], verb: &str) -> Result<(), Error> {
    let runner = node.runner;
    if has_systemd(&node.root) {
        // The one that runs; if none does, none is of this node but the first.
        let runs = |name: &&&str| {
            let asked = runner.run("systemctl", &["is-active", "--quiet", name], None);
            matches!(asked, Ok(Some(_)))
        };
        let name = names.iter().find(runs).or(names.first());
        let name = name.ok_or_else(|| unknown(node))?;
        runner.run("systemctl", &[verb, name], None)?;
    } else if has_openrc(&node.root) {
        let there = |name: &&&str| node.root.exists(format!("/etc/init.d/{name}"));
        let name = names.iter().find(there).ok_or_else(|| unknown(node))?;
        runner.run("rc-service", &[name, verb], None)?;
    } else {
        return Err(unknown(node));
    }
    Ok(())
}

/// Ends the first process of a node that is a container: the program that runs the container runs it again.
fn end_init() -> Result<(), Error> {
    let init = rustix::process::Pid::INIT;
    rustix::process::kill_process(init, rustix::process::Signal::TERM)
        .map_err(Error::io("end", Path::new("/proc/1")))
}

/// A command of the user's own, in a shell: the node's, if its programs can be run.
fn shell(node: &Node, command: &str) -> Result<(), Error> {
    let runner = match node.runner {
        Runner::Nowhere => Runner::Here,
        runner => runner,
    };
    runner.run("/bin/sh", &["-c", command], None).map(|_| ())
}
