//! What the shim and its helpers say to each other: one request, one reply, as JSON, with
//! descriptors beside it.

use std::path::PathBuf;

use medley_engine::{Entry, Form, Preopen};
use medley_image::artifact::Target;
use medley_image::store::Address;
use medley_types::EngineKind;
use medley_types::layers::{ImageLayers, Layer, ModuleFacts};
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::confinement::Labels;
use crate::spec::propagation::{self, Change};
use medley_cgroup::Cgroup;

/// What a helper is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a container. Descriptors: stdin, stdout, stderr, the status pipe, the pipe that is open
    /// as long as the shim lives, the pod's namespaces, and for a Wasm one its native code,
    /// or the module itself if the code is to be looked for in the cache.
    Create(Box<CreateOrder>),
    /// Add a process to a container. Descriptors: stdin, stdout, stderr, the status pipe, the pidfd of
    /// the container's init, and for a Wasm one its code as of `Create`.
    Exec(Box<ExecOrder>),
    /// Compile a module. Descriptors: the module.
    Compile(CompileOrder),
    /// Make a user namespace.
    UserNamespace(Maps),
    /// Tell what an engine's native code depends on besides the module. No descriptors.
    Fingerprint(EngineKind),
    /// Tell the Wasm layers of an image. No descriptors.
    Layers(LayersOrder),
    /// Tell in a process of its own which image a container was made of, and then take another
    /// request. No descriptors.
    TargetFirst(TargetOrder),
    /// Read one of them. No descriptors.
    Fetch(FetchOrder),
    /// Read the file that an image's containers start with. No descriptors.
    Entrypoint(EntrypointOrder),
    /// Make a pod's namespaces. Descriptors: its network namespace, if it has one, and the pipe
    /// that the first process of its pid namespace lives as long as, if it is to have one.
    Pod(PodOrder),
}

/// What init writes to the status pipe right before its program runs. A pipe that ends without it
/// is one of an init that never came so far.
pub(crate) const STARTED: &[u8] = b"+";

/// Where the descriptors of [`Request::Create`] stand.
pub(crate) const CREATE_FDS: usize = 5;

/// How many descriptors [`Request::Exec`] has at least.
pub(crate) const EXEC_FDS: usize = 5;

/// A container to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CreateOrder {
    /// The container's id.
    pub(crate) id: String,
    /// The folder that holds the `config.json` to use.
    pub(crate) bundle: PathBuf,
    /// The folder below which libcontainer keeps its state.
    pub(crate) state: PathBuf,
    /// The cgroup that the spec names.
    pub(crate) cgroups_path: Option<PathBuf>,
    /// Whether systemd manages the cgroup.
    pub(crate) systemd: bool,
    /// Whether the root is moved instead of pivoted.
    pub(crate) no_pivot_root: bool,
    /// Whether everything is to be logged.
    pub(crate) debug: bool,
    /// The supplementary groups that a Wasm container's init has, as ids on the node. A Linux
    /// one gets them from its spec.
    pub(crate) groups: Vec<u32>,
    /// What init is confined by. A Linux one gets its AppArmor profile from its spec.
    pub(crate) labels: Labels,
    /// Capabilities that init is to inherit and not to have, by their numbers.
    pub(crate) inheritable: u64,
    /// Whether the container has a session keyring of its own.
    pub(crate) keyring: bool,
    /// The working directory, where it is left to init, as the container's user, to enter it.
    pub(crate) late_cwd: Option<PathBuf>,
    /// The terminal that init gets.
    pub(crate) terminal: Option<TerminalOrder>,
    /// Mounts to map before.
    pub(crate) mapped: Vec<IdMapped>,
    /// Device nodes to make before.
    pub(crate) nodes: Vec<Node>,
    /// Each tmpfs to copy into what the image has where it lies.
    pub(crate) filled: Vec<PathBuf>,
    /// What is mounted at `/dev`, where it is a folder of the node.
    pub(crate) dev: Option<BoundDev>,
    /// Where the hierarchies of cgroup v1 belong.
    pub(crate) cgroups: Vec<CgroupMount>,
    /// Whether it has a network namespace of its own, which nothing has been done to yet.
    pub(crate) own_network: bool,
    /// The propagation of its mounts.
    pub(crate) propagation: Vec<Change>,
    /// How many descriptors after the first five are namespaces for the container to join, and
    /// are named in its spec.
    pub(crate) namespaces: usize,
    /// What init does once it is started.
    pub(crate) program: Program,
}

