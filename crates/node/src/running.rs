//! The shims that run containers on this node.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::node::Node;
use crate::root::id;
use crate::run::Runner;

/// What `/proc/<pid>/exe` says behind the name of a file that was replaced.
const REPLACED: &str = " (deleted)";

/// Their pids. A shim that runs from a file that was replaced since is one as well.
pub(crate) fn shims(node: &Node) -> Result<Vec<i32>, Error> {
    let program = node.shim();
    let file = node.root.open_file(&program)?;
    let file = file.and_then(|file| rustix::fs::fstat(file).ok());
    let proc = Path::new("/proc");
    let entries = std::fs::read_dir(proc).map_err(Error::std("list", proc))?;
    let mut pids = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let exe = entry.path().join("exe");
        // One that has just ended, or is the kernel's own.
        let Ok(text) = std::fs::read_link(&exe) else {
            continue;
        };
        let same = file
            .as_ref()
            .is_some_and(|file| rustix::fs::stat(&exe).is_ok_and(|found| id(&found) == id(file)));
        if (same || is_called(node, &program, &text)) && serves(&entry.path()) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
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
