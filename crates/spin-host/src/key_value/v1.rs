//! `fermyon:spin/key-value` without a version, whose stores are numbers.

use wasmtime::component::{Linker, Resource};

use super::{Failure, Store};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin;
        interface key-value {
            type store = u32;
            variant error {
                store-table-full, no-such-store, access-denied, invalid-store, no-such-key, io(string)
            }
            open: func(name: string) -> result<store, error>;
            get: func(store: store, key: string) -> result<list<u8>, error>;
            set: func(store: store, key: string, value: list<u8>) -> result<_, error>;
            delete: func(store: store, key: string) -> result<_, error>;
            exists: func(store: store, key: string) -> result<bool, error>;
            get-keys: func(store: store) -> result<list<string>, error>;
            close: func(store: store);
        }
        world imports { import key-value; }
    "#,
    imports: { default: async },
}

use generated::fermyon::spin::key_value::{self, Error};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    key_value::add_to_linker::<_, Interfaces>(linker, view)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooManyOpen => Self::StoreTableFull,
            Failure::NoSuchStore => Self::NoSuchStore,
            Failure::AccessDenied => Self::AccessDenied,
            Failure::NotOpen => Self::InvalidStore,
            Failure::Other(text) => Self::Io(text),
        }
    }
}

impl key_value::Host for View<'_> {
    async fn open(&mut self, name: String) -> Result<u32, Error> {
        Ok(self.open_store(&name).await?.rep())
    }

    async fn get(&mut self, store: u32, key: String) -> Result<Vec<u8>, Error> {
        let value = self.store(&Resource::new_own(store))?.get(&key).await?;
        value.ok_or(Error::NoSuchKey)
    }

    async fn set(&mut self, store: u32, key: String, value: Vec<u8>) -> Result<(), Error> {
        let store = self.store(&Resource::new_own(store))?;
        Ok(store.set(&key, value).await?)
    }

    async fn delete(&mut self, store: u32, key: String) -> Result<(), Error> {
        let store = self.store(&Resource::new_own(store))?;
        Ok(store.delete(&key).await?)
    }

    async fn exists(&mut self, store: u32, key: String) -> Result<bool, Error> {
        let store = self.store(&Resource::new_own(store))?;
        Ok(store.exists(&key).await?)
    }

    async fn get_keys(&mut self, store: u32) -> Result<Vec<String>, Error> {
        Ok(self.store(&Resource::new_own(store))?.keys().await?)
    }

    async fn close(&mut self, store: u32) {
        // One that is not open needs no closing.
        drop(self.table.delete::<Store>(Resource::new_own(store)));
    }
}
