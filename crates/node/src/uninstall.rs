//! `uninstall`: what was there before, to the byte where no other program has changed it since.

use std::path::Path;

use crate::args::Settings;
use crate::config::Config;
use crate::diff;
use crate::distribution::Style;
use crate::docker;
use crate::error::Error;
use crate::install::Change;
use crate::kwasm;
use crate::node::Node;
use crate::plan;
use crate::record::{self, Content, Filed, Record, What};
use crate::root::Entry;
use crate::running;
use crate::service::{self, Moment};
use crate::template;
use crate::transaction::{New, Step, remove_dir};
use crate::tree;

/// What is to be done.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    shown: String,
    notes: Vec<String>,
    is_configuration: bool,
}

/// Does it; says what was done.
pub(crate) fn uninstall(settings: Settings) -> Result<String, Error> {
    if settings.kwasm {
        return kwasm::uninstall(settings);
    }
    let dry_run = settings.dry_run;
    let root = crate::root::Root::open(&settings.root)?;
    if Record::read(&root, &settings.state)?.is_none() {
        let path = root.shown(&record::path(&settings.state));
        return Ok(format!(
            "nothing is installed: there is no {}\n",
            path.display()
        ));
    }
    let node = Node::open(settings, !dry_run)?;
    let Some(record) = node.record.clone() else {
        return Ok("nothing is installed\n".to_owned());
    };
    let running = running::shims(&node)?;
    if !running.is_empty() && !node.settings.force && !dry_run {
        return Err(Error::Running {
            count: running.len(),
            pids: running::shown(&running),
        });
    }
    let plan = plan_back(&node, &record)?;
    let notes: String = plan
        .notes
        .iter()
        .map(|note| format!("note: {note}\n"))
        .collect();
    if dry_run {
        return Ok(format!("{}{notes}", plan.shown));
    }
    let done = apply(&node, &record, plan, running.is_empty())?;
    Ok(format!(
        "{notes}{}: uninstalled\n{done}",
        node.distribution.name()
    ))
}

fn plan_back(node: &Node, record: &Record) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    for filed in record.files.iter().rev() {
        let path = node.root.shown(&filed.path).display().to_string();
        match filed.what {
            What::Link => link(node, filed, &mut plan)?,
            What::Program => program(node, filed, &mut plan)?,
            What::Config | What::Template | What::Docker => text(node, filed, &path, &mut plan)?,
        }
    }
    let dir = record::dir(&node.settings.state);
    for name in node.root.names(&dir)? {
        plan.steps.push(Step::new(dir.join(name), New::Nothing));
    }
    Ok(plan)
}

fn link(node: &Node, filed: &Filed, plan: &mut Plan) -> Result<(), Error> {
    let shown = node.root.shown(&filed.path);
    match node.root.entry(&filed.path)? {
        Some(Entry::Link(target)) if Content::Link(target.clone()) == filed.after => {
            plan.shown += &format!("would remove {}\n", shown.display());
            plan.steps.push(Step::new(&filed.path, New::Nothing));
        }
        None => {}
        Some(_) => plan.notes.push(left(&shown)),
    }
    Ok(())
}

fn program(node: &Node, filed: &Filed, plan: &mut Plan) -> Result<(), Error> {
    let shown = node.root.shown(&filed.path);
    let Some(file) = node.root.open_file(&filed.path)? else {
        return Ok(());
    };
    let now = record::digest_of(&file).map_err(Error::std("read", &shown))?;
    if now != filed.after {
        plan.notes.push(left(&shown));
        return Ok(());
    }
    let what = if filed.before.is_some() {
        "would restore"
    } else {
        "would remove"
    };
    plan.shown += &format!("{what} {}\n", shown.display());
    plan.steps.push(restored(node, filed)?);
    Ok(())
}

fn left(path: &Path) -> String {
    format!("{} was changed since, and is left alone", path.display())
}

