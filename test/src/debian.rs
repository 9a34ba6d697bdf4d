//! Other versions of containerd, a registry, and Docker, from Debian's own archive.

use crate::runtime::cache_dir;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's archive keys, as the package debian-archive-keyring of 13 and of 12 has them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// The containerd of a Debian suite, such as `trixie` or `testing`: fetched with apt
/// from the mirror that this machine is set up for, unpacked, and kept.
///
/// # Errors
/// The machine has no Debian mirror, or it does not answer.
pub fn containerd(suite: &str) -> Result<PathBuf> {
    package("containerd", suite, "usr/bin/containerd")
}

/// The registry that Debian packages, installed or fetched as [`containerd`] is.
///
/// # Errors
/// As for [`containerd`].
pub fn registry() -> Result<PathBuf> {
    let installed = PathBuf::from("/usr/bin/docker-registry");
    if installed.exists() {
        return Ok(installed);
    }
    // Not installed by us: the package would start one for the whole machine.
    package("docker-registry", "bookworm", "usr/bin/docker-registry")
}

/// The root of Debian testing's Docker: `usr/sbin/dockerd`, `usr/bin/docker` with its plugin
/// `compose`, and what dockerd runs; of runc and containerd, nothing.
///
/// # Errors
/// As for [`containerd`].
pub fn docker() -> Result<PathBuf> {
    let packages = ["docker.io", "docker-cli", "docker-compose", "tini-static"];
    let dir = cache_dir()?.join("docker/testing");
    packages_in(&dir, &packages, "testing", "usr/sbin/dockerd")?;
    Ok(dir)
}

/// The root of Debian's Redis, with the libraries that not every machine has.
///
/// # Errors
/// As for [`containerd`].
pub fn redis() -> Result<PathBuf> {
    // Not installed by us: the package would start one for the whole machine.
    let packages = ["redis-server", "redis-tools", "libjemalloc2", "liblzf1"];
    let dir = cache_dir()?.join("redis/bookworm");
    packages_in(&dir, &packages, "bookworm", "usr/bin/redis-check-rdb")?;
    Ok(dir)
}

/// A program of a package.
fn package(name: &str, suite: &str, program: &str) -> Result<PathBuf> {
    packages_in(
        &cache_dir()?.join(name).join(suite),
        &[name],
        suite,
        program,
    )
}

/// A program of packages that are unpacked into `dir` together.
fn packages_in(dir: &Path, names: &[&str], suite: &str, program: &str) -> Result<PathBuf> {
    let binary = dir.join(program);
    if !binary.exists() {
        let parent = dir.parent().context("the cache dir has no parent")?;
        std::fs::create_dir_all(parent)?;
        let draft = parent.join(format!(".{}", crate::leftovers::unique()));
        std::fs::create_dir_all(draft.join("root"))?;
        let fetched = fetch(names, suite, &draft).with_context(|| {
            format!(
                "cannot fetch {} of Debian {suite}, which this test runs: does this machine's \
                 Debian mirror have that suite, and does the network reach it?",
                names.join(", ")
            )
        });
        let kept = fetched.map(|()| std::fs::rename(draft.join("root"), dir));
        std::fs::remove_dir_all(&draft)?;
        // A second process finds it done.
        kept?.or_else(|error| if binary.exists() { Ok(()) } else { Err(error) })?;
    }
    Ok(binary)
}

/// apt with its state, cache and sources in `dir`, so that the machine's own stay as they are.
fn fetch(packages: &[&str], suite: &str, dir: &Path) -> Result<()> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    std::fs::write(dir.join("sources.list"), source_line(suite)?)?;
    let options = [
        format!(
            "Dir::Etc::sourcelist={}",
            dir.join("sources.list").display()
        ),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State={}", dir.join("state").display()),
        format!("Dir::Cache={}", dir.join("cache").display()),
        // The dir may be one that apt's own user cannot enter.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=3".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        for option in &options {
            command.args(["-o", option]);
        }
        command.args(["-q", "-y"]).args(words).current_dir(dir);
        run(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["download"][..], packages].concat())?;
    let entries = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let archives: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .collect();
    ensure!(
        archives.len() == packages.len(),
        "apt has left {archives:?} of {packages:?}"
    );
    for archive in archives {
        run(Command::new("dpkg")
            .arg("-x")
            .arg(archive)
            .arg(dir.join("root")))?;
    }
    Ok(())
}

/// A sources.list line for `suite` on the mirror that this machine uses for its own.
fn source_line(suite: &str) -> Result<String> {
    let format = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)";
    let listed = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    // The main suite, not `-updates` or `-security`, which live elsewhere.
    let line = listed
        .lines()
        .find(|line| line.starts_with("Debian|main|") && !line_codename(line).contains('-'))
        .context("this machine's apt knows no Debian archive: run `apt-get update`")?;
    let uri = line
        .split('|')
        .nth(3)
        .context("apt tells no address of the archive")?;
    let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
    let signed = keyring
        .map(|path| format!("[signed-by={path}] "))
        .unwrap_or_default();
    Ok(format!("deb {signed}{uri} {suite} main\n"))
}

fn line_codename(line: &str) -> &str {
    line.split('|').nth(2).unwrap_or_default()
}

fn run(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?} failed: {stderr}");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
