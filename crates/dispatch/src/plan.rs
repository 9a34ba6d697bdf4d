//! The answer: what runs the container.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use medley_types::EngineKind;
use medley_types::layers::{Layer, LayerContent};
use serde::{Deserialize, Serialize};

/// What runs the container. Carried as JSON to the process that becomes the container's init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Plan {
    /// The kernel runs it.
    Linux(LinuxPlan),
    /// A Wasm engine runs it.
    Wasm(WasmPlan),
}

/// A container that the kernel runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxPlan {
    /// What decided, for the log.
    pub why: String,
    /// The program's absolute path within the container, symlinks not resolved; `None` where
    /// it was not looked up (a sandbox).
    pub program: Option<PathBuf>,
}

/// A container that a Wasm engine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasmPlan {
    /// The engine, one of those built in.
    pub engine: EngineKind,
    /// The module's absolute path within the container, symlinks not resolved.
    pub module: PathBuf,
    /// The export named after `#`; `None` is the default entry.
    pub export: Option<String>,
    /// How the module is written.
    pub form: Form,
    /// What decided, for the log.
    pub why: String,
    /// Index in the spec's `process.args` of the guest's first argument: 0, or 2 after
    /// `/sbin/docker-init --`.
    #[serde(default)]
    pub argv_start: usize,
}

impl Plan {
    /// The plan as one line of `key=value`, values quoted and escaped, for the log.
    #[must_use]
    pub fn one_line(&self) -> String {
        match self {
            Self::Linux(LinuxPlan {
                why,
                program: Some(program),
            }) => {
                format!("kind=linux program={program:?} why={why:?}")
            }
            Self::Linux(LinuxPlan { why, program: None }) => format!("kind=linux why={why:?}"),
            Self::Wasm(plan) => {
                let export = match (&plan.export, plan.form) {
                    (Some(export), _) => format!("{export:?}"),
                    (None, Form::Component) => "default".to_owned(),
                    (None, Form::Module | Form::Text) => "\"_start\"".to_owned(),
                };
                format!(
                    "kind=wasm engine={} module={:?} form={} export={export} why={:?}",
                    plan.engine, plan.module, plan.form, plan.why
                )
            }
        }
    }
}

/// The plan and, for Wasm, the opened module, so that its path is never resolved again.
#[derive(Debug)]
pub struct Planned {
    /// What runs the container.
    pub plan: Plan,
    /// The module; `None` for Linux, and for an application.
    pub module: Option<Module>,
    /// The Spin application, of which the plan's module is the manifest.
    pub application: Option<Application>,
}

/// A Spin application that was decided on.
#[derive(Debug)]
pub struct Application {
    /// What its manifest says.
    pub app: medley_spin::App,
    /// Its components, by their ids: how each is run, and the component itself.
    pub components: Vec<(String, WasmPlan, Module)>,
    /// The files of an artifact, as [`medley_spin::pack`] has them.
    pub files: Option<File>,
}

/// A module that was decided on.
#[derive(Debug)]
pub enum Module {
    /// A file of the rootfs or of a mount, open for reading at its start.
    File(File),
    /// A layer of the image.
    Layer(Layer, LayerContent),
}

/// How a Wasm program is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A core module, binary.
    Module,
    /// A component, binary.
    Component,
    /// Text, of a module or a component.
    Text,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "module",
            Self::Component => "component",
            Self::Text => "text",
        })
    }
}