/// What was there before.
fn restored(node: &Node, filed: &Filed) -> Result<Step, Error> {
    let Some(before) = &filed.before else {
        return Ok(Step::new(&filed.path, New::Nothing));
    };
    let backup = record::dir(&node.settings.state).join(&before.backup);
    let Some(file) = node.root.open_file(&backup)? else {
        return Err(Error::io("read", &node.root.shown(&backup))(
            rustix::io::Errno::NOENT,
        ));
    };
    let mut step = Step::new(&filed.path, New::Copy(file)).mode(before.mode);
    step.owner = Some((before.uid, before.gid));
    Ok(step)
}

/// A configuration: as it was, or as it is less what was added.
fn text(node: &Node, filed: &Filed, path: &str, plan: &mut Plan) -> Result<(), Error> {
    let Some(now) = node.root.read(&filed.path)? else {
        return Ok(());
    };
    let shown = node.root.shown(&filed.path);
    let (step, after) = if filed.is_exact && record::digest(&now) == filed.after {
        let step = restored(node, filed)?;
        let after = match &filed.before {
            Some(before) => {
                let backup = record::dir(&node.settings.state).join(&before.backup);
                node.root.read(&backup)?
            }
            None => None,
        };
        (step, after)
    } else {
        let after = without(&shown, filed, &now)?;
        // One that another program has made stays, even if it is empty.
        let after = match after {
            None if filed.before.is_some() => Some(Vec::new()),
            after => after,
        };
        let new = after.clone().map_or(New::Nothing, New::Bytes);
        (Step::new(&filed.path, new), after)
    };
    if after.as_ref() == Some(&now) {
        return Ok(());
    }
    let after = after.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
    let now = String::from_utf8_lossy(&now);
    plan.shown += &diff::unified(path, Some(&*now), after.as_deref());
    plan.is_configuration = true;
    plan.steps.push(step);
    Ok(())
}

/// The text less what was added; `None` if nothing is left.
fn without(path: &Path, filed: &Filed, now: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let text = String::from_utf8_lossy(now);
    match filed.what {
        What::Template => Ok(template::remove(&text).map(String::into_bytes)),
        What::Docker => {
            let text = docker::remove(path, &text, &filed.handlers)?;
            Ok(text.map(String::into_bytes))
        }
        _ => {
            let mut config = Config::parse(path, now)?;
            for handler in &filed.handlers {
                if config.default_runtime() == Some(handler) {
                    return Err(Error::IsDefault {
                        handler: handler.clone(),
                        path: path.to_owned(),
                    });
                }
                config.remove(handler)?;
            }
            if let Some(pulls) = filed.pulls {
                config.pull_as_before(pulls);
            }
            let is_left = !config.is_bare();
            Ok(is_left.then(|| config.text().into_bytes()))
        }
    }
}

fn apply(node: &Node, record: &Record, plan: Plan, is_idle: bool) -> Result<String, Error> {
    let moment = Moment::of(node, plan.is_configuration)?;
    let is_docker = matches!(node.style, Style::Docker { .. });
    // Docker takes runtimes over at a reload, and lets none go.
    let gone = if is_docker {
        Vec::new()
    } else {
        record.handlers()
    };
    let change = Change {
        node,
        peer: node.peer(plan::effective(node)?.as_ref()),
        requested: &[],
        removed: &gone,
        moment,
    };
    change.make(plan.steps, |_| Ok(()))?;
    let state = &node.settings.state;
    if is_idle {
        // Native code is for the containers that there were.
        tree::remove(&node.root, &state.join("cache"))?;
        node.runner.forget_mounts();
    }
    for dir in [&record::dir(state), state] {
        remove_dir(&node.root, dir)?;
    }
    for dir in record.dirs.iter().rev() {
        remove_dir(&node.root, dir)?;
    }
    if moment == Moment::Last {
        service::restart(node)?;
    }
    if is_docker {
        return Ok("Docker forgets the runtime when it is restarted next\n".to_owned());
    }
    if plan.is_configuration && moment == Moment::Never {
        return Ok(format!(
            "{}\n",
            service::advice(&node.root, node.distribution)
        ));
    }
    Ok(String::new())
}
