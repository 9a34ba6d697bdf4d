//! The decision itself.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::elf::{self, Elf};
use crate::entrypoint::{self, Entrypoint, Program, find};
use crate::error::Error;
use crate::imports;
use crate::layers::{self, Inside, Layer, Layers, Picked};
use crate::plan::{EngineKind, Form, LinuxPlan, Plan, WasmPlan};
use crate::request::Request;
use crate::rootfs::Rootfs;
use crate::rule::{Mode, Rule, is_sandbox};
use crate::shown::{FileKind, Shown};
use crate::view::{Miss, View};

/// The init that Docker's `--init` puts before the program; `/dev/init` is where old ones put it.
const DOCKER_INITS: [&str; 2] = ["/sbin/docker-init", "/dev/init"];

/// Where the program's own arguments begin then.
const BEHIND_DOCKER_INIT: usize = 2;

/// What this node offers.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine of a module that asks for none.
    pub default_engine: EngineKind,
    /// The engines of this binary.
    pub built_in: Vec<EngineKind>,
    /// Whether ELF programs for other machines are let through, because the node has `binfmt_misc`
    /// handlers (such as qemu-user's) that may run them; else they are refused by name.
    pub foreign_elf: bool,
}

impl Default for Options {
    /// Wasmtime alone; no foreign programs.
    fn default() -> Self {
        Self {
            default_engine: EngineKind::Wasmtime,
            built_in: vec![EngineKind::Wasmtime],
            foreign_elf: false,
        }
    }
}

/// The plan and, for Wasm, the opened module, so that its path is never resolved again.
#[derive(Debug)]
pub struct Decision {
    /// What runs the container.
    pub plan: Plan,
    /// The module; `None` for Linux.
    pub module: Option<Module>,
}

/// A module that was decided on.
#[derive(Debug)]
pub enum Module {
    /// A file of the rootfs or of a mount, open for reading at its start.
    File(File),
    /// A layer of the image.
    Layer(Layer, Inside),
}

/// Decides what runs the container; the order is in the [crate's documentation](crate).
///
/// # Errors
/// Whatever makes the container impossible to run; see [`Error`].
pub fn plan(
    req: &Request<'_>,
    rootfs: &Rootfs,
    layers: &dyn Layers,
    options: &Options,
) -> Result<Decision, Error> {
    if is_sandbox(req) {
        return Ok(linux("the pod's sandbox".to_owned(), None));
    }
    let rule = Rule::of(req);
    let Some(given) = req.args.first().filter(|given| !given.is_empty()) else {
        let picked = layers::pick("", layers, Error::NoEntrypoint)?;
        return layer(picked, layers, 0, &rule, options);
    };
    let view = View::new(rootfs, req.mounts);

    let (program, argv_start) = match behind_docker_init(req.args) {
        Some(program) => (program, BEHIND_DOCKER_INIT),
        None => (given.as_str(), 0),
    };
    let mut decision = match find(program, req, &view, &rule.mode) {
        Ok(entrypoint) => decide(entrypoint, argv_start, &rule, &view, options)?,
        // A directory runs nothing: it stands for "the image's module" where a command has to be
        // given that an artifact has no use for.
        Err(
            missing @ (Error::NotFound { .. }
            | Error::NotAFile {
                found: FileKind::Directory,
                ..
            }),
        ) => {
            let picked = layers::pick(program, layers, missing)?;
            return layer(picked, layers, argv_start, &rule, options);
        }
        Err(error) => return Err(error),
    };
    if argv_start == 0 {
        return Ok(decision);
    }
    if let Plan::Linux(behind) = &mut decision.plan {
        // The file decides about the init itself, whatever the annotations say of its program.
        let mode = Mode::Content { note: None };
        let init = decide(find(given, req, &view, &mode)?, 0, &rule, &view, options)?;
        if let Plan::Linux(init) = init.plan {
            behind.program = init.program;
            behind.why = format!(
                "docker-init, and behind it {}: {}",
                Shown::text(program),
                behind.why
            );
        }
    }
    Ok(decision)
}

/// The program that docker-init is to start.
fn behind_docker_init(args: &[String]) -> Option<&str> {
    match args {
        [init, dashes, program, ..]
            if DOCKER_INITS.contains(&init.as_str()) && dashes == "--" && !program.is_empty() =>
        {
            Some(program)
        }
        _ => None,
    }
}

fn decide(
    entrypoint: Entrypoint,
    argv_start: usize,
    rule: &Rule,
    view: &View<'_>,
    options: &Options,
) -> Result<Decision, Error> {
    match entrypoint {
        Entrypoint::Wasm(module) => wasm(module, argv_start, rule, options),
        Entrypoint::Linux(program) => {
            let content = check_program(&program, view, options)?;
            Ok(linux(rule.mode.why(&content), Some(program.path)))
        }
        Entrypoint::Unseen { path, mount, kind } => {
            let content = format!(
                "not seen, on the {} mount at {}",
                Shown::text(&kind).bare(),
                Shown::path(&mount)
            );
            Ok(linux(rule.mode.why(&content), Some(path)))
        }
    }
}

fn linux(why: String, program: Option<PathBuf>) -> Decision {
    Decision {
        plan: Plan::Linux(LinuxPlan { why, program }),
        module: None,
    }
}

