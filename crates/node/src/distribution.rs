//! Whose node it is: where its containerd is configured, and by whom it is restarted.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::root::Root;

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    Kind,
    Minikube,
    Kubeadm,
    Aks,
    Eks,
    Gke,
    K3s,
    K3d,
    Rke2,
    MicroK8s,
    K0s,
    Docker,
    Containerd,
}

/// Each of them, by the name that `--distribution` takes.
const NAMES: [(&str, Distribution); 13] = [
    ("kind", Distribution::Kind),
    ("minikube", Distribution::Minikube),
    ("kubeadm", Distribution::Kubeadm),
    ("aks", Distribution::Aks),
    ("eks", Distribution::Eks),
    ("gke", Distribution::Gke),
    ("k3s", Distribution::K3s),
    ("k3d", Distribution::K3d),
    ("rke2", Distribution::Rke2),
    ("microk8s", Distribution::MicroK8s),
    ("k0s", Distribution::K0s),
    ("docker", Distribution::Docker),
    ("containerd", Distribution::Containerd),
];

/// How a distribution is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Style {
    /// By a file that containerd reads.
    Toml { main: PathBuf },
    /// By templates in a directory, out of which `config.toml` is made at each start.
    Templates { dir: PathBuf },
    /// By files in a directory of k0s, where it manages `main` by itself.
    DropIn { main: PathBuf, dir: PathBuf },
    /// By Docker's `daemon.json`.
    Docker { file: PathBuf },
}

/// How what reads the configuration is had to read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// A service of systemd or OpenRC, by the first of these names that is there.
    Restart(&'static [&'static str]),
    /// The same, which needs no more than to be told.
    Reload(&'static str),
    /// The first process of the container that the node is.
    Init,
    /// It sees it by itself.
    ByItself,
}

const CONFIG: &str = "/etc/containerd/config.toml";
const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
const RKE2: &str = "/var/lib/rancher/rke2/agent/etc/containerd";
const MICROK8S: &str = "/var/snap/microk8s/current/args/containerd-template.toml";
const K0S: &str = "/etc/k0s/containerd.toml";
const K0S_DIR: &str = "/etc/k0s/containerd.d";
const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// The programs of containerd, where packages put them.
const CONTAINERDS: [&str; 4] = [
    "/usr/local/bin/containerd",
    "/usr/bin/containerd",
    "/usr/sbin/containerd",
    "/bin/containerd",
];

impl Distribution {
    /// The one that is called so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, distribution)| *distribution)
    }

    /// The names there are.
    pub(crate) fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    pub(crate) fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, known)| *known == self);
        found.map_or("containerd", |(name, _)| name)
    }

    /// Finds it by what is there. Of two that may both be at work it does not choose.
    pub(crate) fn find(root: &Root) -> Result<Self, Error> {
        let found: Vec<Self> = SPECIAL
            .iter()
            .filter(|(_, signs)| signs.iter().any(|sign| root.exists(sign)))
            .map(|(distribution, _)| *distribution)
            .collect();
        match found[..] {
            [] => {}
            [Self::K3s] if is_k3d(root) => return Ok(Self::K3d),
            [distribution] => return Ok(distribution),
            _ => {
                let names: Vec<_> = found.iter().map(|found| found.name()).collect();
                return Err(Error::Ambiguous {
                    root: root.path().to_owned(),
                    found: names.join(" and "),
                });
            }
        }
        let has_containerd =
            root.exists(CONFIG) || CONTAINERDS.iter().any(|path| root.exists(path));
        if has_containerd {
            let of_cloud = CLOUDS
                .iter()
                .find(|(_, signs)| signs.iter().any(|sign| root.exists(sign)));
            if let Some((distribution, _)) = of_cloud {
                return Ok(*distribution);
            }
        }
        if DOCKERS.iter().any(|sign| root.exists(sign)) {
            return Ok(Self::Docker);
        }
        if has_containerd {
            return Ok(Self::Containerd);
        }
        Err(Error::Unknown {
            root: root.path().to_owned(),
            known: Self::names(),
        })
    }

    /// How it is configured.
    pub(crate) fn style(self, root: &Root) -> Style {
        match self {
            Self::K3s | Self::K3d => Style::Templates { dir: K3S.into() },
            Self::Rke2 => Style::Templates { dir: RKE2.into() },
            Self::MicroK8s => Style::Toml {
                main: MICROK8S.into(),
            },
            Self::K0s if is_managed_by_k0s(root) => Style::DropIn {
                main: K0S.into(),
                dir: K0S_DIR.into(),
            },
            Self::K0s => Style::Toml { main: K0S.into() },
            Self::Docker => Style::Docker {
                file: DAEMON_JSON.into(),
            },
            _ => Style::Toml {
                main: CONFIG.into(),
            },
        }
    }

    /// The socket that its containerd, or Docker, answers on.
    pub(crate) fn socket(self) -> &'static str {
        match self {
            Self::K3s | Self::K3d | Self::Rke2 => "/run/k3s/containerd/containerd.sock",
            Self::MicroK8s => "/var/snap/microk8s/common/run/containerd.sock",
            Self::K0s => "/run/k0s/containerd.sock",
            Self::Docker => "/run/docker.sock",
            _ => "/run/containerd/containerd.sock",
        }
    }

    /// Where the shim goes: where containerd looks for shims, if such a place may be written.
    pub(crate) fn bin_dir(self, root: &Root) -> PathBuf {
        let dir = match self {
            // Its root is the snap's own, and its PATH changes with each revision.
            Self::MicroK8s => "/var/snap/microk8s/common/medley/bin",
            // Container-Optimized OS has no other place that programs may run from.
            Self::Gke if root.is_dir("/home/kubernetes/bin") => "/home/kubernetes/bin",
            Self::K3d if !root.is_dir("/usr/local/bin") => "/bin",
            _ => "/usr/local/bin",
        };
        dir.into()
    }

    /// Who restarts it.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::K3s => Service::Restart(&["k3s", "k3s-agent"]),
            Self::K3d => Service::Init,
            Self::Rke2 => Service::Restart(&["rke2-server", "rke2-agent"]),
            Self::MicroK8s => Service::Restart(&["snap.microk8s.daemon-containerd"]),
            Self::K0s => Service::ByItself,
            Self::Docker => Service::Reload("docker"),
            _ => Service::Restart(&["containerd"]),
        }
    }

    /// Where its containerd is.
    pub(crate) fn containerds(self) -> &'static [&'static str] {
        match self {
            Self::K3s | Self::K3d => &["/var/lib/rancher/k3s/data/current/bin/containerd"],
            Self::Rke2 => &["/var/lib/rancher/rke2/bin/containerd"],
            Self::MicroK8s => &["/snap/microk8s/current/bin/containerd"],
            Self::K0s => &["/var/lib/k0s/bin/containerd"],
            Self::Docker => &[
                "/usr/bin/dockerd",
                "/usr/local/bin/dockerd",
                "/usr/sbin/dockerd",
            ],
            _ => &CONTAINERDS,
        }
    }
}