/// A terminal to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TerminalOrder {
    /// Whose it is: a user of the node.
    pub(crate) owner: u32,
    /// Its lines, and the characters in one; the kernel's own choice if nobody has one.
    pub(crate) size: Option<(u16, u16)>,
}

/// A mount to show to a user namespace, with its ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdMapped {
    /// What is mounted.
    pub(crate) source: PathBuf,
    /// Where, for libcontainer to mount it from.
    pub(crate) at: PathBuf,
    /// The namespace; none for a mount that is shown as it is, where the container's root may not
    /// pass the folders above its source.
    pub(crate) namespace: Option<PathBuf>,
    /// Whether what is mounted below it is shown so too.
    pub(crate) recursive: bool,
}

/// A device node to make, for libcontainer to mount it from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Where: all of a container's in one folder.
    pub(crate) at: PathBuf,
    pub(crate) kind: NodeKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Who may do what with it.
    pub(crate) mode: u32,
    /// Its owner, as an id on the node.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
}

/// What a device node leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeKind {
    Block,
    Char,
    Fifo,
}

/// A folder of the node at `/dev`, and what is mounted below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoundDev {
    /// The folder, and then the others.
    pub(crate) staged: Vec<Staged>,
    /// How mounts below the folder are told.
    pub(crate) propagation: propagation::Kind,
    /// Whether init's terminal is mounted over the console there.
    pub(crate) console: bool,
}

/// A mount that is made in one place, and belongs in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// Where it is made, in the container.
    pub(crate) from: PathBuf,
    /// Where it belongs.
    pub(crate) at: PathBuf,
}

/// Where the container's cgroups are to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupMount {
    /// A tmpfs of the container's.
    pub(crate) at: PathBuf,
    /// Whether nothing can be written there.
    pub(crate) read_only: bool,
}

/// The ids of a user namespace, in the lines of `/proc/<pid>/uid_map`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    /// Of users.
    pub(crate) uids: String,
    /// Of groups.
    pub(crate) gids: String,
}

impl Maps {
    /// Whether nobody has asked for any.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

/// The number that the first of a container's namespaces has in the helper, as its spec says. Far
/// above all that a helper opens; the others follow.
pub(crate) const FIRST_NAMESPACE: u32 = 900;

/// The namespaces of a pod to make.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PodOrder {
    /// Whether it has a network namespace, made by somebody else.
    pub(crate) has_network: bool,
    /// Whether it has an IPC namespace.
    pub(crate) ipc: bool,
    /// The name of its host, if it has a UTS namespace.
    pub(crate) hostname: Option<String>,
    /// Whether its containers share a pid namespace.
    pub(crate) pid: bool,
    /// Kernel parameters of its network and its IPC namespace.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Whether everything is to be logged.
    pub(crate) debug: bool,
}

/// A kind of namespace that the containers of a pod share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Namespace {
    /// The network.
    Network,
    /// The owner of the others.
    User,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The host's name.
    Uts,
    /// Processes.
    Pid,
}

/// A process to add to a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecOrder {
    /// The pid that init has in the shim's pid namespace. It is init's as long as its pidfd says
    /// that it lives.
    pub(crate) init: i32,
    /// The container's id, where it has a session keyring of its own.
    pub(crate) keyring: Option<String>,
    /// The container's cgroup.
    pub(crate) cgroup: Cgroup,
    /// The folder that holds the container's `config.json`, for its seccomp filter.
    pub(crate) bundle: PathBuf,
    /// What runs, as whom and where.
    pub(crate) process: Process,
    /// The terminal that it gets.
    pub(crate) terminal: Option<TerminalOrder>,
    /// Whether everything is to be logged.
    pub(crate) debug: bool,
    /// What it does.
    pub(crate) program: Program,
}

