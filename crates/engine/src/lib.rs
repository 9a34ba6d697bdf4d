//! What every Wasm engine is given and must answer.
//!
//! A guest's life crosses three processes, and an engine has one function for each:
//!
//! | process | function | input | output |
//! |---|---|---|---|
//! | compiler | [`Engine::compile`] | the module's bytes, which may be hostile | native code |
//! | helper | [`Engine::load`] | [`TrustedCode`], native code that we compiled | a [`Program`], ready to run |
//! | init | [`Program::run`] | [`Guest`] | [`GuestExit`] |
//!
//! The helper clones itself into init, so that what it loaded is there when the guest starts.

mod code;
pub mod invoke;
pub mod memory;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use medley_types::EngineKind;

pub use code::{NotSealed, TrustedCode};

/// What is to be run, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The module's path in the container, for messages.
    pub path: PathBuf,
    /// Which export to call; `None` is the module's own: `_start`, or `wasi:cli/run`.
    pub export: Option<String>,
}

/// A Spin application: several components, and which of them answers a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its manifest's path in the container, for messages.
    pub manifest: PathBuf,
    /// What the manifest says.
    pub app: medley_spin::App,
    /// The dir in the container into which files are copied that a component sees without what lies beside
    /// them; none if there are no such files.
    pub copies: Option<PathBuf>,
}

/// The native code of one component of an application.
#[derive(Debug)]
pub struct ComponentCode {
    /// The component's id in the application.
    pub id: String,
    /// What it was compiled for.
    pub entry: Entry,
    /// It.
    pub code: TrustedCode,
}

/// Native code, and how it is to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A core module, WASI preview 1.
    Module,
    /// A component, WASI 0.2 or 0.3.
    Component,
}

/// What [`Engine::compile`] made.
#[derive(Debug)]
pub struct CompiledModule {
    /// The engine's own format. Only ever handed to the same engine's [`Engine::load`].
    pub code: Vec<u8>,
    /// What the bytes turned out to be.
    pub form: Form,
}

impl CompiledModule {
    /// The code in a file in memory that nothing can change any more, which a compiler gives to the
    /// shim: see [`TrustedCode::from_compiler`].
    ///
    /// # Errors
    /// Those of `memfd_create`, and of writing to memory.
    pub fn seal(&self) -> std::io::Result<OwnedFd> {
        code::sealed(&mut &*self.code).map(OwnedFd::from)
    }
}

/// Why a module can't be run. Each is one sentence that names the module.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// It is not valid Wasm.
    #[error("{} is not valid Wasm: {reason}", path.display())]
    Malformed {
        path: PathBuf,
        /// What the engine says, with the offset where it knows one.
        reason: String,
    },
    /// It imports something that the engine does not have.
    #[error(
        "{} imports {import}, which {engine} does not provide{}",
        path.display(),
        other_engine(import, engine)
    )]
    UnknownImport {
        path: PathBuf,
        /// The import's module and name.
        import: String,
        engine: &'static str,
    },
    /// It imports something that the engine does not have in this build.
    #[error("{} imports {import}, which {engine} has in a build with {by} only", path.display())]
    NotBuiltIn {
        path: PathBuf,
        /// The import's name.
        import: String,
        engine: &'static str,
        /// What brings it.
        by: &'static str,
    },
    /// It imports something by another signature than the engine has it.
    #[error("{} imports {import} with other parameters or results than {engine} has", path.display())]
    ImportSignature {
        path: PathBuf,
        /// The import's module and name.
        import: String,
        engine: &'static str,
    },
    /// It imports something that a plugin of the engine would have.
    #[error(
        "{} imports {import}, and no plugin of wasmedge on this node has {module}: install it, and \
         name its directory by WASMEDGE_PLUGIN_PATH in containerd's environment (now {searched})",
        path.display()
    )]
    NoPlugin {
        path: PathBuf,
        /// The import's module and name.
        import: String,
        /// The import's module.
        module: String,
        /// Where it was looked for.
        searched: String,
    },
    /// It does not export what is to be called.
    #[error("{} has no function {requested:?} to call; it exports {}", path.display(), list(exports))]
    NoExport {
        path: PathBuf,
        /// What was looked for.
        requested: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// It was built for a version of WASI that the engine does not have.
    #[error("{} is built for {interface}, but {engine} has {provided} of it", path.display())]
    WasiVersion {
        path: PathBuf,
        /// What it imports or exports, with its version.
        interface: String,
        engine: &'static str,
        /// The versions that there are.
        provided: String,
    },
    /// What is to be called takes or gives what it can't.
    #[error("{} cannot be called at {export:?}: {reason}", path.display())]
    Signature {
        path: PathBuf,
        export: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else that the engine objects to.
    #[error("{} cannot be run by {engine}: {reason}", path.display())]
    Engine {
        path: PathBuf,
        engine: &'static str,
        /// What it says.
        reason: String,
    },
}

impl ModuleError {
    /// Whether the module alone is the reason, with this engine in this build: it is unfit as often
    /// as it is tried. What an engine says besides may be the node's fault.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Malformed { .. }
            | Self::UnknownImport { .. }
            | Self::NotBuiltIn { .. }
            | Self::ImportSignature { .. }
            | Self::NoExport { .. }
            | Self::WasiVersion { .. }
            | Self::Signature { .. } => true,
            Self::NoPlugin { .. } | Self::Engine { .. } => false,
        }
    }
}

