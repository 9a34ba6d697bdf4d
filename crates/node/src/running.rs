//! The shims that run containers on this node.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::node::Node;
use crate::root::id;
use crate::run::Runner;

/// What `/proc/<pid>/exe` says behind the name of a file that was replaced.
const REPLACED: &str = " (deleted)";

/// Most pids that are named.
const MAX_PIDS: usize = 10;

/// Their pids. A shim that runs from a file that was replaced since is one as well.
pub(crate) fn shims(node: &Node) -> Result<Vec<i32>, Error> {
    Ok(found(node)?.into_iter().map(|shim| shim.pid).collect())
}

/// Those that run from a file which was replaced since. They may hold open the programs beside it as well, each
/// for its pod's next container.
pub(crate) fn shims_from_before(node: &Node) -> Result<Vec<i32>, Error> {
    let before = found(node)?.into_iter().filter(|shim| !shim.is_current);
    Ok(before.map(|shim| shim.pid).collect())
}

struct Shim {
    pid: i32,
    /// Whether its program is the one that is installed.
    is_current: bool,
}

fn found(node: &Node) -> Result<Vec<Shim>, Error> {
    let program = node.shim();
    let file = node.root.open_file(&program)?;
    let file = file.and_then(|file| rustix::fs::fstat(file).ok());
    let same = |process: &Path| {
        let found = file
            .as_ref()
            .zip(rustix::fs::stat(process.join("exe")).ok());
        found.is_some_and(|(file, found)| id(&found) == id(file))
    };
    let mut shims = Vec::new();
    for (pid, process, exe) in processes()? {
        let is_current = same(&process);
        if (is_current || is_called(node, &program, &exe)) && serves(&process) {
            shims.push(Shim { pid, is_current });
        }
    }
    shims.sort_unstable_by_key(|shim| shim.pid);
    Ok(shims)
}

/// The pids of programs below these directories of the node.
pub(crate) fn below(node: &Node, dirs: &[PathBuf]) -> Result<Vec<i32>, Error> {
    let is_below = |exe: &Path| {
        dirs.iter().any(|dir| {
            let shown = exe.starts_with(node.root.shown(dir));
            shown || (node.runner != Runner::Nowhere && exe.starts_with(dir))
        })
    };
    let all = processes()?.into_iter();
    let mut pids: Vec<_> = all
        .filter(|(_, _, exe)| is_below(exe))
        .map(|(pid, _, _)| pid)
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The pids of programs that have a file below a directory of the node in their memory, by its path or, where
/// their root is another one, by what it ends with.
pub(crate) fn mapping(dir: &Path) -> Result<Vec<i32>, Error> {
    let end: Vec<_> = dir.iter().rev().take(2).collect();
    let part: PathBuf = end.into_iter().rev().collect();
    let part = format!("/{}/", part.display()).into_bytes();
    let maps = |process: &Path| {
        match std::fs::read(process.join("maps")) {
            Ok(maps) => maps.windows(part.len()).any(|found| *found == part),
            // One that may not be looked at is taken for a user; one that has just ended has none.
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    };
    let all = processes()?.into_iter();
    let mut pids: Vec<_> = all
        .filter(|(_, process, _)| maps(process))
        .map(|(pid, _, _)| pid)
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Pids as they are told: the first of them.
pub(crate) fn shown(pids: &[i32]) -> String {
    let pids: Vec<_> = pids.iter().take(MAX_PIDS).map(i32::to_string).collect();
    pids.join(", ")
}

/// Each process by its pid, its directory in /proc, and what its program is called.
fn processes() -> Result<Vec<(i32, PathBuf, PathBuf)>, Error> {
    let proc = Path::new("/proc");
    let entries = std::fs::read_dir(proc).map_err(Error::std("list", proc))?;
    let process = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // One that has just ended, or is the kernel's own, has no program.
        let exe = std::fs::read_link(entry.path().join("exe")).ok()?;
        Some((pid, entry.path(), exe))
    };
    Ok(entries.flatten().filter_map(process).collect())
}

/// Whether a process' program is, or was, the one at this path of the node.
fn is_called(node: &Node, program: &Path, exe: &Path) -> bool {
    let text = exe.to_string_lossy();
    let path = PathBuf::from(text.strip_suffix(REPLACED).unwrap_or(&text));
    // Of another mount namespace's processes the path is as these have it.
    path == node.root.shown(program) || (node.runner != Runner::Nowhere && path == program)
}

/// Whether it is a shim, and no command or helper.
fn serves(process: &Path) -> bool {
    let args = std::fs::read(process.join("cmdline")).unwrap_or_default();
    args.split(|byte| *byte == 0)
        .any(|arg| arg == Path::new("-socket").as_os_str().as_bytes())
}