/// What init does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Program {
    /// Execs this path, or looks for `args[0]` if nobody has yet.
    Linux {
        /// Absolute, in the container.
        path: Option<PathBuf>,
    },
    /// Runs a guest.
    Wasm {
        /// Which engine compiled it and runs it.
        engine: EngineKind,
        /// What to call.
        entry: Entry,
        /// Where its native code is.
        code: Code,
        /// The folders that the guest may open.
        preopens: Vec<Preopen>,
        /// Where in `process.args` the guest's own begin.
        argv_start: usize,
        /// Bytes of stack that it may use, where they are not the engine's to choose.
        stack: Option<u64>,
    },
}

/// Where a guest's native code is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Code {
    /// In the cache of this folder, perhaps.
    Cached {
        /// The cache's folder.
        cache: PathBuf,
        /// What the module is.
        form: Form,
        /// The module's SHA-256, if it is known: then the descriptor is not needed, nor there.
        module: Option<String>,
    },
    /// In the descriptor.
    Given {
        /// What the module is.
        form: Form,
    },
}

/// A module to compile.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileOrder {
    /// By which engine.
    pub(crate) engine: EngineKind,
    /// What is to be called.
    pub(crate) entry: Entry,
}

/// An image whose Wasm layers are asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayersOrder {
    /// Which containerd has it.
    pub(crate) containerd: Address,
    /// Which.
    pub(crate) image: Whose,
}

/// A container whose image is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TargetOrder {
    /// Which containerd has it.
    pub(crate) containerd: Address,
    /// Its id.
    pub(crate) container: String,
}

/// How an image is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Whose {
    /// That of the container with this id.
    Container(String),
    /// By its own name.
    Image(String),
    /// By what the name stood for.
    Target(Target),
}

/// A file of an image's file system to read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EntrypointOrder {
    /// Which containerd has it.
    pub(crate) containerd: Address,
    /// The image's name.
    pub(crate) image: String,
}

/// A layer to read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchOrder {
    /// Which containerd has it.
    pub(crate) containerd: Address,
    /// Which.
    pub(crate) layer: Layer,
}

/// What a helper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The container waits to be started, or the process runs. Descriptors: the master of its
    /// terminal, if it has one.
    Created {
        /// Init's, in the shim's pid namespace.
        pid: i32,
    },
    /// The namespaces are made. Descriptors: they, in this order.
    Pod {
        /// The first process of the pid namespace, in the shim's.
        holder: Option<i32>,
        /// Which they are.
        namespaces: Vec<Namespace>,
    },
    /// The module is compiled. Descriptors: the native code, in a sealed memfd.
    Compiled {
        /// What the module turned out to be.
        form: Form,
    },
    /// Descriptors: the user namespace.
    UserNamespace,
    /// The native code is not in the cache. Nothing was done.
    NotCached {
        /// The engine's fingerprint, part of the key to keep it by.
        fingerprint: String,
        /// What was wrong with an entry that was there and has been removed.
        damage: Option<String>,
    },
    /// The cache can't be used. Nothing was done.
    NoCache {
        /// Why, as a sentence.
        reason: String,
    },
    /// The image that a container was made of.
    Target {
        /// None if it was made of none.
        target: Option<Target>,
    },
    /// The image's Wasm layers.
    Layers {
        /// None if the container was made of no image.
        listing: Option<ImageLayers>,
    },
    /// A layer was read. Descriptors: the module, in a sealed memfd.
    Fetched {
        /// The module's SHA-256.
        module: String,
        /// What decides about it.
        facts: ModuleFacts,
    },
    /// The file was read. Descriptors: it, in a sealed memfd.
    Entrypoint {
        /// Where it is, in the container.
        path: PathBuf,
        /// In bytes.
        size: u64,
        /// Its SHA-256.
        module: String,
        /// What decides about it.
        facts: ModuleFacts,
    },
    /// An engine's fingerprint.
    Fingerprint {
        /// Part of the key that its code is kept by.
        fingerprint: String,
    },
    /// A module can't be compiled, as often as it is tried.
    Unfit {
        /// Why, as a sentence.
        reason: String,
    },
    /// It could not be done; nothing is left of it.
    Failed {
        /// Why, as a sentence.
        reason: String,
    },
}

impl Reply {
    /// The process that was made, which comes to the shim with the helper's end.
    pub(crate) fn made(&self) -> Option<i32> {
        match self {
            Self::Created { pid } => Some(*pid),
            Self::Pod { holder, .. } => *holder,
            _ => None,
        }
    }
}
