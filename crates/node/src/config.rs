//! One file of containerd's configuration, edited with all that stands in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::diff;
use crate::error::Error;
use crate::names::{self, ANNOTATIONS};

mod pulls;

use pulls::LOCAL_PULL;
pub(crate) use pulls::Pulls;

/// What stands before each table that is added.
const COMMENT: &str =
    "\n# Added by `containerd-shim-wasm-v1 install`; `uninstall` takes it away.\n";

/// The newest version of the configuration that is known.
const NEWEST: i64 = 4;

/// The CRI plugin, by the versions' names for it.
const PLUGINS: [&str; 3] = [CRI[0], "io.containerd.grpc.v1.cri", "cri"];

/// The CRI plugin's table, and the one of its part for images.
const CRI: [&str; 2] = [
    "io.containerd.cri.v1.runtime",
    "io.containerd.cri.v1.images",
];

/// A handler as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) name: String,
    pub(crate) runtime: &'static str,
    /// Where the shim is, if containerd does not look there by itself.
    pub(crate) path: Option<PathBuf>,
    /// Whether systemd makes the cgroups, if the node says so for its default runtime.
    pub(crate) systemd: Option<bool>,
}

/// A file.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    path: PathBuf,
    /// As it was read.
    original: String,
    doc: DocumentMut,
    version: i64,
}

impl Config {
    /// Parses a file; `path` is where it is seen.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let (original, doc) = parse(path, bytes)?;
        let version = match doc.get("version") {
            // As containerd 1.x has it.
            None => 1,
            Some(item) => item
                .as_integer()
                .ok_or_else(|| shape(path, "version", item, "a number"))?,
        };
        if version > NEWEST {
            return Err(Error::Version {
                path: path.to_owned(),
                version,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            original,
            doc,
            version,
        })
    }

    pub(crate) fn text(&self) -> String {
        diff::in_the_way_of(&self.original, &self.doc.to_string())
    }

    pub(crate) fn version(&self) -> i64 {
        self.version
    }

