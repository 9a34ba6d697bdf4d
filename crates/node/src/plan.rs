//! What an install would change, decided before anything is.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::config::{Handler, Pulls};
use crate::diff;
use crate::distribution::Style;
use crate::effective::Effective;
use crate::error::Error;
use crate::names::{self, ALIASES, HANDLER, SEARCHED, SHIM};
use crate::node::Node;
use crate::record::{self, Before, Content, Filed, Record, What};
use crate::root::{Entry, split};
use crate::transaction::{New, Step};

mod configuration;
pub(crate) mod libraries;

pub(crate) use configuration::{Candidate, ours};

/// Mode of a program.
const PROGRAM: u32 = 0o755;

/// Mode of what is for root alone: a configuration may hold a registry's password.
const PRIVATE: u32 = 0o600;

/// What is to lie at a path.
#[derive(Debug)]
pub(crate) enum Body {
    Text {
        before: Option<Vec<u8>>,
        after: Vec<u8>,
    },
    Program {
        file: File,
        content: Content,
    },
    Link(PathBuf),
}

/// A path that changes.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
    pub(crate) body: Body,
    /// The handlers that are added to it.
    pub(crate) handlers: Vec<String>,
    /// Whether and how the way images are pulled is changed.
    pub(crate) pulls: Option<Pulls>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// What changes. What is as it should be is not in it.
    pub(crate) planned: Vec<Planned>,
    /// The libraries that an older program has brought and no container uses any more, by their directories.
    pub(crate) stale: Vec<PathBuf>,
    /// What containerd is to be asked about.
    pub(crate) candidate: Candidate,
    /// The handlers that there are to be.
    pub(crate) handlers: Vec<String>,
    /// What people should know.
    pub(crate) notes: Vec<String>,
}

/// Decides what an install changes.
pub(crate) fn install(node: &Node) -> Result<Plan, Error> {
    let handlers = requested_handlers(node);
    let mut plan = Plan {
        planned: Vec::new(),
        stale: Vec::new(),
        candidate: Candidate::None,
        handlers: handlers.clone(),
        notes: Vec::new(),
    };
    programs(node, &mut plan)?;
    links(node, &handlers, &mut plan)?;
    configuration::plan(node, &handlers, &mut plan)?;
    plan.planned.retain(Planned::is_change);
    Ok(plan)
}

/// The names of the handlers: those that are asked for, else those of the last time.
fn requested_handlers(node: &Node) -> Vec<String> {
    if !node.settings.handlers.is_empty() {
        return node.settings.handlers.clone();
    }
    let noted = node.record.as_ref().map(Record::handlers);
    match noted {
        Some(noted) if !noted.is_empty() => noted,
        _ => vec![HANDLER.to_owned()],
    }
}

/// The program that runs now, and those beside it, with the libraries that they bring.
fn programs(node: &Node, plan: &mut Plan) -> Result<(), Error> {
    let own = std::fs::read_link(&node.settings.program);
    let own = own.unwrap_or_else(|_| node.settings.program.clone());
    for name in names::programs() {
        let source = if name == SHIM {
            node.settings.program.clone()
        } else {
            own.with_file_name(name)
        };
        let file = match File::open(&source) {
            Ok(file) => file,
            Err(_) if name != SHIM => continue,
            Err(error) => return Err(Error::std("read", &source)(error)),
        };
        // Before the program, which does not run without them.
        let beside = own.with_file_name(format!("{name}.d"));
        libraries::plan(node, name, &beside, plan)?;
        program(node, &source, &file, node.bin_dir.join(name), plan)?;
    }
    Ok(())
}

/// A program, or a library, that is to be at a path; nothing if it is there.
fn program(
    node: &Node,
    source: &Path,
    file: &File,
    path: PathBuf,
    plan: &mut Plan,
) -> Result<(), Error> {
    let content = record::digest_of(file).map_err(Error::std("read", source))?;
    let there = node.root.open_file(&path)?;
    let there = there.map(|file| record::digest_of(&file)).transpose();
    if there.map_err(Error::std("read", &node.root.shown(&path)))? == Some(content.clone()) {
        return Ok(());
    }
    plan.planned.push(Planned {
        path,
        what: What::Program,
        body: Body::Program {
            file: file.try_clone().map_err(Error::std("read", source))?,
            content,
        },
        handlers: Vec::new(),
        pulls: None,
    });
    Ok(())
}

