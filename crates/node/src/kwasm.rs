//! `uninstall --kwasm`: what KWasm's installer has left on a node.
//!
//! It appends tables to containerd's configuration and never takes them away. Each has the path of a program
//! below a directory of its own; SpinKube's installer, which the operator runs as well, adds a table of
//! options and a link to the program. They are cut out as text: of k3s and RKE2 it is a template, which is no
//! TOML.

use std::path::{Path, PathBuf};

use toml_edit::Key;

use crate::args::Settings;
use crate::config::Config;
use crate::diff;
use crate::distribution::Style;
use crate::error::Error;
use crate::install::Change;
use crate::names::SEARCHED;
use crate::node::Node;
use crate::plan;
use crate::root::Entry;
use crate::running;
use crate::service::{self, Moment};
use crate::transaction::{New, Step};
use crate::tree;

/// Its directories, that of MicroK8s last.
const DIRS: [&str; 2] = ["/opt/kwasm", "/var/snap/microk8s/common/kwasm"];

/// The CRI plugin, by the names that it has in the configurations that are appended to.
const PLUGINS: [&str; 2] = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"];

/// What stands before a table in one of its versions.
const COMMENT: &str = "# KWASM runtime config for ";

/// The templates that it copies a configuration to.
const TEMPLATE: &str = "config.toml.tmpl";

/// What is found of it.
#[derive(Debug, Default)]
struct Found {
    steps: Vec<Step>,
    handlers: Vec<String>,
    shown: String,
    dirs: Vec<PathBuf>,
    is_configuration: bool,
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
    let moment = Moment::of(&node, found.is_configuration)?;
    let change = Change {
        node: &node,
        peer: node.peer(plan::effective(&node)?.as_ref()),
        requested: &[],
        removed: &found.handlers,
        moment,
    };
    let is_configuration = found.is_configuration;
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
    match &node.style {
        Style::Toml { main } => found.file(node, main, true)?,
        Style::DropIn { main, dir } => {
            found.file(node, main, true)?;
            for name in node.root.names(dir)? {
                found.file(node, &dir.join(name), true)?;
            }
        }
        Style::Templates { dir } => found.file(node, &dir.join(TEMPLATE), false)?,
        // Its installer knows no Docker.
        Style::Docker { .. } => {}
    }
    found.links(node)?;
    for dir in DIRS.map(Path::new) {
        if node.root.exists(dir) {
            found.shown += &format!("would remove {}\n", node.root.shown(dir).display());
            found.dirs.push(dir.to_owned());
        }
    }
    Ok(found)
}

impl Found {
    /// What a configuration has of it. A file that has nothing else goes.
    fn file(&mut self, node: &Node, file: &Path, is_toml: bool) -> Result<(), Error> {
        let file = node.root.real(file)?;
        let Some(before) = node.root.read(&file)? else {
            return Ok(());
        };
        let before = String::from_utf8_lossy(&before);
        let (after, handlers) = without(&before);
        if handlers.is_empty() {
            return Ok(());
        }
        let shown = node.root.shown(&file);
        if is_toml {
            Config::parse(&shown, after.as_bytes())?;
        }
        let after = (!after.trim().is_empty()).then_some(after);
        let shown = shown.display().to_string();
        self.shown += &diff::unified(&shown, Some(&before), after.as_deref());
        let new = after.map_or(New::Nothing, |text| New::Bytes(text.into_bytes()));
        self.steps.push(Step::new(&file, new));
        self.handlers.extend(handlers);
        self.is_configuration = true;
        Ok(())
    }

    /// The links to its programs, where containerd looks for shims.
    fn links(&mut self, node: &Node) -> Result<(), Error> {
        for dir in SEARCHED.map(Path::new) {
            // With a merged /usr the same one is there under another name.
            if matches!(node.root.entry(dir)?, Some(Entry::Link(_))) {
                continue;
            }
            for name in node.root.names(dir)? {
                let path = dir.join(name);
                let is_its = |target: &Path| DIRS.iter().any(|dir| target.starts_with(dir));
                if let Some(Entry::Link(target)) = node.root.entry(&path)?
                    && is_its(&target)
                {
                    self.shown += &format!("would remove {}\n", node.root.shown(&path).display());
                    self.steps.push(Step::new(&path, New::Nothing));
                }
            }
        }
        Ok(())
    }
}

