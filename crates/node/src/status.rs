//! `status`: what is on the node, changed by nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use crate::args::Settings;
use crate::cri::Peer;
use crate::error::{Error, told};
use crate::node::Node;
use crate::plan;
use crate::record::{self, Content, Filed, Record};
use crate::root::Entry;
use crate::running;

/// What there is.
#[derive(Debug)]
pub(crate) struct Status {
    text: String,
    /// Whether everything is as install has left it, and containerd knows it.
    pub(crate) is_complete: bool,
}

impl Status {
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// How a path is, compared with the record.
fn state(node: &Node, filed: &Filed) -> Result<&'static str, Error> {
    let now = match node.root.entry(&filed.path)? {
        None => return Ok("missing"),
        Some(Entry::Link(target)) if matches!(filed.after, Content::Link(_)) => {
            Content::Link(target)
        }
        Some(_) => match node.root.open_file(&filed.path)? {
            Some(file) => record::digest_of(&file)
                .map_err(Error::std("read", &node.root.shown(&filed.path)))?,
            None => return Ok("missing"),
        },
    };
    Ok(if now == filed.after {
        "as installed"
    } else {
        "changed since"
    })
}

pub(crate) fn status(settings: Settings) -> Result<Status, Error> {
    let is_json = settings.json;
    let node = Node::open(settings, false)?;
    let effective = plan::effective(&node)?;
    let peer = node.peer(effective.as_ref());
    let configured = plan::ours(&node, effective.as_ref())?;
    let known = peer.handlers(&node.root);
    let shims = running::shims(&node)?;
    let mut files = Vec::new();
    for filed in node.record.iter().flat_map(|record| &record.files) {
        files.push((node.root.shown(&filed.path), state(&node, filed)?));
    }
    let noted = node.record.as_ref();
    // A distribution that has written its configuration anew has left the handlers out.
    let has_all = |record: &Record| {
        record
            .handlers()
            .iter()
            .all(|name| configured.contains(name))
    };
    let is_there =
        noted.is_some_and(has_all) && !files.iter().any(|(_, state)| *state == "missing");
    let is_known = match &known {
        Ok(handlers) => !peer.tells() || configured.iter().all(|name| handlers.contains(name)),
        Err(_) => false,
    };
    let is_complete = is_there && is_known;
    let found = Found {
        node: &node,
        peer: &peer,
        configured,
        known,
        shims,
        files,
        is_complete,
    };
    let text = if is_json { found.json() } else { found.text() };
    Ok(Status { text, is_complete })
}

/// What was found.
struct Found<'n> {
    node: &'n Node,
    peer: &'n Peer,
    configured: Vec<String>,
    known: Result<BTreeSet<String>, Error>,
    shims: Vec<i32>,
    files: Vec<(PathBuf, &'static str)>,
    is_complete: bool,
}

impl Found<'_> {
    fn version(&self) -> Option<&str> {
        self.node.record.as_ref().map(|record| &*record.version)
    }

    fn json(&self) -> String {
        let files = self.files.iter();
        let files: Vec<_> = files
            .map(|(path, state)| json!({ "path": path, "state": state }))
            .collect();
        let runtime = match &self.known {
            Ok(handlers) => json!({ "handlers": handlers }),
            Err(error) => json!({ "error": told(error) }),
        };
        let value = json!({
            "distribution": self.node.distribution.name(),
            "version": self.version(),
            "complete": self.is_complete,
            "handlers": self.configured,
            "runtime": runtime,
            "files": files,
            "shims": self.shims,
        });
        format!("{value:#}\n")
    }

    fn text(&self) -> String {
        let peer = self.peer.name();
        let installed = match self.version() {
            Some(version) => format!("version {version}"),
            None => "no".to_owned(),
        };
        let known = match &self.known {
            Ok(handlers) if self.peer.tells() => listed(handlers.iter()),
            Ok(_) => "up, without the CRI".to_owned(),
            Err(error) => told(error),
        };
        let mut text = String::new();
        for (name, value) in [
            ("distribution", self.node.distribution.name()),
            ("installed", &installed),
            ("handlers", &listed(self.configured.iter())),
            (peer, &known),
            ("shims", &format!("{} running", self.shims.len())),
        ] {
            text += &format!("{:<14}{value}\n", format!("{name}:"));
        }
        for (path, state) in &self.files {
            text += &format!("  {} {state}\n", path.display());
        }
        text
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
