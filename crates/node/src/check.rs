//! What containerd itself says of a configuration that it does not have yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::names;
use crate::node::Node;
use crate::plan::Candidate;
use crate::transaction::Transaction;

/// The file that a program's standard input is.
const STDIN: &str = "/dev/stdin";

/// Values that say no more than their absence.
const NOTHING: [&str; 5] = ["", "\"\"", "false", "0", "[]"];

/// Has the node's containerd read what waits beside its place, and compares it with what it reads now:
/// the handlers are there, and nothing else is lost or changed. Says whether it could be asked.
pub(crate) fn check(
    node: &Node,
    candidate: &Candidate,
    transaction: &Transaction<'_>,
    handlers: &[String],
) -> Result<bool, Error> {
    let Some(program) = node.containerd() else {
        return Ok(false);
    };
    let containerd = Containerd { node, program };
    let draft = |file: &Path| transaction.draft(file);
    let (main, after) = match candidate {
        Candidate::None => return Ok(false),
        Candidate::Docker(file) => {
            return match draft(file) {
                Some(draft) => containerd.validate(file, &draft),
                None => Ok(false),
            };
        }
        Candidate::Main(main) => (main, draft(main).map(ConfigSource::At)),
        Candidate::DropIn { main, file } => {
            let both = |draft| format!("imports = [{main:?}, {draft:?}]\n").into_bytes();
            (main, draft(file).map(both).map(ConfigSource::Text))
        }
        Candidate::Imported {
            main,
            imports,
            at,
            file,
        } => {
            let now = node.root.read(main)?.unwrap_or_default();
            let now = Config::parse(&node.root.shown(main), &now)?;
            let instead = |draft: PathBuf| {
                let each = |path: &PathBuf| if path == at { &draft } else { path }.clone();
                let imports: Vec<_> = imports.iter().map(each).collect();
                now.importing(&imports).into_bytes()
            };
            (main, draft(file).map(instead).map(ConfigSource::Text))
        }
        Candidate::Written { main, text } => {
            let now = node.root.read(main)?.unwrap_or_default();
            let text = [&*now, b"\n", text.as_bytes()].concat();
            (main, Some(ConfigSource::Text(text)))
        }
    };
    let Some(after) = after else {
        return Ok(false);
    };
    let before = if node.root.exists(main) {
        let before = containerd.dump(&ConfigSource::At(main.clone()));
        Some(before.map_err(|error| said(error, |source| Error::Before { source }))?)
    } else {
        None
    };
    let after = containerd.dump(&after);
    let after = after.map_err(|error| said(error, |source| Error::Refused { source }))?;
    if let Some(before) = before {
        keeps(&before, &after)?;
    }
    let has = after.handlers();
    let is_there = |name: &String| {
        has.iter()
            .any(|(found, runtime)| found == name && names::is_ours(runtime))
    };
    // Where the CRI is switched off, containerd reads no handlers. They count once it is switched on.
    if after.has_no_cri() {
        return Ok(true);
    }
    let Some(handler) = handlers.iter().find(|name| !is_there(name)) else {
        return Ok(true);
    };
    let handler = handler.clone();
    let version = match node.root.read(main)? {
        Some(text) => Config::parse(main, &text)?.version(),
        None => return Err(Error::Unseen { handler }),
    };
    // containerd 2 reads no handlers in a file of version 1, and containerd 1 none in one of version 3.
    let is_other = match node.version() {
        Some((1, _)) => version > 2,
        Some(_) => version == 1,
        None => false,
    };
    if is_other {
        let path = node.root.shown(main);
        return Err(Error::OtherVersion {
            handler,
            path,
            version,
        });
    }
    Err(Error::Unseen { handler })
}

/// A configuration that is to be read.
enum ConfigSource {
    /// This file.
    At(PathBuf),
    /// A file that is not there.
    Text(Vec<u8>),
}

/// The program that reads the configuration.
struct Containerd<'n> {
    node: &'n Node,
    program: PathBuf,
}

impl Containerd<'_> {
    /// What it makes of a configuration, its defaults and imports included.
    fn dump(&self, config: &ConfigSource) -> Result<Config, Error> {
        let (path, input) = match config {
            ConfigSource::At(path) => (path.to_string_lossy(), None),
            ConfigSource::Text(text) => (STDIN.into(), Some(&**text)),
        };
        let args = ["--config", &*path, "config", "dump"];
        let said = self.node.runner.run(&self.program, &args, input)?;
        Config::parse(Path::new("containerd's answer"), &said.unwrap_or_default())
    }

    /// Docker's own check. One that finds fault with what is there now says nothing of the new.
    fn validate(&self, now: &Path, draft: &Path) -> Result<bool, Error> {
        let validate = |file: &Path| {
            let file = file.to_string_lossy();
            let args = ["--validate", "--config-file", &file];
            self.node.runner.run(&self.program, &args, None)
        };
        if self.node.root.exists(now) && validate(now).is_err() {
            return Ok(false);
        }
        validate(draft)
            .map(|said| said.is_some())
            .map_err(|error| said(error, |source| Error::Refused { source }))
    }
}

/// What a program said; that it could not be run is no word about the configuration.
fn said(error: Error, wrong: fn(Box<Error>) -> Error) -> Error {
    match error {
        Error::Run { .. } => error,
        error => wrong(Box::new(error)),
    }
}

/// Whether everything but our own handlers is as it was.
fn keeps(before: &Config, after: &Config) -> Result<(), Error> {
    let ours = |config: &Config| {
        let handlers = config.handlers().into_iter();
        let ours = handlers.filter(|(_, runtime)| names::is_ours(runtime));
        let prefix = |(name, _)| {
            let plugin = config.plugin();
            format!("plugins/{plugin}/containerd/runtimes/{name}/")
        };
        ours.map(prefix).collect::<Vec<_>>()
    };
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (before.flat(), after.flat());
    let ours = [ours(before), ours(after)].concat();
    let is_free = |key: &str| {
        key == "imports"
            || key.ends_with("/use_local_image_pull")
            || ours.iter().any(|prefix| key.starts_with(prefix))
    };
    let changed = old.iter().find(|(key, value)| {
        // containerd 1.7 fills it in later, for runc as for all.
        let is_default = key.ends_with("/containerd/runtimes/runc/sandbox_mode");
        match new.get(*key) {
            _ if is_default || is_free(key) => false,
            Some(new) => new != *value,
            // What it leaves out is as good as nothing.
            None => !NOTHING.contains(&value.as_str()),
        }
    });
    match changed {
        Some((key, _)) => Err(Error::Disturbed { key: key.clone() }),
        None => Ok(()),
    }
}
