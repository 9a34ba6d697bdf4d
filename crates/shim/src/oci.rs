//! The OCI runtime command line: this program by the name `medley`, or by its command `oci`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use medley_oci_cli::{Host, NAME, RUNC};
use medley_runtime::options::CacheDir;

use crate::{engines, environment, info};

/// The command, for those who have no link to this program.
const COMMAND: &str = "oci";

/// Runs it, if it is asked for.
pub(crate) fn run(args: &[OsString]) -> Option<ExitCode> {
    let called = std::env::args_os().next().unwrap_or_default();
    if is_called_by(&called) {
        return Some(medley_oci_cli::execute(args, host()));
    }
    let (first, rest) = args.split_first()?;
    (first == COMMAND).then(|| medley_oci_cli::execute(rest, host()))
}

fn is_called_by(called: &OsStr) -> bool {
    let names = [NAME, RUNC].map(OsStr::new);
    Path::new(called)
        .file_name()
        .is_some_and(|name| names.contains(&name))
}

fn host() -> Host {
    Host {
        engines: || (engines::options(), engines::beside()),
        cache,
        compilers: environment::compilers,
        features: info::features,
    }
}

/// The node's cache, or one of the user's own.
fn cache() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() || std::env::var_os(environment::CACHE).is_some() {
        return environment::cache().dir();
    }
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let own = named.filter(|dir| dir.is_absolute()).or_else(home)?;
    CacheDir::named(own.join(NAME)).dir()
}

#[cfg(test)]
mod tests {
    use super::is_called_by;

    #[test]
    fn a_link_of_its_name_makes_it_the_command_line() {
        for name in ["medley", "/usr/local/bin/medley", "./medley", "/opt/runc"] {
            assert!(is_called_by(name.as_ref()), "{name}");
        }
        for name in ["", "containerd-shim-wasm-v1", "/medley/x", "medley2"] {
            assert!(!is_called_by(name.as_ref()), "{name}");
        }
    }
}
