//! The names of the Wasm engines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Wasm engine, built in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// <https://wasmtime.dev>: modules and components.
    Wasmtime,
    /// <https://wasmedge.org>: modules, with its own sockets and plugins.
    Wasmedge,
    /// <https://wasmer.io>: modules, with WASIX.
    Wasmer,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wasmtime => "wasmtime",
            Self::Wasmedge => "wasmedge",
            Self::Wasmer => "wasmer",
        })
    }
}

/// A name that is no engine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no engine is called {0:?}: wasmtime, wasmedge and wasmer are")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            "wasmtime" => Ok(Self::Wasmtime),
            "wasmedge" => Ok(Self::Wasmedge),
            "wasmer" => Ok(Self::Wasmer),
            _ => Err(UnknownEngine(name.to_owned())),
        }
    }
}
