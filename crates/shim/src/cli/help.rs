//! `--help` of the whole program.

/// What it prints.
pub(super) const TOP: &str = "\
Medley: a containerd shim that runs Wasm and Linux containers side by side in the same pod.

For people, each with --help:
  containerd-shim-wasm-v1 install        put the shim on this node, and make it known to containerd or Docker
  containerd-shim-wasm-v1 uninstall      take away what install has brought
  containerd-shim-wasm-v1 status         tell what is on the node
  containerd-shim-wasm-v1 cache ls       list the native code compiled from Wasm modules
  containerd-shim-wasm-v1 cache stat     tell how much of it there is
  containerd-shim-wasm-v1 cache prune    remove what is not in use
  containerd-shim-wasm-v1 cache warm     compile modules before a container needs them
  containerd-shim-wasm-v1 help [COMMAND]

For containerd, which runs the shim by itself:
  containerd-shim-wasm-v1 [FLAGS] start  find the pod's shim or start one, and print its address
  containerd-shim-wasm-v1 [FLAGS] delete clean up after a shim that died
  containerd-shim-wasm-v1 -info          print the runtime's features, as protobuf
  containerd-shim-wasm-v1 -v, -version   print the version and the engines
  containerd-shim-wasm-v1 -socket PATH   serve the Task API

  Flags, with one dash or two:
  -namespace NAME         containerd's namespace
  -id ID                  the container
  -bundle DIR             its bundle, instead of the working directory
  -address SOCKET         containerd's socket
  -publish-binary FILE    containerd's program, which is not called: events go over its socket
  -debug                  log more

Exit status: 0 done, 1 not done, 2 wrong usage.
";

/// Every command, as a sentence names them.
const COMMANDS: &str =
    "there are install, uninstall, status, cache and help, and containerd's start and delete";

/// What to say of a command that is none.
pub(super) fn unknown(name: &str) -> String {
    format!("there is no command {name:?}: {COMMANDS}")
}

/// What to say where there is no command at all.
pub(super) fn none() -> String {
    format!("this is a shim that containerd runs; {COMMANDS}")
}
