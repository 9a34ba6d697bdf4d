//! `wasi:keyvalue@0.2.0-draft2`, on the same stores.

use wasmtime::component::{Linker, Resource, ResourceTableError};

use super::{Failure, Store};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package wasi:keyvalue@0.2.0-draft2;

        interface store {
            variant error { no-such-store, access-denied, other(string) }
            record key-response { keys: list<string>, cursor: option<string> }
            open: func(identifier: string) -> result<bucket, error>;
            resource bucket {
                get: func(key: string) -> result<option<list<u8>>, error>;
                set: func(key: string, value: list<u8>) -> result<_, error>;
                delete: func(key: string) -> result<_, error>;
                exists: func(key: string) -> result<bool, error>;
                list-keys: func(cursor: option<string>) -> result<key-response, error>;
            }
        }

        interface atomics {
            use store.{bucket, error};
            variant cas-error { store-error(error), cas-failed(cas) }
            resource cas {
                new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                current: func() -> result<option<list<u8>>, error>;
            }
            increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
            swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
        }

        interface batch {
            use store.{bucket, error};
            get-many: func(bucket: borrow<bucket>, keys: list<string>)
                -> result<list<tuple<string, option<list<u8>>>>, error>;
            set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>)
                -> result<_, error>;
            delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
        }

        world imports {
            import store;
            import atomics;
            import batch;
        }
    "#,
    imports: { default: async },
    with: {
        "wasi:keyvalue/store.bucket": crate::key_value::Store,
        "wasi:keyvalue/atomics.cas": crate::key_value::wasi::Cas,
    },
}

use generated::wasi::keyvalue::atomics::{self, CasError};
use generated::wasi::keyvalue::batch;
use generated::wasi::keyvalue::store::{self, Error, KeyResponse};

/// A value as it was, to be replaced if it still is.
#[derive(Debug, Clone)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub struct Cas {
    store: Store,
    key: String,
    value: Option<Vec<u8>>,
}

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Interfaces>(linker, view)?;
    atomics::add_to_linker::<_, Interfaces>(linker, view)?;
    batch::add_to_linker::<_, Interfaces>(linker, view)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooManyOpen => Self::Other("too many stores are open".to_owned()),
            Failure::NoSuchStore => Self::NoSuchStore,
            Failure::AccessDenied => Self::AccessDenied,
            Failure::NotOpen => Self::Other(super::NOT_OPEN.to_owned()),
            Failure::Other(text) => Self::Other(text),
        }
    }
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<Failure> for CasError {
    fn from(failure: Failure) -> Self {
        Self::StoreError(failure.into())
    }
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Store>, Error> {
        Ok(self.open_store(&identifier).await?)
    }
}

impl store::HostBucket for View<'_> {
    async fn get(
        &mut self,
        bucket: Resource<Store>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store(&bucket)?.get(&key).await?)
    }

    async fn set(
        &mut self,
        bucket: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self.store(&bucket)?.set(&key, value).await?)
    }

    async fn delete(&mut self, bucket: Resource<Store>, key: String) -> Result<(), Error> {
        Ok(self.store(&bucket)?.delete(&key).await?)
    }

    async fn exists(&mut self, bucket: Resource<Store>, key: String) -> Result<bool, Error> {
        Ok(self.store(&bucket)?.exists(&key).await?)
    }

    /// All keys come at once, so that there is nothing behind a cursor.
    async fn list_keys(
        &mut self,
        bucket: Resource<Store>,
        cursor: Option<String>,
    ) -> Result<KeyResponse, Error> {
        let keys = match cursor {
            Some(_) => Vec::new(),
            None => self.store(&bucket)?.keys().await?,
        };
        Ok(KeyResponse { keys, cursor: None })
    }

    async fn drop(&mut self, bucket: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Store>,
        key: String,
        delta: i64,
    ) -> Result<i64, Error> {
        Ok(self.store(&bucket)?.increment(&key, delta).await?)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), CasError> {
        let cas = self
            .table
            .delete(cas)
            .map_err(|error| CasError::StoreError(error.into()))?;
        let Cas {
            store,
            key,
            value: old,
        } = cas;
        if store.swap(&key, old, value).await? {
            return Ok(());
        }
        let value = store.get(&key).await?;
        let now = self.table.push(Cas { store, key, value });
        Err(now.map_or_else(
            |error| CasError::StoreError(error.into()),
            CasError::CasFailed,
        ))
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Store>, key: String) -> Result<Resource<Cas>, Error> {
        let store = self.store(&bucket)?;
        let value = store.get(&key).await?;
        Ok(self.table.push(Cas { store, key, value })?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        let Cas { store, key, .. } = self.table.get(&cas)?.clone();
        let value = store.get(&key).await?;
        self.table.get_mut(&cas)?.value.clone_from(&value);
        Ok(value)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Store>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        let store = self.store(&bucket)?;
        let (mut found, mut size) = (Vec::new(), 0_usize);
        for key in keys {
            let value = store.get(&key).await?;
            size += key.len() + value.as_ref().map_or(0, Vec::len);
            if size > super::MAX_REPLY {
                return Err(Error::Other(super::too_large()));
            }
            found.push((key, value));
        }
        Ok(found)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Store>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        let store = self.store(&bucket)?;
        for (key, value) in pairs {
            store.set(&key, value).await?;
        }
        Ok(())
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Store>,
        keys: Vec<String>,
    ) -> Result<(), Error> {
        let store = self.store(&bucket)?;
        for key in keys {
            store.delete(&key).await?;
        }
        Ok(())
    }
}
