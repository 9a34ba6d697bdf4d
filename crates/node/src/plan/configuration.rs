//! What changes in the configuration, by the distribution's way of having one.

use std::path::{Path, PathBuf};

use super::{Body, Plan, Planned, described};
use crate::config::{Config, Handler};
use crate::distribution::Style;
use crate::docker;
use crate::effective::Effective;
use crate::error::Error;
use crate::names::{self, SHIM};
use crate::node::Node;
use crate::record::{Record, What};
use crate::template;

/// Our file in a directory whose files are all read, behind the distribution's own.
const DROP_IN: &str = "50-containerd-shim-wasm.toml";

/// What a configuration begins with where there was none: read by containerd 1.3 and all later ones.
const NEW: &str = "version = 2\n";

/// The configuration versions whose imported files add to what is there. Of older ones each replaces
/// all that is said of a plugin.
const MERGED: i64 = 3;

/// The first containerd that pulls images by the transfer service.
const TRANSFER: (u32, u32) = (2, 1);

/// The templates of k3s and RKE2, by the version of what is made of them. The first that is there
/// counts, and older ones know the second only.
const TEMPLATES: [(&str, i64); 2] = [("config-v3.toml.tmpl", 3), ("config.toml.tmpl", 2)];

/// What containerd can be asked about before it gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// Nothing changes, or that can't be told.
    None,
    /// Its own file, which changes.
    Main(PathBuf),
    /// Another that it is to import.
    DropIn { main: PathBuf, file: PathBuf },
    /// One of those that it imports changes: `at` leads to it.
    Imported {
        main: PathBuf,
        imports: Vec<PathBuf>,
        at: PathBuf,
        file: PathBuf,
    },
    /// What is to be made of a template, behind what it is made of now.
    Written { main: PathBuf, text: String },
    /// Docker's.
    Docker(PathBuf),
}

pub(super) fn plan(node: &Node, handlers: &[String], plan: &mut Plan) -> Result<(), Error> {
    match &node.style {
        Style::Toml { main } => toml(node, main, handlers, plan),
        Style::DropIn { main, dir } => k0s(node, main, dir, handlers, plan),
        Style::Templates { dir } => templates(node, dir, handlers, plan),
        Style::Docker { file } => daemon_json(node, file, handlers, plan),
    }
}

fn toml(node: &Node, main: &Path, handlers: &[String], plan: &mut Plan) -> Result<(), Error> {
    let main = node.root.real(main)?;
    let mut effective = Effective::read(&node.root, &main)?;
    if effective.has_no_cri() {
        plan.notes.push(
            "the CRI is switched off in this containerd (disabled_plugins): handlers are for \
             Kubernetes, and of no use until it is on"
                .to_owned(),
        );
    }
    let version = effective.main().map(Config::version);
    let dir = effective
        .drop_in_dir(DROP_IN)
        .filter(|_| version >= Some(MERGED));
    if let Some(dir) = dir {
        return drop_in(node, main, &dir, &effective, handlers, plan);
    }
    // Another installer's, say, beside which containerd 1.x would not see what the main one says.
    let imported = effective.says_last_of_cri().map(Path::to_owned);
    if let Some(at) = imported.filter(|_| version < Some(MERGED)) {
        if !matches!(node.version(), Some((2.., _))) {
            effective.count_only(&at);
        }
        let file = node.root.real(&at)?;
        edit(node, &file, NEW, &effective, handlers, plan)?;
        plan.candidate = Candidate::Imported {
            main,
            imports: effective.imported(),
            at,
            file,
        };
        return Ok(());
    }
    edit(node, &main, NEW, &effective, handlers, plan)?;
    plan.candidate = Candidate::Main(main);
    Ok(())
}

/// A file of our own beside those that the main one imports.
fn drop_in(
    node: &Node,
    main: PathBuf,
    dir: &Path,
    effective: &Effective,
    handlers: &[String],
    plan: &mut Plan,
) -> Result<(), Error> {
    let file = dir.join(DROP_IN);
    let version = effective.main().map_or(MERGED, Config::version);
    let new = format!("version = {version}\n");
    edit(node, &file, &new, effective, handlers, plan)?;
    plan.candidate = Candidate::DropIn { main, file };
    Ok(())
}

