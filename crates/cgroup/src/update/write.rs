//! Files that are written all together or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use medley_sys::kernel_file;

use super::error::UpdateError;

/// One file's new content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// What of the spec it is for.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) value: String,
    /// What undoes it, where that is not what the file had before.
    pub(super) undo: Option<String>,
}

impl Write {
    pub(super) fn new(name: &str, dir: Option<&Path>, file: &str, value: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            // Without a dir there is no such file, which `apply` finds.
            path: dir.unwrap_or(Path::new("")).join(file),
            value: value.to_string(),
            undo: None,
        }
    }
}

/// Writes all, or nothing. Gives what was there before.
pub(super) fn apply(writes: &[Write]) -> Result<Vec<(&Write, String)>, UpdateError> {
    if let Some(missing) = writes.iter().find(|write| !write.path.is_file()) {
        let file = missing.path.file_name().unwrap_or_default();
        return Err(UpdateError::Missing {
            name: missing.name.clone(),
            file: file.to_string_lossy().into_owned(),
        });
    }
    let mut done: Vec<(&Write, String)> = Vec::new();
    for write in writes {
        // Read right before, not all of them at the start: a file may be written twice.
        let written = kernel_file::read(&write.path)
            .map_err(|source| UpdateError::Read {
                path: write.path.clone(),
                source,
            })
            .and_then(|before| {
                put(&write.path, &write.value).map_err(|source| refused(write, source))?;
                Ok(before)
            });
        match written {
            Ok(before) => done.push((write, before)),
            Err(error) => {
                restore(&done);
                return Err(error);
            }
        }
    }
    Ok(done)
}

fn refused(write: &Write, source: io::Error) -> UpdateError {
    let is_busy = source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
    let usage = write.path.with_file_name("memory.usage_in_bytes");
    if is_busy
        && let Ok(limit) = write.value.parse()
        && let Ok(usage) = kernel_file::read(usage)
        && let Ok(usage) = usage.trim().parse()
    {
        return UpdateError::BelowUsage { limit, usage };
    }
    UpdateError::Write {
        path: write.path.clone(),
        value: write.value.clone(),
        source,
    }
}

pub(super) fn restore(done: &[(&Write, String)]) {
    for (write, before) in done.iter().rev() {
        // A file with a line for each device takes one at a time; an empty one takes no nothing.
        let lines = match &write.undo {
            Some(undo) => vec![undo.as_str()],
            None if before.is_empty() => vec!["\n"],
            None => before.lines().collect(),
        };
        for line in lines {
            let path = &write.path;
            if let Err(error) = put(path, line) {
                log::warn!("cannot write {line:?} back to {}: {error}", path.display());
            }
        }
    }
}

/// Never makes the file, which in a cgroup is there or can't be.
pub(crate) fn put(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?;
    file.write_all(value.as_bytes())
}
