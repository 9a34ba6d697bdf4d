//! What makes a container impossible to run, each as one sentence for the person on call.

#![allow(
    missing_docs,
    reason = "the sentence of an error says what its fields are"
)]

use std::io;
use std::path::{Path, PathBuf};

use crate::file_kind::FileKind;
use medley_types::EngineKind;
use medley_types::layers::{Cause, Layer, SkippedLayer};
use medley_types::quoted::{FirstBytes, Quoted, first_of};

/// Why a container cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec has no `process`.
    #[error("config.json has no `process`, so it does not say what to run")]
    NoProcess,

    /// The root filesystem cannot be opened.
    #[error("cannot open the rootfs {}", Quoted::path(path))]
    Rootfs {
        /// Its path on the host.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },

    /// `process.args` is empty, or its first is.
    #[error(
        "no entrypoint: process.args is empty; give the image an ENTRYPOINT or the container a \
         command"
    )]
    NoEntrypoint,

    /// No file of that name.
    #[error("{}", not_found(entrypoint, looked, search.as_deref(), beside.as_deref()))]
    NotFound {
        /// The entrypoint as given.
        entrypoint: String,
        /// The paths tried, in order.
        looked: Vec<PathBuf>,
        /// `PATH`, if it was searched.
        search: Option<String>,
        /// A Linux program of that bare name which lies outside `PATH`.
        beside: Option<PathBuf>,
    },

    /// A symlink on the way leads nowhere.
    #[error(
        "entrypoint {} not found: the symlink {} points to {}, which does not exist inside the \
         container",
        Quoted::path(path),
        Quoted::path(link),
        Quoted::path(target)
    )]
    DanglingLink {
        /// The entrypoint's path.
        path: PathBuf,
        link: PathBuf,
        /// What it holds.
        target: PathBuf,
    },

    /// Symlinks lead in a circle.
    #[error(
        "entrypoint {} cannot be resolved: too many symlinks, the last of them {}",
        Quoted::path(path),
        Quoted::path(link)
    )]
    LinkLoop {
        /// The entrypoint's path.
        path: PathBuf,
        /// The symlink at which it was given up.
        link: PathBuf,
    },

    /// A file stands where a directory is needed.
    #[error(
        "entrypoint {} not found: {} is not a directory",
        Quoted::path(path),
        Quoted::path(at)
    )]
    NotADirectory {
        /// The entrypoint's path.
        path: PathBuf,
        /// What is in the way.
        at: PathBuf,
    },

    /// The entrypoint is a directory, FIFO, device or socket.
    #[error(
        "entrypoint {} is a {found}, not a file that can run{}",
        Quoted::path(path),
        if *found == FileKind::Directory { ", and there is no spin.toml in it" } else { "" }
    )]
    NotAFile {
        /// The entrypoint's path.
        path: PathBuf,
        /// What it is.
        found: FileKind,
    },

    /// A Spin application that can't be run.
    #[error("cannot run the Spin application {}: {reason}", Quoted::path(manifest))]
    SpinApplication {
        /// Its manifest.
        manifest: PathBuf,
        /// Why, as a sentence.
        reason: String,
    },

    /// The entrypoint lies on a mount whose contents do not exist before the container does.
    #[error(
        "entrypoint {} lies on the {kind} mount at {}, which cannot be looked into before it is \
         mounted; put it into the image or onto a bind mount",
        Quoted::path(path),
        Quoted::path(mount)
    )]
    Unseen {
        /// The entrypoint's path.
        path: PathBuf,
        /// The mount's destination.
        mount: PathBuf,
        /// The mount's type.
        kind: String,
    },

    /// No executable bit.
    #[error(
        "{} is {what} but not executable: its mode is {mode:04o}; chmod +x it in the image",
        Quoted::path(path)
    )]
    NotExecutable {
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// "an ELF program" or "a script".
        what: &'static str,
    },

    /// The file has no bytes.
    #[error(
        "entrypoint {} is empty: 0 bytes; rebuild the image",
        Quoted::path(path)
    )]
    Empty { path: PathBuf },

    /// Content that nothing runs.
    #[error(
        "{} is neither an ELF program nor a script nor Wasm: it begins with {first}; if it is Wasm \
         text, name it .wat or set the annotation module.wasm.image/variant to compat",
        Quoted::path(path)
    )]
    Unrecognised {
        path: PathBuf,
        /// How it begins.
        first: FirstBytes,
    },

    /// An annotation says Wasm, the file is for Linux.
    #[error(
        "{} is {found}, but the annotation {annotation} says that it is Wasm; to decide by \
         content, {remedy}",
        Quoted::path(path)
    )]
    ForcedOnLinux {
        path: PathBuf,
        /// "an ELF program" or "a script".
        found: &'static str,
        /// `key=value`.
        annotation: String,
        /// Which annotation to set to what.
        remedy: String,
    },

    /// An annotation says Wasm, the file is nothing known.
    #[error(
        "{} is not Wasm, as the annotation {annotation} says: it begins with {first}, where Wasm \
         begins with 00 61 73 6d (\"\\0asm\") or, as text, with \"(module\"",
        Quoted::path(path)
    )]
    NotWasm {
        path: PathBuf,
        /// How it begins.
        first: FirstBytes,
        /// `key=value`.
        annotation: String,
    },

    /// An ELF program for another machine.
    #[error(
        "{} is an ELF program for {program}, but this node is {node}; use an image for \
         linux/{node}",
        Quoted::path(path)
    )]
    Architecture {
        path: PathBuf,
        /// The program's machine, named as in an image's platform.
        program: String,
        /// The node's.
        node: String,
    },

    /// A script whose `#!` names a program that is not there.
    #[error(
        "the script {} needs the interpreter {}, which does not exist inside the container{}",
        Quoted::path(path),
        Quoted::path(interpreter),
        crlf(interpreter)
    )]
    NoInterpreter {
        path: PathBuf,
        /// The program after `#!`.
        interpreter: PathBuf,
    },

    /// A program whose dynamic loader is not there.
    #[error(
        "the program {} needs the loader {}, which does not exist inside the container; use a \
         base image with the C library that it was built for, or link it statically",
        Quoted::path(path),
        Quoted::path(loader)
    )]
    NoLoader {
        path: PathBuf,
        /// Its `PT_INTERP`.
        loader: PathBuf,
    },

    /// A module that was compiled to native code before it was put into the image.
    #[error(
        "{} is native code that Wasmtime compiled ahead of time, and native code of an image is \
         never run in an engine: nothing proves what it does; put the .wasm that it was made of \
         into the image",
        Quoted::path(path)
    )]
    Precompiled { path: PathBuf },

    /// No such file, and the image's layers could not be looked at.
    #[error("{missing}; whether its image has a Wasm layer instead cannot be told")]
    LayersUnknown {
        /// What is missing in the rootfs.
        missing: Box<Self>,
        /// Why they could not be looked at.
        source: Cause,
    },

    /// No such file, and no layer of the image is Wasm.
    #[error(
        "{missing}; the image {} has no Wasm layer that could run instead: {}",
        Quoted::text(image),
        first_of(skipped)
    )]
    NoWasmLayer {
        /// What is missing in the rootfs.
        missing: Box<Self>,
        image: String,
        /// What it has.
        skipped: Vec<SkippedLayer>,
    },

    /// Several layers may be meant.
    #[error(
        "entrypoint {} does not tell which Wasm layer of the image {} is meant: name one by its \
         title or digest; there are {}",
        Quoted::text(entrypoint),
        Quoted::text(image),
        first_of(layers)
    )]
    WhichLayer {
        /// The entrypoint as given.
        entrypoint: String,
        image: String,
        /// Those that may be.
        layers: Vec<Layer>,
    },

    /// A Wasm layer can't be run.
    #[error("cannot run the layer {layer} of the image {}", Quoted::text(image))]
    Layer {
        layer: Box<Layer>,
        /// Of which image.
        image: String,
        /// What is wrong with it.
        source: Cause,
    },

    /// The engine needed is neither in this binary nor beside it.
    #[error(
        "{} needs the engine {engine} ({demanded_by}), which this shim does not have; it has {}; {}",
        Quoted::path(path),
        list(built_in),
        engine.descriptor().remedy
    )]
    EngineNotBuiltIn {
        path: PathBuf,
        engine: EngineKind,
        /// The import, annotation or default that asks for it.
        demanded_by: String,
        /// The engines there are.
        built_in: Vec<EngineKind>,
    },

    /// A component for an engine that runs modules only.
    #[error(
        "{} is a component, but the annotation {annotation} names {engine}, which runs core \
         modules only; components need wasmtime",
        Quoted::path(path)
    )]
    ComponentEngine {
        path: PathBuf,
        /// The engine asked for.
        engine: EngineKind,
        /// `key=value`.
        annotation: String,
    },

    /// The kernel refused to look a path up or to read a file.
    #[error("cannot read the entrypoint {}", Quoted::path(path))]
    Io {
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// What runc says in this case, by which Docker and others tell their exit codes: 127 for a
    /// program that is not there, 126 for what is no program.
    #[must_use]
    pub fn in_words_of_runc(&self) -> Option<&'static str> {
        const NO_SUCH_FILE: &str = "no such file or directory";
        const NO_PROGRAM: &str = "exec format error, permission denied";
        match self {
            Self::NotFound {
                search: Some(_), ..
            } => Some("executable file not found in $PATH"),
            Self::NotFound { search: None, .. }
            | Self::DanglingLink { .. }
            | Self::NoInterpreter { .. }
            | Self::NoLoader { .. } => Some(NO_SUCH_FILE),
            Self::LayersUnknown { missing, .. } | Self::NoWasmLayer { missing, .. } => {
                missing.in_words_of_runc()
            }
            Self::NotAFile { .. } | Self::SpinApplication { .. } | Self::NotExecutable { .. } => {
                Some("permission denied")
            }
            Self::Empty { .. }
            | Self::Unrecognised { .. }
            | Self::NotWasm { .. }
            | Self::Architecture { .. }
            | Self::Precompiled { .. } => Some(NO_PROGRAM),
            // Its text has the kernel's word, or it is no matter of the file.
            Self::NotADirectory { .. }
            | Self::LinkLoop { .. }
            | Self::Io { .. }
            | Self::NoProcess
            | Self::Rootfs { .. }
            | Self::NoEntrypoint
            | Self::Unseen { .. }
            | Self::ForcedOnLinux { .. }
            | Self::WhichLayer { .. }
            | Self::Layer { .. }
            | Self::EngineNotBuiltIn { .. }
            | Self::ComponentEngine { .. } => None,
        }
    }
}

