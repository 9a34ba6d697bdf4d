//! The libraries that a program brings along, a directory for each version of them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Plan, program};
use crate::error::Error;
use crate::names::{LIBRARIES, SHIM};
use crate::node::Node;
use crate::record::{self, Filed, Record};
use crate::running;
use crate::transaction::{New, Step, Transaction, remove_dir};

/// What lies in the directories of `from` goes to the node: each is one version of the libraries, and keeps its
/// name. Those of the versions before go, as soon as no container runs with them.
pub(super) fn plan(node: &Node, program: &str, from: &Path, plan: &mut Plan) -> Result<(), Error> {
    let versions = names_in(from)?;
    for version in &versions {
        let from = from.join(version);
        for name in names_in(&from)? {
            let source = from.join(&name);
            let file = File::open(&source).map_err(Error::std("read", &source))?;
            let path = Path::new(LIBRARIES).join(version).join(&name);
            self::program(node, &source, &file, path, plan)?;
        }
    }
    // The shim itself has none: it is of the program beside it that the record tells.
    if program == SHIM {
        return Ok(());
    }
    for version in noted(node) {
        if !versions.contains(&version) {
            leave(node, &version, plan)?;
        }
    }
    Ok(())
}

/// The versions that the record has.
fn noted(node: &Node) -> BTreeSet<OsString> {
    let files = node.record.iter().flat_map(|record| &record.files);
    let version = |path: &Path| {
        let below = path.strip_prefix(LIBRARIES).ok()?;
        below.iter().next().map(OsStr::to_owned)
    };
    files.filter_map(|filed| version(&filed.path)).collect()
}

/// Has a version taken away, unless containers run with it.
fn leave(node: &Node, version: &OsStr, plan: &mut Plan) -> Result<(), Error> {
    let dir = Path::new(LIBRARIES).join(version);
    match in_use(node, &dir)? {
        Some(note) => plan.notes.push(note),
        None => plan.stale.push(dir),
    }
    Ok(())
}

/// What people should know of a version that can't be taken away yet.
fn in_use(node: &Node, dir: &Path) -> Result<Option<String>, Error> {
    let mut users = running::mapping(dir)?;
    users.extend(running::shims_from_before(node)?);
    users.sort_unstable();
    users.dedup();
    Ok((!users.is_empty()).then(|| {
        format!(
            "the libraries of an older program, {}, stay as long as shims and containers use them (pids {}); \
             the next install after that takes them away",
            node.root.shown(dir).display(),
            running::shown(&users)
        )
    }))
}

/// Takes versions away. Their program is replaced by now, so that no container comes that would use them; one
/// that has come meanwhile is told of.
pub(crate) fn sweep(node: &Node, dirs: &[PathBuf]) -> Result<String, Error> {
    let mut said = String::new();
    for dir in dirs {
        let state = &node.settings.state;
        let Some(mut record) = Record::read(&node.root, state)? else {
            break;
        };
        if let Some(note) = in_use(node, dir)? {
            said += &format!("note: {note}\n");
            continue;
        }
        // A file that has taken another one's place stays: uninstall puts the other one back.
        let is_ours = |filed: &&Filed| filed.path.starts_with(dir) && filed.before.is_none();
        let ours = record.files.iter().filter(is_ours);
        let ours: Vec<PathBuf> = ours.map(|filed| filed.path.clone()).collect();
        record.forget(&ours);
        let record = Step::new(record::path(state), New::Bytes(record.bytes()));
        let gone = ours.iter().map(|path| Step::new(path, New::Nothing));
        let steps = std::iter::once(record).chain(gone).collect();
        Transaction::stage(&node.root, steps)?.commit()?.keep()?;
        remove_dir(&node.root, dir)?;
        said += &format!("removed {}\n", node.root.shown(dir).display());
    }
    Ok(said)
}

/// The names in a directory of what is installed, in their order; none if it is not there, or a file: cargo
/// has a list of sources by that name beside each program that it makes.
fn names_in(dir: &Path) -> Result<Vec<OsString>, Error> {
    let failed = || Error::std("read", dir);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed()(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<Result<Vec<_>, _>>().map_err(failed())?;
    names.sort();
    Ok(names)
}
