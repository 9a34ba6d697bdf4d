//! A store, wherever it is.

use crate::runtime_config::StoreConfig;

#[cfg(feature = "redis")]
use super::redis::RedisStore;
use super::sqlite::SqliteStore;

/// A store that is open.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    Sqlite(SqliteStore),
    #[cfg(feature = "redis")]
    Redis(RedisStore),
}

/// Calls the method of the same name of the store's kind.
macro_rules! each {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            Backend::Sqlite($store) => $call,
            #[cfg(feature = "redis")]
            Backend::Redis($store) => $call,
        }
    };
}

impl Backend {
    /// # Errors
    /// A sentence.
    pub(super) fn open(label: &str, config: &StoreConfig) -> Result<Self, String> {
        match config {
            StoreConfig::Sqlite(location) => SqliteStore::open(label, location).map(Self::Sqlite),
            #[cfg(feature = "redis")]
            StoreConfig::Redis(url) => RedisStore::new(url).map(Self::Redis),
            #[cfg(not(feature = "redis"))]
            StoreConfig::Redis(_) => Err(format!(
                "this Medley is built without Redis, where the key-value store {label:?} is"
            )),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        each!(self, store => store.get(key).await)
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        each!(self, store => store.set(key, value).await)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), String> {
        each!(self, store => store.delete(key).await)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, String> {
        each!(self, store => store.exists(key).await)
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, String> {
        each!(self, store => store.keys().await)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, String> {
        each!(self, store => store.increment(key, delta).await)
    }

    pub(super) async fn swap(
        &self,
        key: &str,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, String> {
        each!(self, store => store.swap(key, old, new).await)
    }
}
