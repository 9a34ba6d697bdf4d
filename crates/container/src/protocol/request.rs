//! What helpers are asked for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use medley_engine::{Application, Entry, Form, Preopen};
use medley_image::artifact::Target;
use medley_image::store::Address;
use medley_types::EngineKind;
use medley_types::layers::{ImageLayers, Layer};
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use super::container::{IdMappings, PreparedContainer, TerminalRequest};
use super::reply::{
    Compiled, FetchedApplication, FetchedEntrypoint, FetchedModule, MakeReply, Reply,
    SandboxNamespaces, UserNamespace,
};
use medley_cgroup::Cgroup;

/// Something that a helper can be asked for. `F` is the kind of its descriptors.
pub(crate) trait HelperCall<F>: Into<Request<F>> {
    /// What the helper replies, with its descriptors.
    type Reply: Reply;
}

/// Makes a container whose init waits to be started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Create<F> {
    pub(crate) container: Box<PreparedContainer>,
    pub(crate) program: Program<F>,
    pub(crate) fds: CreateFds<F>,
}

/// The descriptors of a container to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CreateFds<F> {
    pub(crate) stdio: [F; 3],
    /// Where init says that its program runs, or why it does not.
    pub(crate) status: F,
    /// The pipe that is open as long as the shim lives; none if init may outlive who makes it.
    pub(crate) shim_alive: Option<F>,
    /// Namespaces for the container to join, which its spec names by `FIRST_NAMESPACE` and the
    /// numbers after it.
    pub(crate) namespaces: Vec<F>,
    /// What its program has as descriptors 3 and up.
    pub(crate) passed: Vec<F>,
}

/// Adds a process to a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec<F> {
    pub(crate) process: Box<PreparedProcess>,
    pub(crate) program: Program<F>,
    pub(crate) fds: ExecFds<F>,
}

/// The descriptors of a process to add.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExecFds<F> {
    pub(crate) stdio: [F; 3],
    /// Where the process says that its program runs, or why it does not.
    pub(crate) status: F,
    /// The pidfd of the container's init.
    pub(crate) init: F,
    /// What its program has as descriptors 3 and up.
    pub(crate) passed: Vec<F>,
}

/// A process to add to a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PreparedProcess {
    /// The pid that init has in the shim's pid namespace. It is init's as long as its pidfd says
    /// that it lives.
    pub(crate) init: i32,
    /// The container's id.
    pub(crate) id: String,
    /// Whether it has a session keyring of its own.
    pub(crate) keyring: bool,
    /// The container's cgroup.
    pub(crate) cgroup: Cgroup,
    /// The directory of the container's `config.json`, for its seccomp filter.
    pub(crate) bundle: PathBuf,
    /// What runs, as whom and where.
    pub(crate) process: Process,
    pub(crate) terminal: Option<TerminalRequest>,
    /// Whether everything is logged.
    pub(crate) debug: bool,
}

/// What the process of a container runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Program<F> {
    /// Execs this path, which is absolute in the container, or looks for `args[0]` itself.
    Linux { path: Option<PathBuf> },
    /// Runs a guest.
    Wasm(Guest<F>),
}

/// A guest to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Guest<F> {
    /// The engine that compiled it and runs it.
    pub(crate) engine: EngineKind,
    /// What to call.
    pub(crate) entry: Entry,
    /// Its native code.
    pub(crate) code: Code<F>,
    /// The directories that it may open.
    pub(crate) preopens: Vec<Preopen>,
    /// Where in `process.args` its own begin.
    pub(crate) argv_start: usize,
    /// Bytes of stack that it may use, where they are not the engine's to choose.
    pub(crate) stack: Option<u64>,
}

/// Where a guest's native code is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Code<F> {
    /// In the cache of this directory, perhaps.
    Cached {
        cache: PathBuf,
        form: Form,
        module: Module<F>,
    },
    /// In this descriptor.
    Given { form: Form, code: F },
    /// That of each component of an application.
    Application {
        application: Box<Application>,
        components: Vec<Component<F>>,
        /// The files of an artifact, as `medley_spin::pack` has them.
        files: Option<F>,
    },
}

