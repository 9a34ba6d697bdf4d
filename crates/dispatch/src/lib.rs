//! Decides, once per container, what runs it: the kernel (an ELF program or a script) or a Wasm
//! engine, and then which engine, module and export.
//!
//! [`plan()`] is a function of the OCI spec ([`Request`]), of what lies in the root filesystem and
//! in the bind mounts over it ([`Rootfs`]) and of what this node offers ([`Options`]). Where the
//! image's Wasm layers decide, it says so ([`Decision::NeedsLayers`]): the caller lists them, reads
//! the one that is selected, and hands both in. It runs in the shim at Create; its answer, a
//! [`Plan`], is logged in one line and carried to the container's init, which decides nothing again.
//!
//! # Order
//! The first row that applies decides.
//!
//! | what the spec says | decides |
//! |---|---|
//! | `io.kubernetes.cri.container-type` = `sandbox` | Linux; no file is looked at |
//! | `module.wasm.image/variant.<container name>` | its value, as below |
//! | `run.oci.handler` = `wasm`, `wasmtime`, `wasmedge`, `wasmer` | Wasm always |
//! | `run.oci.handler` = `wasm-smart` or any other name | content; as in crun, it hides the next row |
//! | `module.wasm.image/variant` = `compat` | Wasm always |
//! | `module.wasm.image/variant` = `compat-smart` or any other value | content |
//! | nothing | content |
//!
//! An empty value counts as none. An unknown value is named in the plan's `why`; it
//! never fails a container, because content decides as well as anything. A container's own variant
//! comes before the pod's handler, so that one sidecar can opt out of a pod-wide setting.
//!
//! By content: `\x7fELF` or `#!` is Linux; `\0asm` is Wasm; text is Wasm if the file's name ends
//! with `.wat`. Native code that an engine compiled ahead of time is neither, and is refused. "Wasm
//! always" also takes text of any name that begins as a Wasm text module does.
//!
//! # Engine
//! That of `run.oci.handler` if it names one, even where another row decided; else by what the
//! module imports; else the default.
//!
//! # Entrypoint
//! `args[0]` is absolute, or has a `/` and is relative to the working directory, or is bare and is
//! looked up in the `PATH` of the spec's environment. A bare Wasm module is also looked for in the
//! working directory and in `/`, and needs no executable bit. `path#function` names an export; the
//! longest path that exists wins, so a file whose name holds a `#` still works. Docker's `--init`
//! (`/sbin/docker-init -- program …`) is looked through: if the program is Wasm it runs without
//! docker-init, which could not start it and has no children to reap.
//!
//! An entrypoint that the rootfs does not have, and no other, is looked for among the image's
//! Wasm layers ([`NeedsLayers::select`]).
//!
//! # Spin applications
//! A dir with a `spin.toml`, that file itself, and no entrypoint at all where `/spin.toml` is there, mean the Spin
//! application of that manifest: [`Planned::application`] has its components, each with a plan of its own.
//!
//! # Mounts
//! Paths are resolved as the container will see them, bind mounts included, symlinks and `..`
//! always inside the container. Nothing is read from outside the root filesystem and the sources
//! of bind mounts.
#![forbid(unsafe_code)]

mod annotations;
mod application;
mod content;
mod decide;
mod elf;
mod entrypoint;
mod error;
mod file_kind;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod imports;
mod inspect;
mod layers;
mod options;
mod plan;
mod request;
mod rootfs;
mod rule;
mod view;

#[cfg(test)]
mod tests;

pub use annotations::sandbox_of;
pub use decide::{Decision, plan};
pub use error::Error;
pub use file_kind::FileKind;
pub use inspect::inspect;
pub use layers::{NeedsLayers, Selected};
pub use medley_types::{EngineKind, UnknownEngine};
pub use options::Options;
pub use plan::{Application, Form, LinuxPlan, Module, Plan, Planned, WasmPlan};
pub use request::Request;
pub use rootfs::Rootfs;
