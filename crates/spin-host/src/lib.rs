//! What the components of Spin applications ask of their host.
//!
//! | file | what |
//! |---|---|
//! | `runtime_config` | the operator's file: which store and which database is where |
//! | `variables` | `fermyon:spin/variables`, `spin:variables`, `wasi:config` |
//! | `key_value` | `fermyon:spin/key-value`, `spin:key-value`, `wasi:keyvalue` |
//! | `databases` | `fermyon:spin/sqlite`, `spin:sqlite` |
//! | `redis` | `fermyon:spin/redis`, `spin:redis` |
//! | `llm` | `fermyon:spin/llm`, of which every call fails |
//! | `inbound_http` | requests for components that export `fermyon:spin/inbound-http` |
//! | `sqlite_file` | an SQLite file, and what guests may do with it |
//!
//! Everything here runs in the container's own process, with the rights of the container's user.

#![forbid(unsafe_code)]

/// The module `$name` with what is generated of an interface, as `bindgen!` takes it.
macro_rules! bindings {
    ($name:ident $($options:tt)*) => {
        #[allow(
            missing_docs,
            unreachable_pub,
            missing_debug_implementations,
            clippy::wildcard_imports,
            reason = "generated"
        )]
        mod $name {
            wasmtime::component::bindgen!({ $($options)* });
        }
    };
}
use bindings;

mod component;
#[cfg(feature = "stores")]
mod databases;
mod error;
mod inbound_http;
#[cfg(feature = "stores")]
mod key_value;
mod llm;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "stores")]
mod runtime_config;
#[cfg(feature = "stores")]
mod sqlite_file;
mod variables;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};

pub use component::{ComponentConfig, ComponentHost, Host};
pub use error::Error;
pub use inbound_http::{InboundHttp, is_inbound_http};

/// What a call of a component needs.
#[derive(Debug)]
pub struct View<'a> {
    /// What its component may use.
    pub host: &'a Arc<ComponentHost>,
    /// All resources of its instance.
    pub table: &'a mut ResourceTable,
}

/// Says of a store's data where a [`View`] is.
#[derive(Debug)]
struct Interfaces;

impl HasData for Interfaces {
    type Data<'a> = View<'a>;
}

/// The interfaces of this crate.
const PROVIDED: &[&[&str]] = &[
    &[
        "fermyon:spin/config",
        "fermyon:spin/variables@2.0.0",
        "spin:variables/variables@3.0.0",
        "wasi:config/store@0.2.0-draft-2024-09-27",
        "fermyon:spin/http-types",
        "fermyon:spin/llm",
        "fermyon:spin/llm@2.0.0",
    ],
    #[cfg(feature = "stores")]
    &[
        "fermyon:spin/key-value",
        "fermyon:spin/key-value@2.0.0",
        "spin:key-value/key-value@3.0.0",
        "wasi:keyvalue/store@0.2.0-draft2",
        "wasi:keyvalue/atomics@0.2.0-draft2",
        "wasi:keyvalue/batch@0.2.0-draft2",
        "fermyon:spin/sqlite",
        "fermyon:spin/sqlite@2.0.0",
        "spin:sqlite/sqlite@3.0.0",
        "spin:sqlite/sqlite@3.1.0",
    ],
    #[cfg(feature = "redis")]
    &[
        "fermyon:spin/redis-types",
        "fermyon:spin/redis",
        "fermyon:spin/redis@2.0.0",
        "spin:redis/redis@3.0.0",
    ],
];

/// Adds those of the interfaces that a component imports: `imports` says whether it has an import whose
/// name begins so.
///
/// # Errors
/// The linker's own.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    variables::add_to_linker(linker, imports, view)?;
    #[cfg(feature = "stores")]
    key_value::add_to_linker(linker, imports, view)?;
    #[cfg(feature = "stores")]
    databases::add_to_linker(linker, imports, view)?;
    llm::add_to_linker(linker, imports, view)?;
    inbound_http::add_to_linker(linker, imports)?;
    #[cfg(feature = "redis")]
    redis::add_to_linker(linker, imports, view)?;
    Ok(())
}

/// Whether [`add_to_linker`] has the interface of this name, which a component imports.
#[must_use]
pub fn provides(import: &str) -> bool {
    PROVIDED.iter().any(|of| of.contains(&import))
}

/// Whether a component may import the interface of this name and yet be started, without there being
/// such an interface: its calls trap. An SDK whose components import all of Spin's world, whether they
/// call it or not, makes that needful.
#[must_use]
pub fn may_trap(import: &str) -> bool {
    let of_spin = ["fermyon:spin/", "spin:", "wasi:otel/"];
    of_spin.iter().any(|start| import.starts_with(start))
        || (import.starts_with("wasi:") && import.contains("@0.3.0-rc-"))
}
