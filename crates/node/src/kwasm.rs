//! `uninstall --kwasm`: what KWasm's installer has left on a node.
//!
//! It appends tables to containerd's configuration and never takes them away. They are two lines each,
//! with the path of a program below a directory of its own, and are cut out as text: of k3s and RKE2
//! it is a template, which is no TOML.

use std::path::{Path, PathBuf};

use crate::args::Settings;
use crate::config::Config;
use crate::diff;
use crate::distribution::Style;
use crate::error::Error;
use crate::install::Change;
use crate::node::Node;
use crate::plan;
use crate::running;
use crate::service::{self, Moment};
use crate::transaction::{New, Step};
use crate::tree;

/// Its directories, that of MicroK8s last.
const DIRS: [&str; 2] = ["/opt/kwasm", "/var/snap/microk8s/common/kwasm"];

/// The header of a table that it may have added, up to the handler's name.
const HEADER: &str = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.";

/// The templates that it copies a configuration to.
const TEMPLATE: &str = "config.toml.tmpl";

/// What is found of it.
#[derive(Debug, Default)]
struct Found {
    steps: Vec<Step>,
    handlers: Vec<String>,
    shown: String,
    dirs: Vec<PathBuf>,
}

/// Takes it away; says what was done.
pub(crate) fn uninstall(settings: Settings) -> Result<String, Error> {
    let dry_run = settings.dry_run;
    let node = Node::open(settings, !dry_run)?;
    let found = find(&node)?;
    if found.steps.is_empty() && found.dirs.is_empty() {
        return Ok("KWasm has left nothing here\n".to_owned());
    }
    if dry_run {
        return Ok(found.shown);
    }
    let running = running::below(&node, &found.dirs)?;
    if !running.is_empty() && !node.settings.force {
        return Err(Error::KwasmRuns {
            count: running.len(),
            pids: running::shown(&running),
        });
    }
    let moment = Moment::of(&node, !found.steps.is_empty())?;
    let change = Change {
        node: &node,
        peer: node.peer(plan::effective(&node)?.as_ref()),
        requested: &[],
        removed: &found.handlers,
        moment,
    };
    let is_configuration = !found.steps.is_empty();
    change.make(found.steps, |_| Ok(()))?;
    for dir in &found.dirs {
        tree::remove(&node.root, dir)?;
    }
    let mut said = format!("{}: took KWasm's shims away\n", node.distribution.name());
    if moment == Moment::Last {
        service::restart(&node)?;
    } else if is_configuration && moment == Moment::Never {
        said += &format!("{}\n", service::advice(&node.root, node.distribution));
    }
    Ok(said)
}

fn find(node: &Node) -> Result<Found, Error> {
    let mut found = Found::default();
    let (file, is_toml) = match &node.style {
        Style::Toml { main } | Style::DropIn { main, .. } => (main.clone(), true),
        Style::Templates { dir } => (dir.join(TEMPLATE), false),
        // Its installer knows no Docker.
        Style::Docker { file } => (file.clone(), false),
    };
    let file = node.root.real(&file)?;
    if let Some(before) = node.root.read(&file)? {
        let before = String::from_utf8_lossy(&before);
        let (after, handlers) = without(&before);
        if !handlers.is_empty() {
            let shown = node.root.shown(&file);
            if is_toml {
                Config::parse(&shown, after.as_bytes())?;
            }
            let shown = shown.display().to_string();
            found.shown += &diff::unified(&shown, Some(&before), Some(&after));
            let step = Step::new(&file, New::Bytes(after.into_bytes()));
            found.steps.push(step);
            found.handlers = handlers;
        }
    }
    for dir in DIRS.map(Path::new) {
        if node.root.exists(dir) {
            found.shown += &format!("removed {}\n", node.root.shown(dir).display());
            found.dirs.push(dir.to_owned());
        }
    }
    Ok(found)
}

/// A configuration without KWasm's tables and the empty lines around them, and whose tables these were.
fn without(text: &str) -> (String, Vec<String>) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut kept: Vec<&str> = Vec::new();
    let mut handlers = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let Some(name) = table(line, lines.get(at + 1).copied().unwrap_or_default()) else {
            kept.push(line);
            at += 1;
            continue;
        };
        if handlers.is_empty() && kept.last().is_some_and(|line| line.trim().is_empty()) {
            kept.pop();
        }
        handlers.push(name.to_owned());
        at += 2;
        let next = lines.get(at).copied().unwrap_or_default();
        if next == "\n"
            && !lines
                .get(at + 1)
                .is_some_and(|line| line.starts_with(HEADER))
        {
            at += 1;
        }
    }
    (kept.concat(), handlers)
}

/// The handler, if these two lines are one of its tables.
fn table<'t>(header: &'t str, next: &str) -> Option<&'t str> {
    let name = header.trim().strip_prefix(HEADER)?.strip_suffix(']')?;
    let (key, value) = next.split_once('=')?;
    let program = value.trim().trim_matches('"');
    let is_its = DIRS.iter().any(|dir| Path::new(program).starts_with(dir));
    (key.trim() == "runtime_type" && is_its).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::without;

    /// What its script appends.
    fn block(dir: &str) -> String {
        let names = ["lunatic", "slight", "spin", "wasmtime"];
        let table = |name: &&str| {
            format!(
                "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}]\n    runtime_type \
                 = \"{dir}/bin/containerd-shim-{name}-v1\"\n"
            )
        };
        format!("\n{}\n", names.iter().map(table).collect::<String>())
    }

    #[test]
    fn what_was_there_before_it_is_there_again_to_the_byte() {
        let before = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  \
                      runtime_type = \"io.containerd.runc.v2\"\n";
        for dir in ["/opt/kwasm", "/var/snap/microk8s/common/kwasm"] {
            for after in ["", "[debug]\n  level = \"info\"\n"] {
                let text = format!("{before}{}{after}", block(dir));
                let (without, handlers) = without(&text);
                assert_eq!(without, format!("{before}{after}"));
                assert_eq!(handlers, ["lunatic", "slight", "spin", "wasmtime"]);
            }
        }
    }

    #[test]
    fn what_is_not_kwasms_stays() {
        for text in [
            "",
            "\n\n",
            "version = 2",
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.spin]\n  runtime_type = \
             \"io.containerd.spin.v2\"\n",
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x]\n  runtime_type = \
             \"/opt/kwasmother/bin/x\"\n",
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x]\n",
        ] {
            assert_eq!(without(text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn tables_that_people_have_added_between_stay() {
        let mine = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.mine]\n  runtime_type = \
                    \"io.containerd.runc.v2\"\n";
        let text = format!(
            "version = 2\n{}{mine}{}",
            block("/opt/kwasm"),
            block("/opt/kwasm")
        );
        let (without, handlers) = without(&text);
        assert!(
            without.contains(mine) && !without.contains("kwasm"),
            "{without}"
        );
        assert_eq!(handlers.len(), 8);
    }
}