/// A component of an application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Component<F> {
    /// Its id.
    pub(crate) id: String,
    /// What to call.
    pub(crate) entry: Entry,
    /// Its native code, which is no application's.
    pub(crate) code: Code<F>,
}

/// What names a module in the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Module<F> {
    /// Its SHA-256.
    Digest(String),
    /// The module itself, of which the digest is not known.
    File(F),
}

/// Compiles a module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compile<F> {
    pub(crate) engine: EngineKind,
    /// What is to be called.
    pub(crate) entry: Entry,
    pub(crate) module: F,
}

/// Makes a user namespace.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MakeUserNamespace {
    pub(crate) mappings: IdMappings,
}

/// Makes a sandbox's namespaces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MakeSandbox<F> {
    /// Its network namespace, which containerd has made, if it has one.
    pub(crate) network: Option<F>,
    /// Whether it has an IPC namespace.
    pub(crate) ipc: bool,
    /// The name of its host, if it has a UTS namespace.
    pub(crate) hostname: Option<String>,
    /// If it has a pid namespace, the pipe whose end is the end of its first process.
    pub(crate) holder_lifeline: Option<F>,
    /// Kernel parameters of its network and its IPC namespace.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Whether everything is logged.
    pub(crate) debug: bool,
}

/// Tells what an engine's native code depends on besides the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) engine: EngineKind,
}

/// Tells which image a container was made of, in a process of its own: the helper takes another
/// request after it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResolveImage {
    pub(crate) containerd: Address,
    /// The container's id.
    pub(crate) container: String,
}

/// Lists the Wasm layers of an image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListLayers {
    pub(crate) containerd: Address,
    pub(crate) image: ImageRef,
}

/// How an image is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ImageRef {
    /// That of the container with this id.
    Container(String),
    /// By its own name.
    Name(String),
    /// By what the name stands for.
    Target(Target),
}

/// Reads a layer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchLayer {
    pub(crate) containerd: Address,
    pub(crate) layer: Layer,
}

/// Reads a Spin application that is an artifact.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchApplication {
    pub(crate) containerd: Address,
    /// The image, as it was listed: its name may stand for another one by now.
    pub(crate) target: Target,
}

/// Reads the file that an image's containers start with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchEntrypoint {
    pub(crate) containerd: Address,
    /// The image, as it was listed: its name may stand for another one by now.
    pub(crate) target: Target,
}

/// Each call, as the helper receives it, and its reply.
macro_rules! calls {
    ($($name:ident($call:ty) -> $reply:ty;)+) => {
        /// What a helper is asked for.
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) enum Request<F> {
            $($name($call),)+
        }

        $(impl<F> From<$call> for Request<F> {
            fn from(call: $call) -> Self {
                Self::$name(call)
            }
        }

        impl<F> HelperCall<F> for $call {
            type Reply = $reply;
        })+
    };
}

calls! {
    Create(Create<F>) -> MakeReply<OwnedFd>;
    Exec(Exec<F>) -> MakeReply<OwnedFd>;
    Compile(Compile<F>) -> Compiled<OwnedFd>;
    MakeUserNamespace(MakeUserNamespace) -> UserNamespace<OwnedFd>;
    MakeSandbox(MakeSandbox<F>) -> SandboxNamespaces<OwnedFd>;
    Fingerprint(Fingerprint) -> String;
    ResolveImage(ResolveImage) -> Option<Target>;
    ListLayers(ListLayers) -> Option<ImageLayers>;
    FetchLayer(FetchLayer) -> FetchedModule<OwnedFd>;
    FetchEntrypoint(FetchEntrypoint) -> FetchedEntrypoint<OwnedFd>;
    FetchApplication(FetchApplication) -> FetchedApplication<OwnedFd>;
}

impl<F> Request<F> {
    /// The engine that the helper must have.
    pub(crate) fn engine(&self) -> Option<EngineKind> {
        match self {
            Self::Create(Create { program, .. }) | Self::Exec(Exec { program, .. }) => {
                program.engine()
            }
            Self::Compile(Compile { engine, .. }) | Self::Fingerprint(Fingerprint { engine }) => {
                Some(*engine)
            }
            Self::MakeUserNamespace(_)
            | Self::MakeSandbox(_)
            | Self::ResolveImage(_)
            | Self::ListLayers(_)
            | Self::FetchLayer(_)
            | Self::FetchEntrypoint(_)
            | Self::FetchApplication(_) => None,
        }
    }

