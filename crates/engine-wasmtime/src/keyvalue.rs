//! `wasi:keyvalue`: buckets in the memory of the container's process, shared by all requests of a
//! server, gone with the container.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};

#[allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::wildcard_imports,
    reason = "generated"
)]
mod generated {
    wasmtime::component::bindgen!({
        inline: r#"
            package wasi:keyvalue@0.2.0-draft;

            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<u64> }
                open: func(identifier: string) -> result<bucket, error>;
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<u64>) -> result<key-response, error>;
                }
            }

            interface atomics {
                use store.{bucket, error};
                increment: func(bucket: borrow<bucket>, key: string, delta: u64)
                    -> result<u64, error>;
            }

            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<option<tuple<string, list<u8>>>>, error>;
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
        imports: { default: trappable },
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Error },
    });
}

use generated::wasi::keyvalue::{atomics, batch, store};

/// Why a call fails.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub enum Error {
    /// As a guest sees it.
    Other(String),
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Other(error.to_string())
    }
}

/// Keys and values, in the order of the keys.
type Values = BTreeMap<String, Vec<u8>>;

/// All buckets of a container, by name.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, Bucket>>);

/// One of them.
#[derive(Debug, Clone, Default)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub struct Bucket(Arc<Mutex<Values>>);

impl Buckets {
    /// The bucket of this name, which begins empty.
    fn open(&self, name: String) -> Bucket {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(name).or_default().clone()
    }
}

impl Bucket {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn increment(&self, key: String, delta: u64) -> Result<u64, Error> {
        let mut values = self.values();
        let value = values.entry(key).or_insert_with(|| b"0".to_vec());
        let number: Option<u64> = str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        let sum = number
            .ok_or_else(|| Error::Other("the value is not a number".into()))?
            .checked_add(delta)
            .ok_or_else(|| Error::Other("the number would be too large".into()))?;
        *value = sum.to_string().into_bytes();
        Ok(sum)
    }

    /// The keys from the one with this number on.
    fn keys(&self, from: u64) -> Vec<String> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.values().keys().skip(from).cloned().collect()
    }
}

/// What a call needs of a component's host.
pub(crate) struct View<'a> {
    pub(crate) buckets: &'a Buckets,
    pub(crate) table: &'a mut ResourceTable,
}

impl View<'_> {
    fn bucket(&self, bucket: &Resource<Bucket>) -> Result<&Bucket, Error> {
        Ok(self.table.get(bucket)?)
    }
}

impl HasData for Buckets {
    type Data<'a> = View<'a>;
}

/// Adds the package's interfaces.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Buckets>(linker, view)?;
    atomics::add_to_linker::<_, Buckets>(linker, view)?;
    batch::add_to_linker::<_, Buckets>(linker, view)
}

impl store::Host for View<'_> {
    fn open(&mut self, name: String) -> Result<Resource<Bucket>, Error> {
        Ok(self.table.push(self.buckets.open(name))?)
    }

    fn convert_error(&mut self, error: Error) -> wasmtime::Result<store::Error> {
        match error {
            Error::Other(text) => Ok(store::Error::Other(text)),
        }
    }
}

impl store::HostBucket for View<'_> {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.bucket(&bucket)?.values().get(&key).cloned())
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.bucket(&bucket)?.values().insert(key, value);
        Ok(())
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Error> {
        self.bucket(&bucket)?.values().remove(&key);
        Ok(())
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Error> {
        Ok(self.bucket(&bucket)?.values().contains_key(&key))
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Error> {
        Ok(store::KeyResponse {
            keys: self.bucket(&bucket)?.keys(cursor.unwrap_or(0)),
            cursor: None,
        })
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, Error> {
        self.bucket(&bucket)?.increment(key, delta)
    }
}

impl batch::Host for View<'_> {
    fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let values = self.bucket(&bucket)?.values();
        let pair = |key: String| {
            let value = values.get(&key)?.clone();
            Some((key, value))
        };
        Ok(keys.into_iter().map(pair).collect())
    }

    fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        self.bucket(&bucket)?.values().extend(pairs);
        Ok(())
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), Error> {
        let mut values = self.bucket(&bucket)?.values();
        for key in keys {
            values.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Buckets;

    #[test]
    fn a_bucket_is_the_same_for_everybody_who_opens_it() {
        let buckets = Buckets::default();
        let (one, two) = (buckets.open("a".into()), buckets.open("a".into()));
        one.values().insert("key".into(), b"value".to_vec());
        assert_eq!(two.values().get("key"), Some(&b"value".to_vec()));
        assert!(buckets.open("b".into()).values().is_empty());
    }

    #[test]
    fn numbers_are_counted_up_and_nothing_else_is() {
        let bucket = Buckets::default().open(String::new());
        assert_eq!(bucket.increment("n".into(), 2).unwrap(), 2);
        assert_eq!(bucket.increment("n".into(), 40).unwrap(), 42);
        assert_eq!(bucket.values().get("n"), Some(&b"42".to_vec()));
        bucket.values().insert("text".into(), b"x".to_vec());
        assert!(bucket.increment("text".into(), 1).is_err());
        assert!(bucket.increment("n".into(), u64::MAX).is_err());
        assert_eq!(bucket.keys(0), ["n", "text"]);
        assert_eq!(bucket.keys(1), ["text"]);
        assert!(bucket.keys(u64::MAX).is_empty());
    }
}
