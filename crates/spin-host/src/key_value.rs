//! Key-value stores.
//!
//! | file | what |
//! |---|---|
//! | `backend` | a store, wherever it is |
//! | `sqlite` | in an SQLite file |
//! | `redis` | in Redis |
//! | `v1`, `v2`, `v3` | Spin's interface for them, by its versions |
//! | `wasi` | `wasi:keyvalue` |

/// Turns this module's error into the generated one of one version.
macro_rules! convert_error {
    ($error:ident) => {
        impl From<crate::key_value::Failure> for $error {
            fn from(failure: crate::key_value::Failure) -> Self {
                match failure {
                    crate::key_value::Failure::TooManyOpen => Self::StoreTableFull,
                    crate::key_value::Failure::NoSuchStore => Self::NoSuchStore,
                    crate::key_value::Failure::AccessDenied => Self::AccessDenied,
                    crate::key_value::Failure::NotOpen => {
                        Self::Other(crate::key_value::NOT_OPEN.to_owned())
                    }
                    crate::key_value::Failure::Other(text) => Self::Other(text),
                }
            }
        }
    };
}

mod backend;
#[cfg(feature = "redis")]
mod redis;
mod sqlite;
mod v1;
mod v2;
mod v3;
mod wasi;

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use wasmtime::component::{Linker, Resource};

use crate::View;
use crate::component::ComponentHost;
use crate::runtime_config::StoreConfig;
use backend::Backend;

/// The longest key.
const MAX_KEY: usize = 64 << 10;
/// The largest value.
const MAX_VALUE: usize = 16 << 20;

/// The most that one call replies, in bytes of keys and values.
const MAX_REPLY: usize = 64 << 20;

/// Why a call has no reply that would be larger.
fn too_large() -> String {
    format!("the reply would have more than {MAX_REPLY} bytes: ask for less at a time")
}

/// All stores of an application.
#[derive(Debug)]
pub(crate) struct Stores {
    configured: BTreeMap<String, StoreConfig>,
    /// Those that a component has asked for.
    open: Mutex<BTreeMap<String, Backend>>,
}

/// A store that a component has opened.
#[derive(Debug, Clone)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub struct Store {
    backend: Backend,
}

/// Why a call fails.
#[derive(Debug, Clone)]
enum Failure {
    TooManyOpen,
    NoSuchStore,
    AccessDenied,
    NotOpen,
    Other(String),
}

impl Stores {
    pub(crate) fn new(configured: BTreeMap<String, StoreConfig>) -> Self {
        Self {
            configured,
            open: Mutex::default(),
        }
    }

    /// Whether there is a store of this name.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.configured.contains_key(label)
    }

    async fn open(&self, label: &str) -> Result<Backend, Failure> {
        let config = self.configured.get(label).ok_or(Failure::NoSuchStore)?;
        let mut open = self.open.lock().await;
        if let Some(backend) = open.get(label) {
            return Ok(backend.clone());
        }
        // It may wait for a disk, and for others that have the file open.
        let (label, config) = (label.to_owned(), config.clone());
        let name = label.clone();
        let opening = tokio::task::spawn_blocking(move || Backend::open(&name, &config));
        let opened = opening.await.unwrap_or_else(|error| Err(error.to_string()));
        let backend = opened.map_err(Failure::Other)?;
        open.insert(label, backend.clone());
        Ok(backend)
    }
}

impl Store {
    /// Opens the store `label` for a component.
    async fn open(host: &ComponentHost, label: &str) -> Result<Self, Failure> {
        let allowed = &host.config.key_value_stores;
        let shared = host.shared.as_ref().ok_or(Failure::AccessDenied)?;
        if !allowed.iter().any(|allowed| allowed == label) {
            (host.config.log)(&format!(
                "component {:?} may not open the key-value store {label:?}: add {label:?} to its \
                 key_value_stores",
                host.config.id
            ));
            return Err(Failure::AccessDenied);
        }
        let backend = shared.stores.open(label).await?;
        Ok(Self { backend })
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        check_key(key)?;
        self.backend.get(key).await.map_err(Failure::Other)
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), Failure> {
        check_key(key)?;
        check_value(&value)?;
        self.backend.set(key, value).await.map_err(Failure::Other)
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        check_key(key)?;
        self.backend.delete(key).await.map_err(Failure::Other)
    }

    async fn exists(&self, key: &str) -> Result<bool, Failure> {
        check_key(key)?;
        self.backend.exists(key).await.map_err(Failure::Other)
    }

    async fn keys(&self) -> Result<Vec<String>, Failure> {
        self.backend.keys().await.map_err(Failure::Other)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Failure> {
        check_key(key)?;
        let sum = self.backend.increment(key, delta).await;
        sum.map_err(Failure::Other)
    }

    /// Sets the value if it is still `old`; says whether it was.
    async fn swap(&self, key: &str, old: Option<Vec<u8>>, new: Vec<u8>) -> Result<bool, Failure> {
        check_key(key)?;
        check_value(&new)?;
        let swapped = self.backend.swap(key, old, new).await;
        swapped.map_err(Failure::Other)
    }
}

/// What a guest is told of a store that it has not opened.
const NOT_OPEN: &str = "the store is not open";

impl View<'_> {
    /// Opens a store, and keeps it with the instance.
    async fn open_store(&mut self, label: &str) -> Result<Resource<Store>, Failure> {
        let store = Store::open(self.host, label).await?;
        self.keep_store(store)
    }

    fn keep_store(&mut self, store: Store) -> Result<Resource<Store>, Failure> {
        self.table.push(store).map_err(|_| Failure::TooManyOpen)
    }

    fn store(&self, store: &Resource<Store>) -> Result<Store, Failure> {
        self.table.get(store).cloned().map_err(|_| Failure::NotOpen)
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.len() <= MAX_KEY {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "the key has {} bytes, and {MAX_KEY} is the most",
        key.len()
    )))
}

fn check_value(value: &[u8]) -> Result<(), Failure> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "the value has {} bytes, and {MAX_VALUE} is the most",
        value.len()
    )))
}

/// Adds those that a component imports.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    if imports("fermyon:spin/key-value") {
        v1::add_to_linker(linker, view)?;
    }
    if imports("fermyon:spin/key-value@2") {
        v2::add_to_linker(linker, view)?;
    }
    if imports("spin:key-value/key-value@3") {
        v3::add_to_linker(linker, view)?;
    }
    if imports("wasi:keyvalue/store@0.2.0-draft2") {
        wasi::add_to_linker(linker, view)?;
    }
    Ok(())
}