fn k0s(
    node: &Node,
    main: &Path,
    dir: &Path,
    handlers: &[String],
    plan: &mut Plan,
) -> Result<(), Error> {
    let effective = Effective::read(&node.root, main)?;
    let Some(config) = effective.main() else {
        return Err(Error::NotStarted {
            path: node.root.shown(main),
            distribution: node.distribution.name(),
        });
    };
    let version = config.version();
    drop_in(node, main.to_owned(), dir, &effective, handlers, plan)?;
    if version < MERGED {
        // k0s merges these by itself.
        plan.candidate = Candidate::None;
    }
    Ok(())
}

/// Edits one file.
fn edit(
    node: &Node,
    path: &Path,
    new: &str,
    effective: &Effective,
    handlers: &[String],
    plan: &mut Plan,
) -> Result<(), Error> {
    let before = node.root.read(path)?;
    let shown = node.root.shown(path);
    let text = before.as_deref().unwrap_or(new.as_bytes());
    let mut config = Config::parse(&shown, text)?;
    config.import_by(effective.main().map_or(MERGED, Config::version));
    let original = config.clone();
    let mut added = Vec::new();
    if config.version() < MERGED && effective.has_no_handler() {
        config.add_runc()?;
    }
    for handler in described(node, handlers, effective) {
        match effective.handler(&handler.name) {
            Some(found) if !names::is_ours(&found.runtime) => {
                return Err(Error::Taken {
                    handler: handler.name,
                    found: found.runtime,
                    path: node.root.shown(&found.file),
                });
            }
            Some(found) if found.file != path => plan.notes.push(format!(
                "the handler {} is there already, by {}",
                handler.name,
                node.root.shown(&found.file).display()
            )),
            found => {
                config.add(&handler)?;
                if found.is_none() {
                    added.push(handler.name);
                }
            }
        }
    }
    let pulls = if pulls(node, &original, effective) {
        config.pull_locally()?
    } else {
        None
    };
    config.is_only_added_to(&original)?;
    let is_same = config.flat() == original.flat() && before.is_some();
    let after = match &before {
        Some(before) if is_same => before.clone(),
        _ => config.text().into_bytes(),
    };
    plan.planned.push(Planned {
        path: path.to_owned(),
        what: What::Config,
        body: Body::Text { before, after },
        handlers: added,
        pulls,
    });
    Ok(())
}

/// Whether images have to be pulled in another way, for those of the platform `wasi/wasm`.
fn pulls(node: &Node, config: &Config, effective: &Effective) -> bool {
    let needed = match node.version() {
        Some(version) => version >= TRANSFER,
        None => config.version() >= MERGED,
    };
    let noted = node.record.as_ref();
    let kept = node.settings.keep_pulls || noted.is_some_and(|record| record.keeps_pulls);
    needed && !kept && effective.local_pull() != Some(true)
}

fn templates(node: &Node, dir: &Path, handlers: &[String], plan: &mut Plan) -> Result<(), Error> {
    let main = dir.join("config.toml");
    let effective = Effective::read(&node.root, &main)?;
    if let Some(imported) = effective.drop_in_dir(DROP_IN) {
        return drop_in(node, main, &imported, &effective, handlers, plan);
    }
    let made = effective.main().map(Config::version);
    let is_there = |(name, _): &&(&str, i64)| node.root.exists(dir.join(name));
    let targets: Vec<(&str, i64)> = match (TEMPLATES.iter().find(is_there), made) {
        (Some(found), _) => vec![*found],
        (None, Some(version)) => {
            let fits = |(_, of): &&(&str, i64)| *of == version.clamp(2, MERGED);
            TEMPLATES.iter().filter(fits).copied().collect()
        }
        // Which one it will read is known once it has started: it gets both.
        (None, None) => TEMPLATES.to_vec(),
    };
    let mut added = Vec::new();
    for (name, version) in &targets {
        let path = node.root.real(&dir.join(name))?;
        let planned = one_template(node, path, *version, handlers, &effective, &mut plan.notes)?;
        added.extend(planned.1);
        plan.planned.push(planned.0);
    }
    if targets.iter().any(|(_, version)| *version >= MERGED) {
        plan.notes.push(
            "a template cannot say how images are pulled: those of the platform wasi/wasm need a \
             k3s that imports config-v3.toml.d, those of the node's own platform do not"
                .to_owned(),
        );
    }
    if let (Some(version), [_]) = (made, &targets[..]) {
        let present = |name: &str| effective.handler(name).is_some();
        let theirs = plan.planned.last().and_then(Planned::text_before);
        let text = template::filled(theirs.as_deref(), version, &added, present);
        plan.candidate = Candidate::Written { main, text };
    }
    Ok(())
}

