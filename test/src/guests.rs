//! Wasm guests, compiled from `test/guests` when they are first asked for.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use wasi_preview1_component_adapter_provider as adapter;

pub mod large;

const CLANG: &[&str] = &[
    "--target=wasm32-wasi",
    "--sysroot=/usr",
    "-O1",
    "-Wall",
    "-Werror",
];

/// Guests that are compiled with debug information.
const DEBUGGED: &[&str] = &["trap"];

/// The core module of `guests/<name>.c` or `guests/<name>.wat`.
///
/// # Errors
/// There is no such source, or it does not compile (Debian: `clang lld wasi-libc
/// libclang-rt-14-dev-wasm32`, or the same of a later clang).
pub fn module(name: &str) -> Result<Vec<u8>> {
    let source = source_dir().join(name);
    let c = source.with_extension("c");
    let wat = source.with_extension("wat");
    if c.is_file() {
        compile(&c)
    } else if wat.is_file() {
        wat::parse_file(&wat).with_context(|| format!("cannot assemble {}", wat.display()))
    } else {
        bail!(
            "no source for guest `{name}`: neither {} nor {}",
            c.display(),
            wat.display()
        )
    }
}

/// The same guest as a WASI 0.2 command component.
///
/// # Errors
/// As for [`module`], or the module does not fit the `wasi:cli/command` world.
pub fn component(name: &str) -> Result<Vec<u8>> {
    componentise(&module(name)?).with_context(|| format!("cannot make a component of `{name}`"))
}

/// Wraps a WASI preview 1 command module into a WASI 0.2 component.
///
/// # Errors
/// The module imports something else than WASI preview 1.
pub fn componentise(module: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .module(module)?
        .adapter(
            adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        )?
        .validate(true)
        .encode()
}

/// A guest as a component of a world in `wit/worlds.wit`, or in `wit/async.wit` for those of WASI
/// 0.3: one that answers HTTP requests, exports functions or is of WASI 0.3 is a library, any other
/// a command.
///
/// # Errors
/// As for [`module`], or the module does not fit the world.
pub fn of_world(name: &str, world: &str) -> Result<Vec<u8>> {
    let file = if world.starts_with("async-") {
        "async.wit"
    } else {
        "worlds.wit"
    };
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(file);
    let text = std::fs::read_to_string(&wit)?;
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str(&wit, &text)?;
    let chosen = resolve.select_world(&[package], Some(world))?;
    let mut bytes = module(name)?;
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut bytes, &resolve, chosen, encoding)?;
    let adapter = if is_library(name) {
        adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    } else {
        adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    };
    wit_component::ComponentEncoder::default()
        .module(&bytes)?
        .adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
        .validate(true)
        .encode()
        .with_context(|| format!("cannot make a component of `{name}` for the world `{world}`"))
}

/// A guest that answers HTTP requests.
///
/// # Errors
/// As for [`of_world`].
pub fn handler(name: &str) -> Result<Vec<u8>> {
    of_world(name, "http")
}

/// Guests that have no `main`.
const LIBRARIES: &[&str] = &[
    "async-ask",
    "async-command",
    "async-handler",
    "functions",
    "http-handler",
    "http-hello",
    "http-told",
    "spin-inbound",
    "spin-state",
];

/// What guests include.
const HEADERS: [&str; 6] = [
    "ask.h",
    "canonical.h",
    "lists.h",
    "spin-host.h",
    "wasi-async.h",
    "wasi-http.h",
];

fn is_library(name: &str) -> bool {
    LIBRARIES.contains(&name)
}

/// The dir of the guests' sources.
pub fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

/// Compiles one C file to a WASI preview 1 command module, or takes it from the
/// cache, whose key is the source, the flags and the compiler.
///
/// # Errors
/// clang is missing or does not like the source.
pub fn compile(source: &Path) -> Result<Vec<u8>> {
    let clang = std::env::var("MEDLEY_CLANG").unwrap_or_else(|_| "clang".into());
    let text = std::fs::read(source)
        .with_context(|| format!("cannot read the guest {}", source.display()))?;
    let name = source.file_stem().and_then(|stem| stem.to_str());
    let debug: &[&str] = match name {
        Some(name) if DEBUGGED.contains(&name) => &["-g"],
        _ => &[],
    };
    let compiler = std::fs::canonicalize("/usr/bin/clang").unwrap_or_default();
    let mut key = Sha256::new();
    key.update(&text);
    let name = source.file_stem().and_then(|stem| stem.to_str());
    let model: &[&str] = if name.is_some_and(is_library) {
        &["-mexec-model=reactor"]
    } else {
        &[]
    };
    key.update(format!(
        "{CLANG:?} {debug:?} {model:?} {clang} {}",
        compiler.display()
    ));
    for header in HEADERS {
        key.update(std::fs::read(source_dir().join(header))?);
    }
    let dir = crate::runtime::cache_dir()?.join("guests");
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{:x}.wasm", key.finalize()));
    if !path.exists() {
        // Unique, so that two tests that compile the same guest do not meet.
        let draft = dir.join(format!(".{}", crate::leftovers::unique()));
        let done = Command::new(&clang)
            .args(CLANG)
            .args(debug)
            .args(model)
            .arg(source)
            .arg("-o")
            .arg(&draft)
            .output()
            .with_context(|| format!("cannot run {clang}: install clang, lld, wasi-libc"))?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "{clang} cannot compile {}:\n{stderr}",
            source.display()
        );
        std::fs::rename(&draft, &path)?;
    }
    Ok(std::fs::read(&path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_compiles() -> Result<()> {
        for entry in std::fs::read_dir(source_dir())? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "h") {
                continue;
            }
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .context("no name")?;
            assert!(module(name)?.starts_with(b"\0asm"), "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_component_is_made_of_a_module() -> Result<()> {
        assert!(component("hello")?.starts_with(b"\0asm\x0d\0\x01\0"));
        assert!(component("spin")?.starts_with(b"\0asm\x0d\0\x01\0"));
        Ok(())
    }

    #[test]
    fn guests_are_made_components_of_their_worlds() -> Result<()> {
        for (name, world) in [
            ("http-hello", "http"),
            ("http-handler", "http"),
            ("http-ask", "fetch"),
            ("http-fetch", "fetch"),
            ("functions", "functions"),
            ("net", "net"),
            ("nn", "nn"),
            ("async-ask", "async-ask"),
            ("async-command", "async-command"),
            ("async-handler", "async-service"),
        ] {
            assert!(
                of_world(name, world)?.starts_with(b"\0asm\x0d\0\x01\0"),
                "{name}"
            );
        }
        Ok(())
    }
}