    /// The name of the plugin that has the handlers.
    pub(crate) fn plugin(&self) -> &'static str {
        plugin(self.version)
    }

    /// The files that it imports, as they are written.
    pub(crate) fn imports(&self) -> Vec<String> {
        strings(self.doc.get("imports"))
    }

    /// The text with these imports in the place of its own.
    pub(crate) fn importing(&self, paths: &[PathBuf]) -> String {
        let mut doc = self.doc.clone();
        let paths: Array = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        doc.insert("imports", toml_edit::value(paths));
        doc.to_string()
    }

    /// Whether the CRI is switched off.
    pub(crate) fn has_no_cri(&self) -> bool {
        let off = strings(self.doc.get("disabled_plugins"));
        off.iter()
            .any(|name| name == "cri" || name == "io.containerd.grpc.v1.cri" || *name == CRI[0])
    }

    /// A string of a table, such as the address of `grpc`.
    pub(crate) fn string(&self, table: &[&str], key: &str) -> Option<&str> {
        self.table(table)?.get(key)?.as_str()
    }

    fn table(&self, path: &[&str]) -> Option<&dyn TableLike> {
        let mut here: &dyn TableLike = self.doc.as_table();
        for key in path {
            here = here.get(key)?.as_table_like()?;
        }
        Some(here)
    }

    /// The names that the CRI plugin may have here: containerd reads no other than this version's. An imported
    /// file needs no version, and may have any.
    fn plugins(&self) -> impl Iterator<Item = &'static str> {
        let own = self.doc.contains_key("version").then(|| self.plugin());
        PLUGINS
            .into_iter()
            .filter(move |name| own.is_none_or(|own| own == *name))
    }

    /// Gives an imported file that says no version that of the file which imports it.
    pub(crate) fn import_by(&mut self, version: i64) {
        if !self.doc.contains_key("version") {
            self.version = version;
        }
    }

    /// Whether something is said of the CRI.
    pub(crate) fn has_cri(&self) -> bool {
        self.plugins()
            .any(|plugin| self.table(&["plugins", plugin]).is_some())
    }

    /// A table of the CRI's.
    fn containerd(&self, rest: &[&str]) -> impl Iterator<Item = &dyn TableLike> {
        let place = |plugin| [&["plugins", plugin, "containerd"], rest].concat();
        let tables: Vec<_> = self
            .plugins()
            .filter_map(|plugin| self.table(&place(plugin)))
            .collect();
        tables.into_iter()
    }

    /// The runtime of pods that ask for none.
    pub(crate) fn default_runtime(&self) -> Option<&str> {
        self.containerd(&[])
            .find_map(|table| table.get("default_runtime_name")?.as_str())
    }

    /// The handlers, each with what it runs.
    pub(crate) fn handlers(&self) -> Vec<(String, String)> {
        let runtime = |item: &Item| {
            let runtime = item.as_table_like()?.get("runtime_type")?.as_str()?;
            Some(runtime.to_owned())
        };
        self.containerd(&["runtimes"])
            .flat_map(TableLike::iter)
            .map(|(name, item)| (name.to_owned(), runtime(item).unwrap_or_default()))
            .collect()
    }

    /// What a handler's options say of systemd.
    pub(crate) fn systemd(&self, handler: &str) -> Option<bool> {
        self.containerd(&["runtimes", handler, "options"])
            .find_map(|options| options.get("SystemdCgroup")?.as_bool())
    }

    /// Adds a handler, or what is missing of it. Everything else stays as it is.
    pub(crate) fn add(&mut self, handler: &Handler) -> Result<(), Error> {
        let place = ["plugins", self.plugin(), "containerd", "runtimes"];
        let path = self.path.clone();
        let runtimes = descend(&path, self.doc.as_table_mut(), &place)?;
        let is_inline = runtimes.is_inline;
        let item = runtimes
            .table
            .entry(&handler.name)
            .or_insert_with(|| empty(is_inline, Some(COMMENT)));
        if let Some(table) = item.as_table_mut() {
            // One that has only `options` so far has no header of its own.
            table.set_implicit(false);
        }
        let table = as_table(&path, &handler.name, item)?;
        if !table.contains_key("runtime_type") {
            table.insert("runtime_type", toml_edit::value(handler.runtime));
        }
        if let Some(shim) = &handler.path {
            let shim = shim.to_string_lossy().into_owned();
            if table.get("runtime_path").and_then(Item::as_str) != Some(&*shim) {
                table.insert("runtime_path", toml_edit::value(shim));
            }
        }
        let annotations = table
            .entry("pod_annotations")
            .or_insert_with(|| Item::Value(Value::Array(Array::new())));
        let Some(list) = annotations.as_array_mut() else {
            return Err(shape(&path, "pod_annotations", annotations, "an array"));
        };
        for pattern in ANNOTATIONS {
            let covers = |value: &Value| value.as_str().is_some_and(|has| covers(has, pattern));
            if !list.iter().any(covers) {
                list.push(pattern);
            }
        }
        if let Some(systemd) = handler.systemd {
            let options = table
                .entry("options")
                .or_insert_with(|| empty(is_inline, None));
            let options = as_table(&path, "options", options)?;
            if !options.contains_key("SystemdCgroup") {
                options.insert("SystemdCgroup", toml_edit::value(systemd));
            }
        }
        Ok(())
    }

    /// Says what containerd 1.x has by itself only as long as nothing is said of any handler: runc's.
    pub(crate) fn add_runc(&mut self) -> Result<(), Error> {
        let place = ["plugins", self.plugin(), "containerd", "runtimes"];
        let path = self.path.clone();
        let runtimes = descend(&path, self.doc.as_table_mut(), &place)?;
        let is_inline = runtimes.is_inline;
        let item = runtimes.table.entry("runc");
        let item = item.or_insert_with(|| empty(is_inline, Some("\n")));
        let table = as_table(&path, "runc", item)?;
        if !table.contains_key("runtime_type") {
            table.insert("runtime_type", toml_edit::value("io.containerd.runc.v2"));
        }
        Ok(())
    }

    /// Takes a handler away, if it is this shim's; says whether it did.
    pub(crate) fn remove(&mut self, handler: &str) -> Result<bool, Error> {
        let path = self.path.clone();
        let names: Vec<_> = self.plugins().collect();
        for plugin in names {
            let place = ["plugins", plugin, "containerd", "runtimes"];
            if self.table(&place).is_none() {
                continue;
            }
            let runtimes = descend(&path, self.doc.as_table_mut(), &place)?.table;
            let runtime = runtimes
                .get(handler)
                .and_then(Item::as_table_like)
                .and_then(|table| table.get("runtime_type"))
                .and_then(Item::as_str);
            if runtime.is_some_and(names::is_ours) {
                runtimes.remove(handler);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether nothing but a version is left.
    pub(crate) fn is_bare(&self) -> bool {
        flat(self.doc.as_table()).keys().all(|key| key == "version")
    }

    /// Makes sure that the text means what was there `before`, and beside it nothing but handlers and
    /// the way images are pulled.
    pub(crate) fn is_only_added_to(&self, before: &Self) -> Result<(), Error> {
        let after = Self::parse(&self.path, self.text().as_bytes())?;
        let disturbed = |key: &str| Error::Unsafe {
            path: self.path.clone(),
            key: key.to_owned(),
        };
        let added = |key: &str| {
            let begin = format!("plugins/{}/containerd/runtimes/", self.plugin());
            key.starts_with(&begin) || key == format!("plugins/{}/{LOCAL_PULL}", CRI[1])
        };
        let (old, new) = (flat(before.doc.as_table()), flat(after.doc.as_table()));
        for (key, value) in &old {
            let is_list = key.ends_with("/pod_annotations") && added(key);
            // A table that had nothing in it, and now has.
            let is_filled = key.ends_with('/') && new.keys().any(|new| new.starts_with(key));
            let is_pull = key.ends_with(LOCAL_PULL) && added(key);
            if new.get(key) != Some(value) && !is_list && !is_filled && !is_pull {
                return Err(disturbed(key));
            }
        }
        match new
            .keys()
            .find(|key| !old.contains_key(*key) && !added(key))
        {
            Some(key) => Err(disturbed(key)),
            None => Ok(()),
        }
    }

    /// Everything that it says, by its place.
    pub(crate) fn flat(&self) -> BTreeMap<String, String> {
        flat(self.doc.as_table())
    }
}

/// The plugin that has the handlers, by the version of the configuration.
pub(crate) fn plugin(version: i64) -> &'static str {
    match version {
        ..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => CRI[0],
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(String, DocumentMut), Error> {
    let malformed = |at: usize, message: String| {
        let before = &bytes[..at.min(bytes.len())];
        let start = before.iter().rposition(|byte| *byte == b'\n');
        Error::Toml {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.len() - start.map_or(0, |newline| newline + 1),
            message,
        }
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(error.valid_up_to(), "it is not UTF-8".to_owned()))?;
    let doc = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().map_or(0, |span| span.start);
        malformed(at, error.message().trim().replace('\n', ", "))
    })?;
    Ok((text.to_owned(), doc))
}

/// A table on the way, and whether it is written in braces.
struct Place<'d> {
    table: &'d mut dyn TableLike,
    is_inline: bool,
}