/// Those that bring a containerd of their own, and what only they have.
const SPECIAL: [(Distribution, &[&str]); 4] = [
    (
        Distribution::K3s,
        &[K3S, "/usr/local/bin/k3s", "/usr/bin/k3s", "/bin/k3s"],
    ),
    (
        Distribution::Rke2,
        &[
            RKE2,
            "/usr/local/bin/rke2",
            "/usr/bin/rke2",
            "/opt/rke2/bin/rke2",
        ],
    ),
    (Distribution::MicroK8s, &[MICROK8S]),
    (
        Distribution::K0s,
        &[K0S, K0S_DIR, "/usr/local/bin/k0s", "/usr/bin/k0s"],
    ),
];

/// Those that use the node's, the more special ones first.
const CLOUDS: [(Distribution, &[&str]); 6] = [
    (Distribution::Kind, &["/kind"]),
    (Distribution::Minikube, &["/var/lib/minikube"]),
    (
        Distribution::Aks,
        &["/etc/kubernetes/azure.json", "/opt/azure"],
    ),
    (Distribution::Eks, &["/etc/eks"]),
    (
        Distribution::Gke,
        &[
            "/home/kubernetes/bin",
            "/etc/kube-env",
            "/home/kubernetes/kube-env",
        ],
    ),
    (
        Distribution::Kubeadm,
        &["/etc/kubernetes", "/var/lib/kubelet/config.yaml"],
    ),
];

const DOCKERS: [&str; 4] = [
    DAEMON_JSON,
    "/usr/bin/dockerd",
    "/usr/local/bin/dockerd",
    "/usr/sbin/dockerd",
];

/// A node in a container: the image of k3s has it in /bin, and no init.
fn is_k3d(root: &Root) -> bool {
    root.exists("/bin/k3s") && !root.exists("/usr/local/bin/k3s") && !root.exists("/usr/bin/k3s")
}

/// Whether k0s writes the file by itself, as it says in it.
fn is_managed_by_k0s(root: &Root) -> bool {
    /// The comment by which k0s knows its own file.
    const MANAGED: &[u8] = b"k0s_managed=true";
    match root.read(Path::new(K0S)) {
        Ok(Some(text)) => text.windows(MANAGED.len()).any(|part| part == MANAGED),
        // It is yet to come.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{Distribution, NAMES};

    #[test]
    fn every_distribution_is_found_by_its_name() {
        for (name, distribution) in NAMES {
            assert_eq!(Distribution::named(name), Some(distribution));
            assert_eq!(distribution.name(), name);
        }
        assert_eq!(Distribution::named("openshift"), None);
    }
}
