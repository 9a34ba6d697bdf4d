//! `fermyon:spin/redis` without a version, whose calls name the server.

use wasmtime::component::Linker;

use super::{Argument, Connection, Failure};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin;
        interface redis-types {
            enum error { success, error }
            type payload = list<u8>;
            variant redis-parameter { int64(s64), binary(payload) }
            variant redis-result { nil, status(string), int64(s64), binary(payload) }
        }
        interface redis {
            use redis-types.{payload, redis-parameter, redis-result, error};
            publish: func(address: string, channel: string, payload: payload) -> result<_, error>;
            get: func(address: string, key: string) -> result<payload, error>;
            set: func(address: string, key: string, value: payload) -> result<_, error>;
            incr: func(address: string, key: string) -> result<s64, error>;
            del: func(address: string, keys: list<string>) -> result<s64, error>;
            sadd: func(address: string, key: string, values: list<string>) -> result<s64, error>;
            smembers: func(address: string, key: string) -> result<list<string>, error>;
            srem: func(address: string, key: string, values: list<string>) -> result<s64, error>;
            execute: func(address: string, command: string, arguments: list<redis-parameter>)
                -> result<list<redis-result>, error>;
        }
        world imports { import redis; }
    "#,
    imports: { default: async },
}

use generated::fermyon::spin::redis;
use generated::fermyon::spin::redis_types::{self, Error, RedisParameter, RedisResult};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    redis_types::add_to_linker::<_, Interfaces>(linker, view)?;
    redis::add_to_linker::<_, Interfaces>(linker, view)
}

convert!(RedisParameter, RedisResult);

/// All that a guest can be told.
impl From<Failure> for Error {
    fn from(_: Failure) -> Self {
        Self::Error
    }
}

impl View<'_> {
    async fn redis(&mut self, address: &str) -> Result<Connection, Error> {
        Ok(Connection::open(self.host, address).await?)
    }
}

impl redis_types::Host for View<'_> {}

impl redis::Host for View<'_> {
    async fn publish(
        &mut self,
        address: String,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self
            .redis(&address)
            .await?
            .publish(&channel, &payload)
            .await?)
    }

    async fn get(&mut self, address: String, key: String) -> Result<Vec<u8>, Error> {
        let value = self.redis(&address).await?.get(&key).await?;
        Ok(value.unwrap_or_default())
    }

    async fn set(&mut self, address: String, key: String, value: Vec<u8>) -> Result<(), Error> {
        Ok(self.redis(&address).await?.set(&key, &value).await?)
    }

    async fn incr(&mut self, address: String, key: String) -> Result<i64, Error> {
        Ok(self.redis(&address).await?.incr(&key).await?)
    }

    async fn del(&mut self, address: String, keys: Vec<String>) -> Result<i64, Error> {
        Ok(self.redis(&address).await?.del(&keys).await?.into())
    }

    async fn sadd(
        &mut self,
        address: String,
        key: String,
        values: Vec<String>,
    ) -> Result<i64, Error> {
        Ok(self
            .redis(&address)
            .await?
            .sadd(&key, &values)
            .await?
            .into())
    }

    async fn smembers(&mut self, address: String, key: String) -> Result<Vec<String>, Error> {
        Ok(self.redis(&address).await?.smembers(&key).await?)
    }

    async fn srem(
        &mut self,
        address: String,
        key: String,
        values: Vec<String>,
    ) -> Result<i64, Error> {
        Ok(self
            .redis(&address)
            .await?
            .srem(&key, &values)
            .await?
            .into())
    }

    async fn execute(
        &mut self,
        address: String,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let arguments = arguments.into_iter().map(Argument::from);
        let connection = self.redis(&address).await?;
        let replied = connection.execute(&command, arguments.collect()).await?;
        Ok(replied.into_iter().map(RedisResult::from).collect())
    }
}
