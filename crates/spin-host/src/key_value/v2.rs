//! `fermyon:spin/key-value@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::Store;
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin@2.0.0;
        interface key-value {
            resource store {
                open: static func(label: string) -> result<store, error>;
                get: func(key: string) -> result<option<list<u8>>, error>;
                set: func(key: string, value: list<u8>) -> result<_, error>;
                delete: func(key: string) -> result<_, error>;
                exists: func(key: string) -> result<bool, error>;
                get-keys: func() -> result<list<string>, error>;
            }
            variant error { store-table-full, no-such-store, access-denied, other(string) }
        }
        world imports { import key-value; }
    "#,
    imports: { default: async },
    with: { "fermyon:spin/key-value.store": crate::key_value::Store },
}

use generated::fermyon::spin::key_value::{self, Error};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    key_value::add_to_linker::<_, Interfaces>(linker, view)
}

convert_error!(Error);

impl key_value::Host for View<'_> {}

impl key_value::HostStore for View<'_> {
    async fn open(&mut self, label: String) -> Result<Resource<Store>, Error> {
        Ok(self.open_store(&label).await?)
    }

    async fn get(&mut self, store: Resource<Store>, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store(&store)?.get(&key).await?)
    }

    async fn set(
        &mut self,
        store: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self.store(&store)?.set(&key, value).await?)
    }

    async fn delete(&mut self, store: Resource<Store>, key: String) -> Result<(), Error> {
        Ok(self.store(&store)?.delete(&key).await?)
    }

    async fn exists(&mut self, store: Resource<Store>, key: String) -> Result<bool, Error> {
        Ok(self.store(&store)?.exists(&key).await?)
    }

    async fn get_keys(&mut self, store: Resource<Store>) -> Result<Vec<String>, Error> {
        Ok(self.store(&store)?.keys().await?)
    }

    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
