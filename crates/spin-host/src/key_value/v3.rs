//! `spin:key-value@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::{Failure, Store};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package spin:key-value@3.0.0;
        interface key-value {
            resource store {
                open: static async func(label: string) -> result<store, error>;
                get: async func(key: string) -> result<option<list<u8>>, error>;
                set: async func(key: string, value: list<u8>) -> result<_, error>;
                delete: async func(key: string) -> result<_, error>;
                exists: async func(key: string) -> result<bool, error>;
                get-keys: async func() -> tuple<stream<string>, future<result<_, error>>>;
            }
            variant error { store-table-full, no-such-store, access-denied, other(string) }
        }
        world imports { import key-value; }
    "#,
    imports: { "spin:key-value/key-value.[method]store.get-keys": async | store | trappable },
    with: { "spin:key-value/key-value.store": crate::key_value::Store },
}

use generated::spin::key_value::key_value::{self, Error};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    key_value::add_to_linker::<_, Interfaces>(linker, view)
}

convert_error!(Error);

/// The store that a guest has opened.
fn store<T>(accessor: &Accessor<T, Interfaces>, store: &Resource<Store>) -> Result<Store, Failure> {
    accessor.with(|mut access| access.get().store(store))
}

impl key_value::Host for View<'_> {}

impl key_value::HostStore for View<'_> {
    fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

impl<T: Send + 'static> key_value::HostStoreWithStore<T> for Interfaces {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Result<Resource<Store>, Error> {
        let host = accessor.with(|mut access| access.get().host.clone());
        let store = Store::open(&host, &label).await?;
        Ok(accessor.with(|mut access| access.get().keep_store(store))?)
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        opened: Resource<Store>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(store(accessor, &opened)?.get(&key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        opened: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(store(accessor, &opened)?.set(&key, value).await?)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        opened: Resource<Store>,
        key: String,
    ) -> Result<(), Error> {
        Ok(store(accessor, &opened)?.delete(&key).await?)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        opened: Resource<Store>,
        key: String,
    ) -> Result<bool, Error> {
        Ok(store(accessor, &opened)?.exists(&key).await?)
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        opened: Resource<Store>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), Error>>)> {
        let found = match store(accessor, &opened) {
            Ok(store) => store.keys().await,
            Err(failure) => Err(failure),
        };
        let (keys, result) = match found {
            Ok(keys) => (keys, Ok(())),
            Err(failure) => (Vec::new(), Err(Error::from(failure))),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, keys)?;
            let result =
                FutureReader::new(&mut access, async { Ok::<_, wasmtime::Error>(result) })?;
            Ok((keys, result))
        })
    }
}
