//! A pod that has no container of its own to stand for it, as the Sandbox API asks for it.

use std::path::PathBuf;

/// A pod to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxRequest {
    /// Its id, which is the one of the shim's group.
    pub id: String,
    /// Its bundle's directory.
    pub bundle: PathBuf,
    /// Its network namespace; `None` for the node's.
    pub netns: Option<PathBuf>,
    /// Its host's name; empty for the node's.
    pub hostname: String,
    /// Whom its containers ask for names.
    pub dns: Dns,
    /// The parent of its containers' cgroups; empty if it has none.
    pub cgroup_parent: String,
    /// Kernel parameters of its namespaces.
    pub sysctls: Vec<(String, String)>,
    /// With whom its containers share IPC.
    pub ipc: Scope,
    /// With whom its containers share processes.
    pub pid: Scope,
}

/// With whom a container shares a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// With all of its pod.
    #[default]
    Pod,
    /// With none, or with those that it names itself.
    Container,
    /// With the node.
    Node,
}

/// Whom to ask for names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Domains that are tried after a name.
    pub searches: Vec<String>,
    /// As in `resolv.conf`.
    pub options: Vec<String>,
}

impl Dns {
    /// The text of a `resolv.conf`; empty if nothing is asked for.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Dns;

    #[test]
    fn a_resolv_conf_has_what_is_asked_for_and_nothing_else() {
        let dns = Dns {
            servers: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            searches: vec!["a.b".into(), "b".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            dns.resolv_conf(),
            "search a.b b\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n"
        );
        assert_eq!(Dns::default().resolv_conf(), "");
    }
}
