//! The decision itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use medley_types::EngineKind;
use medley_types::layers::{Cause, LayerContent};
use medley_types::quoted::{Quoted, first_of};

use crate::application;
use crate::elf::{self, Elf};
use crate::entrypoint::{self, Entrypoint, Program, find};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::imports;
use crate::layers::{NeedsLayers, Selected};
use crate::options::Options;
use crate::plan::{Form, LinuxPlan, Module, Plan, Planned, WasmPlan};
use crate::request::Request;
use crate::rootfs::Rootfs;
use crate::rule::{Mode, Rule, is_sandbox};
use crate::view::{LookupError, View};

/// The init that Docker's `--init` puts before the program; `/dev/init` is where old ones put it.
const DOCKER_INITS: [&str; 2] = ["/sbin/docker-init", "/dev/init"];

/// Where the program's own arguments begin then.
const BEHIND_DOCKER_INIT: usize = 2;

/// What [`plan()`] answers.
#[derive(Debug)]
pub enum Decision<'o> {
    /// Decided.
    Planned(Planned),
    /// The layers of the container's image decide.
    NeedsLayers(NeedsLayers<'o>),
}

/// Decides what runs the container; the order is in the [crate's documentation](crate).
///
/// # Errors
/// [`Error`] with what makes the container impossible to run.
pub fn plan<'o>(
    req: &Request<'_>,
    rootfs: &Rootfs,
    options: &'o Options,
) -> Result<Decision<'o>, Error> {
    if is_sandbox(req) {
        return Ok(Decision::Planned(linux(
            "the pod's sandbox".to_owned(),
            None,
        )));
    }
    let rule = Rule::of(req);
    let needs_layers = |entrypoint: &str, missing, argv_start, rule| {
        Ok(Decision::NeedsLayers(NeedsLayers {
            entrypoint: entrypoint.to_owned(),
            missing,
            argv_start,
            rule,
            options,
            needs_explicit_name: false,
        }))
    };
    let view = View::new(rootfs, req.mounts);
    let Some(given) = req.args.first().filter(|given| !given.is_empty()) else {
        return match application::beside(Path::new("/"), &view) {
            Some(manifest) => application::plan(manifest, &rule, &view, options),
            None => needs_layers("", Error::NoEntrypoint, 0, rule),
        };
    };

    let (program, argv_start) = match behind_docker_init(req.args) {
        Some(program) => (program, BEHIND_DOCKER_INIT),
        None => (given.as_str(), 0),
    };
    if let Some(manifest) = application::named(program, req, &view) {
        return application::plan(manifest, &rule, &view, options);
    }
    let mut planned = match find(program, req, &view, &rule.mode) {
        Ok(entrypoint) => decide(entrypoint, argv_start, &rule, &view, options)?,
        // A dir runs nothing: it stands for the application in it, or for "the image's module" where a command
        // has to be given that an artifact has no use for.
        Err(Error::NotAFile {
            path,
            found: found @ FileKind::Directory,
        }) => {
            return match application::beside(&path, &view) {
                Some(manifest) => application::plan(manifest, &rule, &view, options),
                None => needs_layers(program, Error::NotAFile { path, found }, argv_start, rule),
            };
        }
        Err(missing @ Error::NotFound { .. }) => {
            return needs_layers(program, missing, argv_start, rule);
        }
        Err(error) => return Err(error),
    };
    if argv_start == 0 {
        return Ok(Decision::Planned(planned));
    }
    if let Plan::Linux(behind) = &mut planned.plan {
        // The file decides about the init itself; the annotations speak of its program.
        let mode = Mode::Content { note: None };
        let init = decide(find(given, req, &view, &mode)?, 0, &rule, &view, options)?;
        if let Plan::Linux(init) = init.plan {
            behind.program = init.program;
            behind.why = format!(
                "docker-init, and behind it {}: {}",
                Quoted::text(program),
                behind.why
            );
        }
    }
    Ok(Decision::Planned(planned))
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
) -> Result<Planned, Error> {
    match entrypoint {
        Entrypoint::Wasm(module) => wasm(module, argv_start, rule, options),
        Entrypoint::Linux(program) => {
            let content = check_program(&program, view, options)?;
            Ok(linux(rule.mode.why(&content), Some(program.path)))
        }
        Entrypoint::Unseen { path, mount, kind } => {
            let content = format!(
                "not seen, on the {} mount at {}",
                Quoted::text(&kind).bare(),
                Quoted::path(&mount)
            );
            Ok(linux(rule.mode.why(&content), Some(path)))
        }
    }
}