/// The aliases. A name that another program has stays that program's.
fn links(node: &Node, handlers: &[String], plan: &mut Plan) -> Result<(), Error> {
    for alias in ALIASES {
        let needs = |name: &&String| names::alias_of_handler(name) == Some(&alias);
        let needed_by = handlers.iter().find(needs);
        if needed_by.is_none() && !node.settings.aliases {
            continue;
        }
        let path = node.bin_dir.join(alias.file);
        let foreign = match node.root.entry(&path)? {
            Some(Entry::Link(target)) if leads_to_shim(node, &path, &target) => continue,
            Some(_) => Some(path.clone()),
            None => elsewhere(node, alias.file)?,
        };
        match (foreign, needed_by) {
            (Some(path), Some(handler)) => {
                return Err(Error::LinkTaken {
                    handler: handler.clone(),
                    path: node.root.shown(&path),
                });
            }
            (Some(path), None) => plan.notes.push(format!(
                "{} is another program's: no alias for {}",
                node.root.shown(&path).display(),
                alias.runtime
            )),
            (None, _) => plan.planned.push(Planned {
                path,
                what: What::Link,
                body: Body::Link(SHIM.into()),
                handlers: Vec::new(),
                pulls: None,
            }),
        }
    }
    command_line(node, plan)
}

/// The link by which podman and others come to the OCI runtime command line.
fn command_line(node: &Node, plan: &mut Plan) -> Result<(), Error> {
    if !node.settings.aliases {
        return Ok(());
    }
    let path = node.bin_dir.join(names::COMMAND_LINE);
    let foreign = match node.root.entry(&path)? {
        Some(Entry::Link(target)) if leads_to_shim(node, &path, &target) => return Ok(()),
        Some(_) => Some(path.clone()),
        None => elsewhere(node, names::COMMAND_LINE)?,
    };
    match foreign {
        Some(path) => plan.notes.push(format!(
            "{} is another program's: no link for the OCI runtime command line",
            node.root.shown(&path).display()
        )),
        None => plan.planned.push(Planned {
            path,
            what: What::Link,
            body: Body::Link(SHIM.into()),
            handlers: Vec::new(),
            pulls: None,
        }),
    }
    Ok(())
}

fn leads_to_shim(node: &Node, link: &Path, target: &Path) -> bool {
    let (dir, _) = split(link);
    dir.join(target) == node.shim()
}

/// Another program of this name, where containerd looks too.
fn elsewhere(node: &Node, name: &str) -> Result<Option<PathBuf>, Error> {
    for dir in SEARCHED {
        let path = Path::new(dir).join(name);
        match node.root.entry(&path)? {
            // Of an earlier install into another directory, say.
            Some(Entry::Link(target)) if target == Path::new(SHIM) => {}
            Some(_) => return Ok(Some(path)),
            None => {}
        }
    }
    Ok(None)
}

/// The handlers as containerd gets them.
fn described(node: &Node, names: &[String], effective: &Effective) -> Vec<Handler> {
    let systemd = effective.systemd();
    let one = |name: &String| {
        let alias = names::alias_of_handler(name);
        let file = alias.map_or(SHIM, |alias| alias.file);
        Handler {
            name: name.clone(),
            runtime: names::runtime_of_handler(name),
            path: (!node.is_searched()).then(|| node.bin_dir.join(file)),
            systemd,
        }
    };
    names.iter().map(one).collect()
}

impl Planned {
    fn is_change(&self) -> bool {
        match &self.body {
            Body::Text { before, after } => before.as_ref() != Some(after),
            Body::Program { .. } | Body::Link(_) => true,
        }
    }

    /// What stands there now.
    fn text_before(&self) -> Option<Cow<'_, str>> {
        match &self.body {
            Body::Text {
                before: Some(bytes),
                ..
            } => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        }
    }

    /// Whether it is for containerd, or Docker, to read.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self.what, What::Config | What::Template | What::Docker)
    }

    fn content(&self) -> Content {
        match &self.body {
            Body::Text { after, .. } => record::digest(after),
            Body::Program { content, .. } => content.clone(),
            Body::Link(target) => Content::Link(target.clone()),
        }
    }
}

impl Plan {
    /// Whether all is as it should be.
    pub(crate) fn is_empty(&self) -> bool {
        self.planned.is_empty() && self.stale.is_empty()
    }

    /// Whether what containerd, or Docker, reads changes.
    pub(crate) fn changes_configuration(&self) -> bool {
        self.planned.iter().any(Planned::is_configuration)
    }