/// Goes down to a table; what is missing on the way is made.
fn descend<'d>(file: &Path, root: &'d mut Table, keys: &[&str]) -> Result<Place<'d>, Error> {
    let mut here = Place {
        table: root,
        is_inline: false,
    };
    for key in keys {
        let is_inline = here.is_inline;
        let item = here.table.entry(key).or_insert_with(|| {
            let mut item = empty(is_inline, None);
            if let Some(table) = item.as_table_mut() {
                table.set_implicit(true);
            }
            item
        });
        here = Place {
            is_inline: is_inline || item.is_inline_table(),
            table: as_table(file, key, item)?,
        };
    }
    Ok(here)
}

fn empty(is_inline: bool, comment: Option<&str>) -> Item {
    if is_inline {
        return Item::Value(Value::InlineTable(InlineTable::new()));
    }
    let mut table = Table::new();
    if let Some(comment) = comment {
        table.decor_mut().set_prefix(comment);
    }
    Item::Table(table)
}

fn as_table<'i>(
    file: &Path,
    key: &str,
    item: &'i mut Item,
) -> Result<&'i mut dyn TableLike, Error> {
    if !item.is_table_like() {
        return Err(shape(file, key, item, "a table"));
    }
    item.as_table_like_mut().ok_or_else(|| Error::Unsafe {
        path: file.to_owned(),
        key: key.to_owned(),
    })
}

fn shape(path: &Path, key: &str, item: &Item, expected: &'static str) -> Error {
    Error::Shape {
        path: path.to_owned(),
        key: key.to_owned(),
        found: item.type_name().to_owned(),
        expected,
    }
}

fn strings(item: Option<&Item>) -> Vec<String> {
    let array = item.and_then(Item::as_array);
    let values = array.into_iter().flatten().filter_map(Value::as_str);
    values.map(str::to_owned).collect()
}

/// Whether a pattern lets everything through that another one does: as far as it takes, for the two
/// that are ours.
fn covers(has: &str, pattern: &str) -> bool {
    has == pattern || (has == "run.oci.*" && pattern.starts_with("run.oci."))
}

/// The values of a table by their places, `a/b/c`.
fn flat(table: &dyn TableLike) -> BTreeMap<String, String> {
    fn walk(prefix: &str, item: &Item, found: &mut BTreeMap<String, String>) {
        if let Some(table) = item.as_table_like() {
            // That a table is there says something, even of an empty one: a handler, say.
            if table.is_empty() && item.as_table().is_none_or(|table| !table.is_implicit()) {
                found.insert(format!("{prefix}/"), String::new());
            }
            for (key, item) in table.iter() {
                walk(&format!("{prefix}/{key}"), item, found);
            }
        } else if let Some(tables) = item.as_array_of_tables() {
            for (n, table) in tables.iter().enumerate() {
                walk(&format!("{prefix}/{n}"), &Item::Table(table.clone()), found);
            }
        } else if let Some(value) = item.as_value() {
            found.insert(prefix.to_owned(), plain(value));
        }
    }
    let mut found = BTreeMap::new();
    for (key, item) in table.iter() {
        walk(key, item, &mut found);
    }
    found
}

/// A value without the way it is written.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.value()),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(truth) => truth.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(array) => {
            let items: Vec<_> = array.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
        Value::InlineTable(table) => format!("{:?}", flat(table)),
    }
}

#[cfg(test)]
mod tests;
