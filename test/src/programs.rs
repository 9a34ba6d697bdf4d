//! Linux programs that tests run in containers, compiled from `test/programs`.

use crate::runtime::workspace;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The static program of `test/programs/<name>.c`.
///
/// # Errors
/// There is no such source, or no C compiler that takes it.
pub fn program(name: &str) -> Result<Vec<u8>> {
    build("test/programs", name)
}

/// The guest of `test/guests/<name>.c` as a static program of Linux.
///
/// # Errors
/// As for [`program`].
pub fn guest(name: &str) -> Result<Vec<u8>> {
    build("test/guests", name)
}

fn build(dir: &str, name: &str) -> Result<Vec<u8>> {
    let source = workspace().join(dir).join(name).with_extension("c");
    let output =
        std::env::temp_dir().join(format!("medley-program-{}", crate::leftovers::unique()));
    let done = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&output)
        .arg(&source)
        .output()
        .context("cannot run cc: install Debian's build-essential")?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "cc {}: {stderr}", source.display());
    let program = std::fs::read(&output);
    std::fs::remove_file(&output)?;
    Ok(program?)
}