fn wasm(
    module: entrypoint::Module,
    argv_start: usize,
    rule: &Rule,
    options: &Options,
) -> Result<Decision, Error> {
    let entrypoint::Module {
        path,
        export,
        file,
        component,
        text,
    } = module;
    let (form, content) = match (text, component) {
        (true, _) => (Form::Text, "Wasm text"),
        (false, true) => (Form::Component, r"begins with \0asm, layer 1"),
        (false, false) => (Form::Module, r"begins with \0asm"),
    };
    let demand = || {
        let demand = (form == Form::Module).then(|| imports::demand(&file));
        demand
            .flatten()
            .map(|demand| (demand.engine, demand.import))
    };
    let (engine, demanded_by) = engine(&path, component, demand, rule, options)?;
    let why = format!("{}; engine: {demanded_by}", rule.mode.why(content));
    let plan = Plan::Wasm(WasmPlan {
        engine,
        module: path,
        export,
        form,
        why,
        argv_start,
    });
    Ok(Decision {
        plan,
        module: Some(Module::File(file)),
    })
}

/// As [`wasm`], for a layer of the image.
fn layer(
    picked: Picked,
    layers: &dyn Layers,
    argv_start: usize,
    rule: &Rule,
    options: &Options,
) -> Result<Decision, Error> {
    let Picked {
        layer,
        export,
        image,
        passed_over,
    } = picked;
    let inside = match layers.look_into(&layer) {
        Ok(inside) => inside,
        Err(source) => {
            return Err(Error::Layer {
                layer: Box::new(layer),
                image,
                source,
            });
        }
    };
    let path = PathBuf::from(layer.title.as_ref().unwrap_or(&layer.digest));
    let component = inside.facts.component;
    let form = if component {
        Form::Component
    } else {
        Form::Module
    };
    let demand = || inside.facts.demand.clone();
    let (engine, demanded_by) = engine(&path, component, demand, rule, options)?;
    let mut why = format!(
        "not in the rootfs; layer {layer} of the image {}; engine: {demanded_by}",
        Shown::text(&image)
    );
    if !passed_over.is_empty() {
        why.push_str(&format!("; passed over: {}", layers::list(&passed_over)));
    }
    let plan = Plan::Wasm(WasmPlan {
        engine,
        module: path,
        export,
        form,
        why,
        argv_start,
    });
    Ok(Decision {
        plan,
        module: Some(Module::Layer(layer, inside)),
    })
}

/// The engine for the module at `path`, and what asks for it; `demand` tells what a core module
/// imports.
fn engine(
    path: &Path,
    component: bool,
    demand: impl FnOnce() -> Option<(EngineKind, String)>,
    rule: &Rule,
    options: &Options,
) -> Result<(EngineKind, String), Error> {
    let path = || path.to_owned();
    let (engine, demanded_by) = match &rule.engine {
        Some((engine, annotation)) if component && *engine != EngineKind::Wasmtime => {
            let (engine, annotation) = (*engine, annotation.clone());
            return Err(Error::ComponentEngine {
                path: path(),
                engine,
                annotation,
            });
        }
        Some((engine, annotation)) => (*engine, format!("annotation {annotation}")),
        None if component => (EngineKind::Wasmtime, "it is a component".to_owned()),
        None => demand().unwrap_or((options.default_engine, "the default".to_owned())),
    };
    if !options.built_in.contains(&engine) {
        let built_in = options.built_in.clone();
        return Err(Error::EngineNotBuiltIn {
            path: path(),
            engine,
            demanded_by,
            built_in,
        });
    }
    Ok((engine, demanded_by))
}

/// Finds out what would make the kernel refuse the program, and returns what it is.
fn check_program(program: &Program, view: &View<'_>, options: &Options) -> Result<String, Error> {
    let path = &program.path;
    if program.script {
        if let Some(name) = program.head.interpreter() {
            let interpreter = PathBuf::from(OsStr::from_bytes(name));
            if is_missing(view, &interpreter) {
                return Err(Error::NoInterpreter {
                    path: path.clone(),
                    interpreter,
                });
            }
        }
        return Ok("begins with #!".to_owned());
    }
    let mut content = r"begins with \x7fELF".to_owned();
    let Some(elf) = Elf::parse(program.head.bytes()) else {
        return Ok(content);
    };
    if let (Some(machine), Some(node)) = (elf.machine(), elf::node())
        && !elf::runs_on(&machine, node)
    {
        if !options.foreign_elf {
            let node = node.to_owned();
            return Err(Error::Architecture {
                path: path.clone(),
                program: machine,
                node,
            });
        }
        content.push_str(&format!(", for {machine}"));
    }
    match elf.loader(&program.found.file) {
        Some(loader) if is_missing(view, &loader) => Err(Error::NoLoader {
            path: path.clone(),
            loader,
        }),
        _ => Ok(content),
    }
}

/// Whether it is certain that `path` does not exist. A relative one is the kernel's to find.
fn is_missing(view: &View<'_>, path: &Path) -> bool {
    path.is_absolute()
        && matches!(
            view.file(path),
            Err(Miss::Absent
                | Miss::Dangling { .. }
                | Miss::Loop { .. }
                | Miss::NotADirectory { .. })
        )
}
