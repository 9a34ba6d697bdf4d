//! What test runs that were killed could not take away themselves.

use crate::leftovers::Leftovers;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// As [`sweep_now`], once in the life of this process.
pub(crate) fn sweep() {
    static DONE: Once = Once::new();
    DONE.call_once(sweep_now);
}

/// Takes down the instances whose test process is gone.
pub fn sweep_now() {
    let entries = std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    for dir in entries.map(|entry| entry.path()) {
        if let Some(name) = stale_name(&dir) {
            sweep_one(&name, &dir);
        }
    }
}

/// The instance's name, if `dir` is one of an instance whose process is gone.
fn stale_name(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_str()?.strip_prefix("medley-")?;
    let (pid, count) = name.strip_prefix('m')?.split_once('x')?;
    let (pid, _) = (pid.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
    (!Path::new(&format!("/proc/{pid}")).exists()).then(|| name.to_owned())
}

fn sweep_one(name: &str, dir: &Path) {
    // The addresses went with the containers.
    let leftovers = Leftovers::new(name, dir, &dir.join("c.sock"), "none".to_owned());
    let dirs = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    for namespace in dirs(dir.join("state/io.containerd.runtime.v2.task")) {
        for id in dirs(namespace.path()) {
            let text = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            leftovers.expect_gone(&text(&namespace), &text(&id));
        }
    }
    // What cannot be taken away will be met again.
    leftovers.sweep().ok();
    std::fs::remove_dir_all(dir).ok();
}