fn linux(why: String, program: Option<PathBuf>) -> Planned {
    Planned {
        plan: Plan::Linux(LinuxPlan { why, program }),
        module: None,
        application: None,
    }
}

fn wasm(
    module: entrypoint::Module,
    argv_start: usize,
    rule: &Rule,
    options: &Options,
) -> Result<Planned, Error> {
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
        let requirement = (form == Form::Module).then(|| imports::requirement(&file));
        requirement
            .flatten()
            .map(|requirement| (requirement.engine, requirement.import))
    };
    let (engine, demanded_by) = engine(&path, component, demand, rule, options)?;
    let why = format!("{}; engine: {demanded_by}", rule.mode.why(content));
    Ok(Planned {
        plan: Plan::Wasm(WasmPlan {
            engine,
            module: path,
            export,
            form,
            why,
            argv_start,
        }),
        module: Some(Module::File(file)),
        application: None,
    })
}

impl Selected<'_> {
    /// Decides what runs the layer, which has this `content`.
    ///
    /// # Errors
    /// What is wrong with the layer, and what keeps this node from running it.
    pub fn plan(self, content: Result<LayerContent, Cause>) -> Result<Planned, Error> {
        let Self { layer, image, .. } = self;
        let content = match content {
            Ok(content) => content,
            Err(source) => {
                return Err(Error::Layer {
                    layer: Box::new(layer),
                    image,
                    source,
                });
            }
        };
        let path = PathBuf::from(layer.title.as_ref().unwrap_or(&layer.digest));
        let component = content.facts.component;
        let form = if component {
            Form::Component
        } else {
            Form::Module
        };
        let demand = || content.facts.demand.clone();
        let (engine, demanded_by) = engine(&path, component, demand, &self.rule, self.options)?;
        let mut why = format!(
            "not in the rootfs; layer {layer} of the image {}; engine: {demanded_by}",
            Quoted::text(&image)
        );
        if !self.skipped.is_empty() {
            why.push_str(&format!("; passed over: {}", first_of(&self.skipped)));
        }
        Ok(Planned {
            plan: Plan::Wasm(WasmPlan {
                engine,
                module: path,
                export: self.export,
                form,
                why,
                argv_start: self.argv_start,
            }),
            module: Some(Module::Layer(layer, content)),
            application: None,
        })
    }
}

/// The engine for the module at `path`, and what asks for it; `demand` tells what a core module
/// imports.
pub(crate) fn engine(
    path: &Path,
    component: bool,
    demand: impl FnOnce() -> Option<(EngineKind, String)>,
    rule: &Rule,
    options: &Options,
) -> Result<(EngineKind, String), Error> {
    let path = || path.to_owned();
    let (engine, demanded_by) = match &rule.engine {
        Some((engine, annotation)) if component && !engine.descriptor().components => {
            let (engine, annotation) = (*engine, annotation.clone());
            return Err(Error::ComponentEngine {
                path: path(),
                engine,
                annotation,
            });
        }
        Some((engine, annotation)) => (*engine, format!("annotation {annotation}")),
        None if component => {
            let engine = EngineKind::for_components().unwrap_or(options.default_engine);
            (engine, "it is a component".to_owned())
        }
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
            Err(LookupError::Absent
                | LookupError::Dangling { .. }
                | LookupError::Loop { .. }
                | LookupError::NotADirectory { .. })
        )
}