/// What a guest is given. Every path is one of the container.
#[derive(Debug, Clone, Default)]
pub struct Guest {
    /// The spec's; the first one is the program's name.
    pub args: Vec<String>,
    /// Names and values, in the spec's order.
    pub env: Vec<(String, String)>,
    /// Absolute.
    pub cwd: String,
    /// Dirs that it may open. Of two with the same name for a path, the later one counts.
    pub preopens: Vec<Preopen>,
    /// What its memories and tables come to, together.
    pub memory: memory::MemoryBudget,
    /// Processor time that its container may use, in thousandths, where that is limited.
    pub millicpus: Option<u32>,
}

/// A dir that a guest may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Where it is in the container, absolute.
    pub path: String,
    /// What the guest calls it: the same path, or `.` for the working directory.
    pub name: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

impl Preopen {
    /// A dir that the guest knows by its path.
    #[must_use]
    pub fn at(path: String, read_only: bool) -> Self {
        Self {
            name: path.clone(),
            path,
            read_only,
        }
    }
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestExit {
    /// It returned, or called `exit` with this code.
    Exited(u8),
    /// It trapped; the text is the message and the backtrace.
    Trapped(String),
    /// It never ran: what it is given could not be made, or it could not be instantiated.
    NotStarted(String),
}

/// The stack of a command of which nothing else is said, in bytes: what Linux gives to a program.
/// Pages of it are taken as they are touched.
pub const STACK: u64 = 8 << 20;

/// Least and most stack that a guest can be given, in bytes.
pub const STACK_LIMITS: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// A Wasm engine.
pub trait Engine {
    /// The name that annotations and messages use.
    fn name(&self) -> &'static str;

    /// What `-v` shows of it: its version.
    fn version(&self) -> String;

    /// All that native code depends on besides its module: the engine's version, which is its first
    /// word, its configuration, and what it uses of the processor.
    ///
    /// # Errors
    /// What keeps the engine from working on this machine.
    fn fingerprint(&self) -> Result<String, String>;

    /// Whether [`Self::compile`] writes files into the dir for temporary ones.
    fn needs_scratch(&self) -> bool {
        false
    }

    /// Checks that `bytes` can be run as `entry` says, and makes native code of them.
    ///
    /// # Errors
    /// [`ModuleError`] with what is wrong with the module.
    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError>;

    /// Maps native code and links it. The guest may use `stack` bytes of stack, or what the engine
    /// gives it by default; one that uses more traps. Wasmer ignores `stack`: its stack is its own.
    ///
    /// # Errors
    /// [`ModuleError::Engine`] if the code does not fit this engine.
    fn load(
        &self,
        code: TrustedCode,
        form: Form,
        entry: &Entry,
        stack: Option<u64>,
    ) -> Result<Box<dyn Program>, ModuleError>;

    /// Maps and links the components of an application, as [`Self::load`] does with one. `files` are those of
    /// an artifact, as [`medley_spin::pack`] has them.
    ///
    /// # Errors
    /// [`ModuleError::Engine`] with the component that does not fit, or if the engine runs no applications.
    fn load_application(
        &self,
        application: &Application,
        _components: Vec<ComponentCode>,
        _files: Option<std::fs::File>,
        _stack: Option<u64>,
    ) -> Result<Box<dyn Program>, ModuleError> {
        Err(ModuleError::Engine {
            path: application.manifest.clone(),
            engine: self.name(),
            reason: "it runs no Spin applications, which wasmtime does".to_owned(),
        })
    }
}

/// A guest, loaded and linked.
pub trait Program {
    /// Runs the guest to its end. Calls `started` once, right before its first instruction.
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit;
}

/// At most this many exports are listed in an error.
const LISTED: usize = 8;

/// The engine that has an import which `engine` has not, and how to get it: of text, which only an
/// engine parses, the imports do not choose one.
fn other_engine(import: &str, engine: &str) -> String {
    let other = import
        .split_once("::")
        .and_then(|(module, name)| EngineKind::that_provides(module, name))
        .filter(|other| other.descriptor().name != engine);
    other.map_or_else(String::new, |other| {
        format!(", but {other} does; name it by the annotation run.oci.handler")
    })
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names if names.len() > LISTED => {
            format!(
                "{} and {} more",
                names[..LISTED].join(", "),
                names.len() - LISTED
            )
        }
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::ModuleError;

    #[test]
    fn a_missing_export_names_what_there_is() {
        let error = ModuleError::NoExport {
            path: "/app.wasm".into(),
            requested: "_start".into(),
            exports: vec!["add".into(), "sub".into()],
        };
        assert_eq!(
            error.to_string(),
            "/app.wasm has no function \"_start\" to call; it exports add, sub"
        );
    }

    #[test]
    fn a_long_list_of_exports_is_cut() {
        let exports: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
        let text = super::list(&exports);
        assert!(text.ends_with("f7 and 12 more"), "{text}");
    }
}
