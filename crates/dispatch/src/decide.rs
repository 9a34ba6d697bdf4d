//! The decision itself.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::elf::{self, Elf};
use crate::entrypoint::{Entrypoint, Module, Program, find};
use crate::error::Error;
use crate::imports;
use crate::plan::{EngineKind, Form, LinuxPlan, Plan, WasmPlan};
use crate::request::Request;
use crate::rootfs::Rootfs;
use crate::rule::{Mode, Rule, is_sandbox};
use crate::shown::Shown;
use crate::view::{Miss, View};

/// The init that Docker's `--init` puts before the program; `/dev/init` is where old ones put it.
const DOCKER_INITS: [&str; 2] = ["/sbin/docker-init", "/dev/init"];

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

/// The plan and, for Wasm, the opened module, so that nobody resolves its path again.
#[derive(Debug)]
pub struct Decision {
    /// What runs the container.
    pub plan: Plan,
    /// The module, open for reading at its start; `None` for Linux.
    pub module: Option<File>,
}

/// Decides what runs the container; the order is in the [crate's documentation](crate).
///
/// # Errors
/// Whatever makes the container impossible to run; see [`Error`].
pub fn plan(req: &Request<'_>, rootfs: &Rootfs, options: &Options) -> Result<Decision, Error> {
    if is_sandbox(req) {
        return Ok(linux("the pod's sandbox".to_owned(), None));
    }
    let given = req
        .args
        .first()
        .filter(|given| !given.is_empty())
        .ok_or(Error::NoEntrypoint)?;
    let rule = Rule::of(req);
    let view = View::new(rootfs, req.mounts);

    let Some(program) = behind_docker_init(req.args) else {
        return decide(
            find(given, req, &view, &rule.mode)?,
            0,
            &rule,
            &view,
            options,
        );
    };
    let behind = find(program, req, &view, &rule.mode)?;
    let mut decision = decide(behind, 2, &rule, &view, options)?;
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
    module: Module,
    argv_start: usize,
    rule: &Rule,
    options: &Options,
) -> Result<Decision, Error> {
    let Module {
        path,
        export,
        found,
        component,
        text,
    } = module;
    let (engine, demanded_by) = match &rule.engine {
        Some((engine, annotation)) if component && *engine != EngineKind::Wasmtime => {
            let (engine, annotation) = (*engine, annotation.clone());
            return Err(Error::ComponentEngine {
                path,
                engine,
                annotation,
            });
        }
        Some((engine, annotation)) => (*engine, format!("annotation {annotation}")),
        None if component => (EngineKind::Wasmtime, "it is a component".to_owned()),
        None => match (!text).then(|| imports::demand(&found.file)).flatten() {
            Some(demand) => (demand.engine, demand.import),
            None => (options.default_engine, "the default".to_owned()),
        },
    };
    if !options.built_in.contains(&engine) {
        let built_in = options.built_in.clone();
        return Err(Error::EngineNotBuiltIn {
            path,
            engine,
            demanded_by,
            built_in,
        });
    }
    let (form, content) = match (text, component) {
        (true, _) => (Form::Text, "Wasm text"),
        (false, true) => (Form::Component, r"begins with \0asm, layer 1"),
        (false, false) => (Form::Module, r"begins with \0asm"),
    };
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
        module: Some(found.file),
    })
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