    /// The same request with other descriptors.
    pub(crate) fn try_map<G, E>(
        self,
        map: &mut impl FnMut(F) -> Result<G, E>,
    ) -> Result<Request<G>, E> {
        Ok(match self {
            Self::Create(call) => Request::Create(call.try_map(map)?),
            Self::Exec(call) => Request::Exec(call.try_map(map)?),
            Self::Compile(call) => Request::Compile(Compile {
                engine: call.engine,
                entry: call.entry,
                module: map(call.module)?,
            }),
            Self::MakeSandbox(call) => Request::MakeSandbox(MakeSandbox {
                network: call.network.map(&mut *map).transpose()?,
                ipc: call.ipc,
                hostname: call.hostname,
                holder_lifeline: call.holder_lifeline.map(map).transpose()?,
                sysctls: call.sysctls,
                debug: call.debug,
            }),
            Self::MakeUserNamespace(call) => Request::MakeUserNamespace(call),
            Self::Fingerprint(call) => Request::Fingerprint(call),
            Self::ResolveImage(call) => Request::ResolveImage(call),
            Self::ListLayers(call) => Request::ListLayers(call),
            Self::FetchLayer(call) => Request::FetchLayer(call),
            Self::FetchEntrypoint(call) => Request::FetchEntrypoint(call),
            Self::FetchApplication(call) => Request::FetchApplication(call),
        })
    }
}

impl<F> Create<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<Create<G>, E> {
        let [stdin, stdout, stderr] = self.fds.stdio;
        let namespaces = self.fds.namespaces.into_iter();
        let passed = self.fds.passed.into_iter();
        Ok(Create {
            container: self.container,
            fds: CreateFds {
                stdio: [map(stdin)?, map(stdout)?, map(stderr)?],
                status: map(self.fds.status)?,
                shim_alive: self.fds.shim_alive.map(&mut *map).transpose()?,
                namespaces: namespaces.map(&mut *map).collect::<Result<_, _>>()?,
                passed: passed.map(&mut *map).collect::<Result<_, _>>()?,
            },
            program: self.program.try_map(map)?,
        })
    }
}

impl<F> Exec<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<Exec<G>, E> {
        let [stdin, stdout, stderr] = self.fds.stdio;
        let passed = self.fds.passed.into_iter();
        Ok(Exec {
            process: self.process,
            fds: ExecFds {
                stdio: [map(stdin)?, map(stdout)?, map(stderr)?],
                status: map(self.fds.status)?,
                init: map(self.fds.init)?,
                passed: passed.map(&mut *map).collect::<Result<_, _>>()?,
            },
            program: self.program.try_map(map)?,
        })
    }
}

impl<F> Program<F> {
    /// The engine that runs it.
    pub(crate) fn engine(&self) -> Option<EngineKind> {
        match self {
            Self::Linux { .. } => None,
            Self::Wasm(guest) => Some(guest.engine),
        }
    }

    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<Program<G>, E> {
        Ok(match self {
            Self::Linux { path } => Program::Linux { path },
            Self::Wasm(guest) => Program::Wasm(Guest {
                engine: guest.engine,
                entry: guest.entry,
                code: guest.code.try_map(map)?,
                preopens: guest.preopens,
                argv_start: guest.argv_start,
                stack: guest.stack,
            }),
        })
    }
}

impl<F> Code<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<Code<G>, E> {
        Ok(match self {
            Self::Cached {
                cache,
                form,
                module,
            } => Code::Cached {
                cache,
                form,
                module: match module {
                    Module::Digest(digest) => Module::Digest(digest),
                    Module::File(file) => Module::File(map(file)?),
                },
            },
            Self::Given { form, code } => Code::Given {
                form,
                code: map(code)?,
            },
            Self::Application {
                application,
                components,
                files,
            } => Code::Application {
                application,
                files: files.map(&mut *map).transpose()?,
                components: components
                    .into_iter()
                    .map(|component| {
                        Ok(Component {
                            id: component.id,
                            entry: component.entry,
                            code: component.code.try_map(map)?,
                        })
                    })
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}
