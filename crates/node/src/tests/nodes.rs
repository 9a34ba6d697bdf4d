//! Nodes, by the files that tell what they are.

/// A node, and the diff of an install on it.
pub(super) struct Fixture {
    pub(super) name: &'static str,
    pub(super) distribution: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) golden: &'static str,
}

macro_rules! fixture {
    ($name:literal, $distribution:literal, $files:expr) => {
        Fixture {
            name: $name,
            distribution: $distribution,
            files: &$files,
            golden: include_str!(concat!("golden/", $name, ".diff")),
        }
    };
}

pub(super) const ALL: [Fixture; 18] = [
    fixture!(
        "kind",
        "kind",
        [("/kind/version", "v1.31.0\n"), (CONFIG, KIND)]
    ),
    fixture!(
        "minikube",
        "minikube",
        [("/var/lib/minikube/", ""), (CONFIG, MINIKUBE)]
    ),
    fixture!(
        "kubeadm",
        "kubeadm",
        [("/etc/kubernetes/kubelet.conf", ""), (CONFIG, KUBEADM)]
    ),
    fixture!(
        "aks",
        "aks",
        [("/etc/kubernetes/azure.json", "{}"), (CONFIG, AKS)]
    ),
    fixture!(
        "eks",
        "eks",
        [
            ("/etc/eks/", ""),
            (CONFIG, EKS),
            ("/etc/containerd/config.d/", "")
        ]
    ),
    fixture!("gke", "gke", [("/home/kubernetes/bin/", ""), (CONFIG, GKE)]),
    fixture!(
        "k3s",
        "k3s",
        [("/usr/local/bin/k3s", ""), (K3S_CONFIG, K3S_IMPORTS)]
    ),
    fixture!(
        "k3s-v2",
        "k3s",
        [("/usr/local/bin/k3s", ""), (K3S_CONFIG, K3S_V2)]
    ),
    fixture!(
        "k3s-template",
        "k3s",
        [
            ("/usr/local/bin/k3s", ""),
            (K3S_CONFIG, K3S_V3),
            (
                "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
                TEMPLATE
            )
        ]
    ),
    fixture!("k3d", "k3d", [("/bin/k3s", "")]),
    fixture!("rke2", "rke2", [(RKE2_CONFIG, K3S_V3)]),
    fixture!("microk8s", "microk8s", [(MICROK8S_TEMPLATE, MICROK8S)]),
    fixture!(
        "k0s",
        "k0s",
        [
            ("/etc/k0s/containerd.toml", K0S),
            ("/usr/local/bin/k0s", "")
        ]
    ),
    fixture!(
        "k0s-1.35",
        "k0s",
        [
            ("/etc/k0s/containerd.toml", K0S_V2),
            ("/usr/local/bin/k0s", "")
        ]
    ),
    fixture!(
        "docker",
        "docker",
        [
            ("/usr/bin/dockerd", ""),
            ("/etc/docker/daemon.json", DAEMON_JSON)
        ]
    ),
    fixture!(
        "docker-new",
        "docker",
        [("/usr/bin/dockerd", ""), (CONFIG, DOCKERS)]
    ),
    fixture!("containerd", "containerd", [(CONFIG, DEBIAN)]),
    fixture!(
        "containerd-new",
        "containerd",
        [("/usr/bin/containerd", "")]
    ),
];

pub(super) fn named(name: &str) -> &'static Fixture {
    static FIXTURES: [Fixture; 18] = ALL;
    FIXTURES
        .iter()
        .find(|fixture| fixture.name == name)
        .unwrap()
}

pub(super) const CONFIG: &str = "/etc/containerd/config.toml";
pub(super) const K3S_CONFIG: &str = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";
const RKE2_CONFIG: &str = "/var/lib/rancher/rke2/agent/etc/containerd/config.toml";
const MICROK8S_TEMPLATE: &str = "/var/snap/microk8s/current/args/containerd-template.toml";

const KIND: &str = r#"# explicitly use v2 config format
version = 2

[proxy_plugins]
# fuse-overlayfs is used for rootless
[proxy_plugins."fuse-overlayfs"]
  type = "snapshot"
  address = "/run/containerd-fuse-overlayfs.sock"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
  discard_unpacked_layers = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    base_runtime_spec = "/etc/containerd/cri-base.json"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
  # a handler of Kubernetes' own tests
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes."test-handler"]
    runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  tolerate_missing_hugetlb_controller = true
"#;

const MINIKUBE: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
imports = ["/etc/containerd/containerd.conf.d/02-containerd.conf"]

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.10"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            SystemdCgroup = false
"#;

pub(super) const KUBEADM: &str = r#"version = 3
root = '/var/lib/containerd'
imports = ['/etc/containerd/conf.d/*.toml']

[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'

  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = true
"#;

const AKS: &str = r#"version = 2
oom_score = -999
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mcr.microsoft.com/oss/kubernetes/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "nvidia-container-runtime"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia-container-runtime]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia-container-runtime.options]
      BinaryName = "/usr/bin/nvidia-container-runtime"
      SystemdCgroup = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.untrusted]
      runtime_type = "io.containerd.runc.v2"
[metrics]
  address = "0.0.0.0:10257"
"#;

const EKS: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
imports = ["/etc/containerd/config.d/*.toml"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
  discard_unpacked_layers = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  base_runtime_spec = "/etc/containerd/base-runtime-spec.json"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

const GKE: &str = r#"version = 2
oom_score = -999
disabled_plugins = ["io.containerd.internal.v1.restart"]

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/home/kubernetes/bin"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true"#;

const K3S_IMPORTS: &str = r#"# File generated by k3s. DO NOT EDIT. Use config-v3.toml.tmpl instead.
version = 3
imports = ["/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml"]
root = "/var/lib/rancher/k3s/agent/containerd"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

pub(super) const K3S_V3: &str = r#"version = 3

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

const K3S_V2: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

const TEMPLATE: &str = r#"{{ template "base" . }}

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'gvisor']
  runtime_type = "io.containerd.runsc.v1"
{{ if .NodeConfig.SELinux }}
[debug]
  level = "debug"
{{ end }}"#;

const MICROK8S: &str = r#"version = 2
oom_score = 0

# The 'plugins."io.containerd.grpc.v1.cri"' table contains all of the server options.
[plugins."io.containerd.grpc.v1.cri"]

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${SNAPSHOTTER}"
    default_runtime_name = "${RUNTIME}"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      # runtime_type is the runtime type to use in containerd
      runtime_type = "${RUNTIME_TYPE}"

   [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
      runtime_type = "io.containerd.kata.v2"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "${SNAP_DATA}/args/certs.d"
"#;

const K0S: &str = r#"# k0s_managed=true
version = 3
imports = ["/etc/k0s/containerd.d/*.toml"]

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10"
"#;

const K0S_V2: &str = r#"# k0s_managed=true
version = 2
imports = ["/run/k0s/containerd-cri.toml"]
"#;

const DAEMON_JSON: &str = r#"{
    "log-driver": "json-file",
    "runtimes": {
        "kata": {
            "runtimeType": "io.containerd.kata.v2"
        }
    },
    "features": { "containerd-snapshotter": true }
}
"#;

const DOCKERS: &str = r#"disabled_plugins = ["cri"]

#root = "/var/lib/containerd"
"#;

const DEBIAN: &str = r#"version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"#;
