//! The operator's file, `runtime-config.toml`: which key-value store and which database is where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;

/// Names the file in the container's environment.
const FILE_VARIABLE: &str = "RUNTIME_CONFIG_FILE";
/// Where it is if the environment names none; it need not be there.
const FILE: &str = "/runtime-config.toml";
const MAX_SIZE: u64 = 1 << 20;
/// Names the dir of the files that Spin makes by itself.
const STATE_DIR_VARIABLE: &str = "SPIN_STATE_DIR";
/// That dir if neither the environment nor the file names one.
const STATE_DIR: &str = "/.spin";
const KEY_VALUE_FILE: &str = "sqlite_key_value.db";
const DATABASE_FILE: &str = "sqlite_db.db";
/// The store and the database that need no configuration.
pub(crate) const DEFAULT: &str = "default";

/// Where everything is.
#[derive(Debug)]
pub(crate) struct RuntimeConfig {
    pub(crate) stores: BTreeMap<String, StoreConfig>,
    pub(crate) databases: BTreeMap<String, Location>,
}

/// Where the keys and values of a store are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreConfig {
    Sqlite(Location),
    Redis(String),
}

/// Where an SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Location {
    File(PathBuf),
    /// Gone with the container.
    Memory,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Raw {
    state_dir: Option<PathBuf>,
    #[serde(default, alias = "key_value_stores")]
    key_value_store: BTreeMap<String, RawStore>,
    #[serde(default)]
    sqlite_database: BTreeMap<String, RawDatabase>,
    // What has no meaning here: logs are the container's, its limits are Kubernetes', and no component
    // with a model gets as far as a request.
    #[serde(rename = "log_dir")]
    _log_dir: Option<toml::Value>,
    #[serde(rename = "llm_compute")]
    _llm_compute: Option<toml::Value>,
    #[serde(rename = "outbound_http")]
    _outbound_http: Option<toml::Value>,
    #[serde(rename = "outbound_redis")]
    _outbound_redis: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum RawStore {
    Spin { path: Option<PathBuf> },
    Redis { url: String },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum RawDatabase {
    Spin { path: Option<PathBuf> },
}

/// What is wrong and where, without the line itself: it may have a password.
fn told(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!(
            "line {}: {}",
            before.matches('\n').count() + 1,
            error.message()
        ),
        None => error.message().to_owned(),
    }
}

impl RuntimeConfig {
    /// Reads the file, if there is one, for a container with this environment.
    pub(crate) fn read(env: &[(String, String)]) -> Result<Self, Error> {
        let named = value(env, FILE_VARIABLE).map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let wrong = |reason: String| Error::RuntimeConfig {
            path: path.clone(),
            reason,
        };
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => String::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        Self::parse(&text, path.parent(), value(env, STATE_DIR_VARIABLE)).map_err(wrong)
    }

    /// Reads `text`, of a file in the dir `base`.
    fn parse(text: &str, base: Option<&Path>, state_dir: Option<&str>) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| told(text, &error))?;
        let base = base.unwrap_or(Path::new("/"));
        let state_dir = match (state_dir, raw.state_dir) {
            (Some(dir), _) => PathBuf::from(dir),
            // An empty one stands for memory.
            (None, Some(dir)) if dir.as_os_str().is_empty() => PathBuf::new(),
            (None, Some(dir)) => base.join(dir),
            (None, None) => PathBuf::from(STATE_DIR),
        };
        let own = |file: &str| match state_dir.as_os_str().is_empty() {
            true => Location::Memory,
            false => Location::File(state_dir.join(file)),
        };
        let placed = |path: Option<PathBuf>| {
            path.map_or(Location::Memory, |path| Location::File(base.join(path)))
        };
        let mut config = Self {
            stores: BTreeMap::from([(
                DEFAULT.to_owned(),
                StoreConfig::Sqlite(own(KEY_VALUE_FILE)),
            )]),
            databases: BTreeMap::from([(DEFAULT.to_owned(), own(DATABASE_FILE))]),
        };
        for (label, store) in raw.key_value_store {
            let store = match store {
                RawStore::Spin { path } => StoreConfig::Sqlite(placed(path)),
                RawStore::Redis { url } => StoreConfig::Redis(url),
            };
            config.stores.insert(label, store);
        }
        for (label, RawDatabase::Spin { path }) in raw.sqlite_database {
            config.databases.insert(label, placed(path));
        }
        Ok(config)
    }
}

/// Of two variables of the same name the last one counts, as for a Linux program.
fn value<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = env.iter().rev().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_SIZE + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SIZE {
        return Err(std::io::Error::other(format!(
            "it has more than {MAX_SIZE} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Location, RuntimeConfig, StoreConfig};

    fn parse(text: &str) -> Result<RuntimeConfig, String> {
        RuntimeConfig::parse(text, Some(Path::new("/config")), None)
    }

    fn file(path: &str) -> Location {
        Location::File(PathBuf::from(path))
    }

    #[test]
    fn without_a_file_there_are_the_default_ones() {
        let config = parse("").unwrap();
        assert_eq!(
            config.stores["default"],
            StoreConfig::Sqlite(file("/.spin/sqlite_key_value.db"))
        );
        assert_eq!(config.databases["default"], file("/.spin/sqlite_db.db"));
        let config = RuntimeConfig::parse("", None, Some("/data")).unwrap();
        assert_eq!(config.databases["default"], file("/data/sqlite_db.db"));
    }

    #[test]
    fn stores_and_databases_are_where_the_file_says() {
        let config = parse(
            r#"
            state_dir = "state"
            [key_value_store.default]
            type = "redis"
            url = "redis://db"
            [key_value_store.files]
            type = "spin"
            path = "kv.db"
            [key_value_store.short]
            type = "spin"
            [sqlite_database.big]
            type = "spin"
            path = "/var/big.db"
            [llm_compute]
            type = "spin"
            "#,
        )
        .unwrap();
        assert_eq!(
            config.stores["default"],
            StoreConfig::Redis("redis://db".into())
        );
        assert_eq!(
            config.stores["files"],
            StoreConfig::Sqlite(file("/config/kv.db"))
        );
        assert_eq!(
            config.stores["short"],
            StoreConfig::Sqlite(Location::Memory)
        );
        assert_eq!(config.databases["big"], file("/var/big.db"));
        assert_eq!(
            config.databases["default"],
            file("/config/state/sqlite_db.db")
        );
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, part) in [
            (
                "[key_value_store.x]\ntype = \"azure_cosmos\"",
                "azure_cosmos",
            ),
            ("[sqlite_database.x]\ntype = \"libsql\"", "libsql"),
            (
                "[key_value_store.x]\ntype = \"spin\"\npth = \"kv.db\"",
                "pth",
            ),
            (
                "[sqlite_database.x]\ntype = \"spin\"\npth = \"x.db\"",
                "pth",
            ),
            ("state_dir = \"x\"\nurl = redis://:secret@db", "line 2"),
            (
                "[[variables_provider]]\ntype = \"vault\"",
                "variables_provider",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}