/// A configuration without KWasm's tables and the empty line on each side of them, and whose tables these were.
fn without(text: &str) -> (String, Vec<String>) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let blocks: Vec<_> = (0..lines.len()).map(|at| block(&lines[at..])).collect();
    // Under the name that the plugin has in another version another's handler may have the same name.
    let is_its = |this: &Block| {
        let mut tables = blocks.iter().flatten();
        tables.any(|block| block.table == this.table && block.name == this.name && block.is_its)
    };
    let is_empty = |line: &str| line.trim().is_empty();
    let mut kept: Vec<&str> = Vec::new();
    let mut handlers: Vec<String> = Vec::new();
    let (mut at, mut removed_to) = (0, None);
    while let Some(line) = lines.get(at) {
        let Some(block) = blocks[at].as_ref().filter(|block| is_its(block)) else {
            kept.push(line);
            at += 1;
            continue;
        };
        if removed_to != Some(at) && kept.last().is_some_and(|line| is_empty(line)) {
            kept.pop();
        }
        if !handlers.contains(&block.name) {
            handlers.push(block.name.clone());
        }
        at += block.lines;
        // The version with a comment has no empty line behind it.
        if !block.is_commented && lines.get(at).is_some_and(|line| is_empty(line)) {
            at += 1;
        }
        removed_to = Some(at);
    }
    (kept.concat(), handlers)
}

/// A handler's table, or that of its options.
#[derive(Debug)]
struct Block {
    /// The plugin's.
    table: String,
    name: String,
    lines: usize,
    /// Whether it is a handler's that has a program of KWasm's.
    is_its: bool,
    is_commented: bool,
}

/// The table that these lines begin with, up to an empty line or the next table.
fn block(lines: &[&str]) -> Option<Block> {
    let is_commented = lines.first()?.starts_with(COMMENT);
    let from = usize::from(is_commented);
    let (table, name, is_handler) = header(lines.get(from)?)?;
    let is_body = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('[');
    let body = lines[from + 1..].iter().take_while(is_body);
    let is_its = is_handler && body.clone().any(|line| has_its_program(line));
    Some(Block {
        table,
        name,
        lines: from + 1 + body.count(),
        is_its,
        is_commented,
    })
}

/// The plugin, and the handler, whose table or whose options a line begins.
fn header(line: &str) -> Option<(String, String, bool)> {
    let inner = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let keys = Key::parse(inner).ok()?;
    let keys: Vec<&str> = keys.iter().map(Key::get).collect();
    let (plugin, name, is_handler) = match keys[..] {
        ["plugins", plugin, "containerd", "runtimes", name] if PLUGINS.contains(&plugin) => {
            (plugin, name, true)
        }
        ["plugins", plugin, "containerd", "runtimes", name, "options"]
            if PLUGINS.contains(&plugin) =>
        {
            (plugin, name, false)
        }
        _ => return None,
    };
    Some((plugin.to_owned(), name.to_owned(), is_handler))
}

fn has_its_program(line: &str) -> bool {
    let Some((key, value)) = line.split_once('=') else {
        return false;
    };
    let program = Path::new(value.trim().trim_matches('"'));
    key.trim() == "runtime_type" && DIRS.iter().any(|dir| program.starts_with(dir))
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
    fn a_handler_of_the_same_name_in_another_version_stays() {
        let mine = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.spin]\n  runtime_type = \
                    \"io.containerd.wasm.v1\"\n\
                    [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.spin.options]\n  x = 1\n";
        let (without, handlers) = without(&format!("{mine}{}", block("/opt/kwasm")));
        assert_eq!(without, mine);
        assert!(handlers.iter().any(|name| name == "spin"));
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
        assert_eq!(handlers.len(), 4);
    }

    /// As SpinKube's script appends it, with options of their own and in both versions, and as one of KWasm's
    /// programs does.
    #[test]
    fn what_its_other_installers_append_goes_too() {
        let spin = |header: &str, options: &str| {
            format!(
                "\n[plugins.{header}]\n    runtime_type = \"/opt/kwasm/bin/containerd-shim-spin-v2\"\n\n\
                 \n[plugins.{options}]\n    SystemdCgroup = true\n\n"
            )
        };
        let old = "\"io.containerd.grpc.v1.cri\".containerd.runtimes.spin";
        let new = "\"io.containerd.cri.v1.runtime\".containerd.runtimes";
        let before = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n  \
                      SystemdCgroup = true\n";
        for added in [
            spin(old, &format!("{old}.options")),
            spin(&format!("{new}.\"spin\""), &format!("{new}.spin.options")),
            format!(
                "\n# KWASM runtime config for spin\n[plugins.{old}]\nruntime_type = \"/opt/kwasm/bin/x\"\n"
            ),
        ] {
            for after in ["", "[debug]\n  level = \"info\"\n"] {
                let (without, handlers) = without(&format!("{before}{added}{after}"));
                assert_eq!(without, format!("{before}{after}"));
                assert_eq!(handlers, ["spin"]);
            }
        }
    }
}
