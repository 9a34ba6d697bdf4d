//! Why nothing was done.

use std::io;
use std::path::{Path, PathBuf};

/// One sentence each: what failed, on what, what would fix it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system says no.
    #[error("cannot {doing} {}{}", path.display(), remedy(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Not a regular file, where one belongs.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// More than a configuration has.
    #[error("{} has more than {limit} bytes, which no configuration has", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    /// Not TOML.
    #[error("{} is not valid TOML: line {line}, column {column}: {message}", path.display())]
    Toml {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    /// Not JSON.
    #[error("{} is not valid JSON", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// TOML or JSON, but not of the shape that its program reads.
    #[error("{}: {key} is {found}, and must be {expected}", path.display())]
    Shape {
        path: PathBuf,
        key: String,
        found: String,
        expected: &'static str,
    },
    /// Of a containerd that is yet to come.
    #[error(
        "{} is of version {version}, and this program knows versions 1 to 4: use a newer one",
        path.display()
    )]
    Version { path: PathBuf, version: i64 },
    /// The edit would have said something else than was meant.
    #[error(
        "{} is written in a way that cannot be extended without changing {key}: add the handler by \
         hand",
        path.display()
    )]
    Unsafe { path: PathBuf, key: String },
    /// The handler was not made by this program.
    #[error(
        "the handler {handler} runs {found} already, by {}: name another with --handler",
        path.display()
    )]
    Taken {
        handler: String,
        found: String,
        path: PathBuf,
    },
    /// Without it nothing would run.
    #[error(
        "{handler} is the default runtime in {}: name another one there first",
        path.display()
    )]
    IsDefault { handler: String, path: PathBuf },
    /// At the alias is a file that this program did not make.
    #[error(
        "the handler {handler} needs the link {}, and another program has this name: remove it, or \
         name another handler with --handler",
        path.display()
    )]
    LinkTaken { handler: String, path: PathBuf },
    /// Not a name for a handler.
    #[error(
        "{name:?} is no name for a handler: it has 1 to 63 of a-z, 0-9 and -, and neither begins nor \
         ends with -"
    )]
    HandlerName { name: String },
    #[error(
        "runc is the name of the handler that containerd and Docker have by themselves: give Medley's another one"
    )]
    HandlerOfRunc,
    /// Nothing that is known.
    #[error(
        "there is no containerd that is known below {}: pass --distribution with one of {known}, or \
         --config with the file of its configuration",
        root.display()
    )]
    Unknown { root: PathBuf, known: String },
    /// More than one.
    #[error("{} has {found}: pass --distribution with one of them", root.display())]
    Ambiguous { root: PathBuf, found: String },
    /// The distribution has not written its own file yet.
    #[error("{} is not there yet: start {distribution} once, then install", path.display())]
    NotStarted {
        path: PathBuf,
        distribution: &'static str,
    },
    /// Another run of this program has not ended.
    #[error("another install or uninstall is under way on {}: wait for its end", root.display())]
    Busy { root: PathBuf },
    /// The record of an install can't be understood.
    #[error("the record of the install, {}, cannot be read", path.display())]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// The record is a later program's.
    #[error("the record of the install, {}, is a newer program's: use that one", path.display())]
    NewerRecord { path: PathBuf },
    /// Containers run.
    #[error(
        "{count} shims run containers (pids {pids}): remove their pods first, or pass --force, which \
         leaves them running until they end"
    )]
    Running { count: usize, pids: String },
    /// KWasm's shims are at work.
    #[error(
        "{count} of KWasm's shims run containers (pids {pids}): remove their pods first, or pass --force, \
         which leaves them running until they end"
    )]
    KwasmRuns { count: usize, pids: String },
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    /// A program says no.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        program: String,
        status: String,
        said: String,
    },
    /// containerd does not take what was there before.
    #[error("containerd cannot read its configuration as it is now")]
    Before { source: Box<Error> },
    /// containerd does not take the edit.
    #[error("containerd does not accept the new configuration")]
    Refused { source: Box<Error> },
    /// containerd takes the edit for something else.
    #[error("with the new configuration containerd would lose or change {key}")]
    Disturbed { key: String },
    /// containerd does not see the handler.
    #[error("containerd does not find the handler {handler} in the new configuration")]
    Unseen { handler: String },
    /// containerd takes the file, and reads no handlers in it.
    #[error(
        "containerd does not find the handler {handler} in {}: it is of version {version}, in which this \
         containerd reads no handlers; write it anew in the version that `containerd config default` has",
        path.display()
    )]
    OtherVersion {
        handler: String,
        path: PathBuf,
        version: i64,
    },
    /// Nothing is known of the service.
    #[error(
        "it is not known how {distribution} is restarted on this node: pass --restart-with and a \
         command, or restart it yourself"
    )]
    NoService { distribution: &'static str },
    /// Services of another root.
    #[error(
        "the services of {} cannot be restarted from here: pass --nsenter in the node's own pid \
         namespace, or leave --restart out and restart them yourself",
        root.display()
    )]
    OtherRoot { root: PathBuf },
    /// Process 1 is not of this root.
    #[error("--nsenter needs the node's pid namespace: process 1 does not run in {}", root.display())]
    OtherInit { root: PathBuf },
    /// The runtime did not come back as expected.
    #[error("{what} did not come up with the handlers within {seconds} s: {last}")]
    NotUp {
        what: &'static str,
        seconds: u64,
        last: String,
    },
    /// The call of the CRI.
    #[error("cannot ask the CRI at {}", path.display())]
    Cri {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The shim is not what it should be.
    #[error("{} does not answer -info as a shim does: {said}", path.display())]
    Info { path: PathBuf, said: String },
    /// Something went wrong, and so did taking it back.
    #[error("{what}; and this could not be taken back: {}", told(back))]
    HalfWay { what: String, back: Box<Error> },
}

impl Error {
    /// An error of the system, about `path`.
    pub(crate) fn io(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::Io {
            doing,
            path,
            source: errno.into(),
        }
    }

    /// The same for the standard library's.
    pub(crate) fn std(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

/// The whole sentence, its causes behind it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// What most often helps.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => " (run this as root)",
        io::ErrorKind::ReadOnlyFilesystem => " (for programs, --bin-dir names another directory)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (make room on that disk)",
        _ => "",
    }
}