    /// As a diff, and as lines for what is no text.
    pub(crate) fn shown(&self, node: &Node) -> String {
        let mut text = String::new();
        for planned in &self.planned {
            let path = node.root.shown(&planned.path).display().to_string();
            match &planned.body {
                Body::Text { before, after } => {
                    let before = before.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
                    let after = String::from_utf8_lossy(after);
                    text += &diff::unified(&path, before.as_deref(), Some(&*after));
                }
                Body::Program { .. } => {
                    let is_new = matches!(node.root.entry(&planned.path), Ok(None));
                    let what = if is_new { "new" } else { "replaced" };
                    text += &format!("program {path} ({what})\n");
                }
                Body::Link(target) => text += &format!("link {path} -> {}\n", target.display()),
            }
        }
        for dir in &self.stale {
            text += &format!("would remove {}\n", node.root.shown(dir).display());
        }
        text
    }

    /// The steps to it, the record of them first, so that every change is on record.
    pub(crate) fn steps(self, node: &Node) -> Result<(Vec<Step>, Record), Error> {
        let mut record = match &node.record {
            Some(record) => record.clone(),
            None => Record::new(node.distribution),
        };
        let dir = record::dir(&node.settings.state);
        record.version = env!("CARGO_PKG_VERSION").to_owned();
        record.config = node.settings.config.clone().or(record.config);
        record.keeps_pulls |= node.settings.keep_pulls;
        record.address = node.settings.address.clone().or(record.address);
        let mut backups = Vec::new();
        let mut steps = Vec::new();
        for planned in self.planned {
            if let Some(step) = file(node, &mut record, &dir, &planned)? {
                backups.push(step);
            }
            let mut step = Step::new(
                planned.path,
                match planned.body {
                    Body::Text { after, .. } => New::Bytes(after),
                    Body::Program { file, .. } => New::Copy(file),
                    Body::Link(target) => New::Link(target),
                },
            );
            if planned.what == What::Program {
                step = step.mode(PROGRAM);
            }
            steps.push(step);
        }
        let path = record::path(&node.settings.state);
        for missing in missing_dirs(node, steps.iter().map(|step| &*step.path).chain([&*path])) {
            if !record.dirs.contains(&missing) {
                record.dirs.push(missing);
            }
        }
        let record_step = Step::new(path, New::Bytes(record.bytes())).mode(PRIVATE);
        let first = backups.into_iter().chain([record_step]);
        Ok((first.chain(steps).collect(), record))
    }
}

/// Notes a change, and says which copy is to be made of what is there.
fn file(
    node: &Node,
    record: &mut Record,
    dir: &Path,
    planned: &Planned,
) -> Result<Option<Step>, Error> {
    let there = node.root.open_file(&planned.path);
    // A link is put only where nothing is.
    let there = if planned.what == What::Link {
        None
    } else {
        there?
    };
    let shown = node.root.shown(&planned.path);
    let content = there.as_ref().map(record::digest_of).transpose();
    let content = content.map_err(Error::std("read", &shown))?;
    let mut filed = Filed {
        path: planned.path.clone(),
        what: planned.what,
        before: None,
        after: planned.content(),
        is_exact: true,
        handlers: planned.handlers.clone(),
        pulls: planned.pulls,
    };
    let noted = record
        .files
        .iter_mut()
        .find(|filed| filed.path == planned.path);
    if let Some(noted) = noted {
        // What was there first counts, unless another program has changed it since.
        filed.before = noted.before.clone();
        filed.is_exact = noted.is_exact && content.as_ref() == Some(&noted.after);
        filed.handlers = noted.handlers.clone();
        let new = planned.handlers.iter();
        let new = new.filter(|name| !noted.handlers.contains(name));
        filed.handlers.extend(new.cloned());
        filed.pulls = noted.pulls.or(filed.pulls);
        *noted = filed;
        return Ok(None);
    }
    let mut backup = None;
    if let Some(there) = there {
        let stat = rustix::fs::fstat(&there).map_err(Error::io("look at", &shown))?;
        let name = record.free_backup();
        backup = Some(Step::new(dir.join(&name), New::Copy(there)).mode(PRIVATE));
        filed.before = Some(Before {
            backup: name,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        });
    }
    record.files.push(filed);
    Ok(backup)
}

/// The directories that are not there yet, the outermost first.
fn missing_dirs<'p>(node: &Node, paths: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = Vec::new();
    for path in paths {
        let above = path.ancestors().skip(1);
        let mut gone: Vec<_> = above
            .take_while(|dir| !node.root.exists(dir))
            .map(Path::to_owned)
            .collect();
        gone.reverse();
        gone.retain(|dir| !missing.contains(dir));
        missing.extend(gone);
    }
    missing
}

/// Whose configuration it is.
pub(crate) fn effective(node: &Node) -> Result<Option<Effective>, Error> {
    match (&node.style, node.main()) {
        (Style::Docker { .. }, _) | (_, None) => Ok(None),
        (_, Some(main)) => Effective::read(&node.root, &main).map(Some),
    }
}
