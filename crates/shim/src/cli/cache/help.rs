//! `--help` of `cache` and of each of its commands.

use std::ffi::OsStr;

const TOP: &str = "The node's cache of native code, compiled from Wasm modules.\n\n";

const LIST: &str = "  \
  containerd-shim-wasm-v1 cache ls                list what is in it, the last used first
";

const STAT: &str = "  \
  containerd-shim-wasm-v1 cache stat              tell how much it holds
";

const PRUNE: &str = "  \
  containerd-shim-wasm-v1 cache prune [WHAT]      remove what is not in use: running containers keep theirs
      --older-than AGE                            ... and was not used for 90m, 12h, 30d
      --to-size SIZE                              ... the longest unused first, until 500M, 2G are left
      --all                                       ... all of it
                                                  (without any of these: down to the cache's limit)
                                                  It also forgets which modules can't be compiled, and
                                                  they are tried again; with --to-size it does not.
";

const WARM: &str = "  \
  containerd-shim-wasm-v1 cache warm WHAT...      compile modules before a container needs them: files, or
                                                  images that containerd has pulled
      --engine NAME                               ... by this engine, as run.oci.handler would choose
      --address SOCKET                            ... of this containerd, else $CONTAINERD_ADDRESS or
                                                  /run/containerd/containerd.sock
      --namespace NAME                            ... in this namespace (Kubernetes: k8s.io), else
                                                  $CONTAINERD_NAMESPACE or default
";

const COMMON: &str = "
  --dir DIR       the cache's directory, else $CONTAINERD_SHIM_WASM_CACHE or /var/lib/containerd-shim-wasm/cache
  --json          for programs

Exit status: 0 done, 1 something could not be done, 2 wrong usage.
";

/// The help of one command, or of all.
pub(super) fn of(verb: Option<&OsStr>) -> String {
    let all = [LIST, STAT, PRUNE, WARM];
    let commands = match verb.and_then(OsStr::to_str) {
        Some("ls") => LIST.to_owned(),
        Some("stat") => STAT.to_owned(),
        Some("prune") => PRUNE.to_owned(),
        Some("warm") => WARM.to_owned(),
        _ => all.concat(),
    };
    format!("{TOP}{commands}{COMMON}")
}