fn one_template(
    node: &Node,
    path: PathBuf,
    version: i64,
    handlers: &[String],
    effective: &Effective,
    notes: &mut Vec<String>,
) -> Result<(Planned, Vec<Handler>), Error> {
    let before = node.root.read(&path)?;
    let shown = node.root.shown(&path);
    let text = before.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
    let version = template::version_of(text.as_deref(), version);
    // The block is written anew, with what it has.
    let mut names = template::handlers(text.as_deref().unwrap_or_default(), version);
    for handler in handlers {
        let found = effective.handler(handler);
        if let Some(found) = &found
            && !names::is_ours(&found.runtime)
        {
            return Err(Error::Taken {
                handler: handler.clone(),
                found: found.runtime.clone(),
                path: node.root.shown(&found.file),
            });
        }
        // By hand, or by another installer.
        let own = text
            .as_deref()
            .is_some_and(|text| template::has_own(text, version, handler));
        if own && found.is_some() {
            notes.push(format!(
                "the handler {handler} is there already, by {}",
                shown.display()
            ));
            continue;
        }
        if !names.contains(handler) {
            names.push(handler.clone());
        }
    }
    let handlers = described(node, &names, effective);
    let after = template::add(&shown, text.as_deref(), version, &handlers)?;
    let planned = Planned {
        path,
        what: What::Template,
        body: Body::Text {
            before,
            after: after.into_bytes(),
        },
        handlers: names,
        pulls: None,
    };
    Ok((planned, handlers))
}

fn daemon_json(
    node: &Node,
    file: &Path,
    handlers: &[String],
    plan: &mut Plan,
) -> Result<(), Error> {
    let path = node.root.real(file)?;
    let before = node.root.read(&path)?;
    let shown = node.root.shown(&path);
    let text = before.as_deref().map(std::str::from_utf8).transpose();
    let text = text.map_err(|_| Error::Shape {
        path: shown.clone(),
        key: "it".to_owned(),
        found: "not UTF-8".to_owned(),
        expected: "JSON",
    })?;
    let runtime = |name: &String| {
        let alias = names::alias_of_handler(name);
        let by_path = node.bin_dir.join(alias.map_or(SHIM, |alias| alias.file));
        let by_name = names::runtime_of_handler(name).to_owned();
        let by_path = by_path.to_string_lossy().into_owned();
        let runtime = if node.is_searched() { by_name } else { by_path };
        (name.clone(), runtime)
    };
    let runtimes: Vec<_> = handlers.iter().map(runtime).collect();
    let (after, added) = docker::add(&shown, text, &runtimes)?;
    plan.planned.push(Planned {
        path: path.clone(),
        what: What::Docker,
        body: Body::Text {
            before,
            after: after.into_bytes(),
        },
        handlers: added,
        pulls: None,
    });
    plan.candidate = Candidate::Docker(path);
    Ok(())
}

/// The handlers that are ours in what is configured now.
pub(crate) fn ours(node: &Node, effective: Option<&Effective>) -> Result<Vec<String>, Error> {
    if let Style::Docker { file } = &node.style {
        let text = node.root.read(file)?.unwrap_or_default();
        return docker::ours(&node.root.shown(file), &String::from_utf8_lossy(&text));
    }
    let noted = node.record.as_ref().map(Record::handlers);
    let is_ours = |name: &String| {
        let found = effective.and_then(|effective| effective.handler(name));
        found.is_some_and(|found| names::is_ours(&found.runtime))
    };
    Ok(noted
        .unwrap_or_default()
        .into_iter()
        .filter(is_ours)
        .collect())
}
