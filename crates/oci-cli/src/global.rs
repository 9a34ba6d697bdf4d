//! The options that come before a command.

use std::path::{Path, PathBuf};

use medley_container::shim::Settings;
use medley_container::shim::command::{Commands, Record};

use crate::Host;
use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::logger::{self, Format};

/// Longest id, as the name of a directory.
const MAX_ID: usize = 255;

/// The options, as runc has them.
pub(crate) const FLAGS: [Flag; 7] = [
    Flag::switch("debug", "", "write debug lines to the log"),
    Flag::with("log", "", "FILE", "write the log to FILE instead of stderr"),
    Flag::with("log-format", "", "FORMAT", "text (the default), or json"),
    Flag::with("root", "", "DIR", "where the state of containers is kept"),
    Flag::switch(
        "systemd-cgroup",
        "",
        "have systemd make cgroups that slice:prefix:name names",
    ),
    Flag::with(
        "rootless",
        "",
        "true|false|auto",
        "taken for runc's sake; told from the user",
    ),
    Flag::switch("version", "v", "print the version"),
];

/// What they say.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    /// Whether `root` was named.
    pub(crate) root_is_named: bool,
    pub(crate) debug: bool,
    systemd_cgroup: bool,
    /// How many descriptors besides stdio the caller has left open for us.
    pub(crate) inherited: usize,
    pub(crate) host: Host,
}

impl Global {
    /// Takes the options, and begins to log.
    pub(crate) fn new(args: &Args, inherited: usize, host: Host) -> Result<Self, Failure> {
        let format = match args.value("log-format") {
            None | Some("" | "text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => {
                logger::start(None, Format::Text, false)?;
                return Err(Failure::new(format!("invalid log-format: {other}")));
            }
        };
        let debug = args.has("debug");
        let file = args.value("log").filter(|file| !file.is_empty());
        logger::start(file.map(Path::new), format, debug)?;
        let named = args.value("root");
        Ok(Self {
            root: named.map_or_else(|| Ok(default_root()), root)?,
            root_is_named: named.is_some(),
            debug,
            systemd_cgroup: args.has("systemd-cgroup"),
            inherited,
            host,
        })
    }

    /// The directory of a container.
    pub(crate) fn dir(&self, id: &str) -> Result<PathBuf, Failure> {
        check_id(id)?;
        Ok(self.root.join(id))
    }

    /// What is on record of a container.
    pub(crate) fn record(&self, id: &str) -> Result<Record, Failure> {
        Record::read(&self.dir(id)?).ok_or_else(|| Failure::new("container does not exist"))
    }

    /// What makes containers and processes.
    pub(crate) fn commands(&self) -> Result<Commands, Failure> {
        let (options, beside) = (self.host.engines)();
        Commands::new(options, beside, self.debug)
            .map_err(Failure::when("open the program itself, for its helpers"))
    }

    /// What counts for a container that is made with `args`.
    pub(crate) fn settings(&self, args: &Args) -> Settings {
        Settings {
            cache: (self.host.cache)(),
            no_pivot_root: args.has("no-pivot"),
            no_new_keyring: args.has("no-new-keyring"),
            systemd_cgroup: Some(self.systemd_cgroup),
            compilers: (self.host.compilers)(),
            ..Settings::default()
        }
    }
}

/// An id must be the name of a directory.
fn check_id(id: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return Err(Failure::new("container id cannot be empty"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.len() > MAX_ID || matches!(id, "." | "..") || !id.bytes().all(fits) {
        return Err(Failure::new("invalid container ID format"));
    }
    Ok(())
}

fn root(named: &str) -> Result<PathBuf, Failure> {
    let root = std::path::absolute(named)
        .map_err(|_| Failure::new("Option --root argument should not be empty"))?;
    let names_node = root
        .components()
        .all(|part| !matches!(part, std::path::Component::Normal(_)));
    if names_node {
        return Err(Failure::new(
            "Option --root argument should not be set to /",
        ));
    }
    Ok(root)
}

/// That of the node's root, or of a user without its rights.
fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match own.filter(|_| is_rootless()) {
        Some(dir) => Path::new(&dir).join(crate::NAME),
        None => Path::new("/run").join(crate::NAME),
    }
}

/// Whether the user is not the node's root: another, or root of a user namespace, unless it says
/// that it is the node's all the same.
fn is_rootless() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let in_namespace = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let fields: Vec<&str> = map.split_whitespace().collect();
        fields != ["0", "0", "4294967295"]
    });
    in_namespace && std::env::var_os("USER").is_none_or(|user| user != "root")
}

#[cfg(test)]
mod tests {
    use super::{check_id, root};

    #[test]
    fn an_id_is_a_name_and_no_path() {
        for good in ["a", "A-b_c+d.1", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nodes_root_holds_no_state() {
        assert_eq!(root("/run/x").unwrap(), std::path::Path::new("/run/x"));
        assert!(root("").is_err());
        assert!(root("/").is_err());
        assert!(root("/../..").is_err());
    }
}