fn not_found(
    entrypoint: &str,
    looked: &[PathBuf],
    search: Option<&str>,
    beside: Option<&Path>,
) -> String {
    /// Longer lists help no reader.
    const LISTED: usize = 12;

    let mut text = format!(
        "entrypoint {} not found inside the container",
        Quoted::text(entrypoint)
    );
    for (n, path) in looked.iter().take(LISTED).enumerate() {
        text.push_str(if n == 0 { ": looked for " } else { ", " });
        text.push_str(&Quoted::path(path).to_string());
    }
    if looked.len() > LISTED {
        text.push_str(", …");
    }
    if let Some(search) = search {
        text.push_str(&format!("; PATH is {}", Quoted::text(search)));
    }
    match beside {
        Some(beside) => text.push_str(&format!(
            "; the Linux program {} is not on PATH: give its full path",
            Quoted::path(beside)
        )),
        None => text.push_str("; check the image and the container's command"),
    }
    text
}

/// A script written on Windows asks for an interpreter whose name ends with a carriage return.
fn crlf(interpreter: &Path) -> &'static str {
    if interpreter.as_os_str().as_encoded_bytes().ends_with(b"\r") {
        ": its lines end with CR LF; write it with LF"
    } else {
        "; install it in the image"
    }
}

fn list(engines: &[EngineKind]) -> String {
    if engines.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = engines.iter().map(ToString::to_string).collect();
    names.join(", ")
}
