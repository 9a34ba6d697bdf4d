//! `fermyon:spin/redis@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::{Argument, Connection};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin@2.0.0;
        interface redis {
            variant error { invalid-address, too-many-connections, type-error, other(string) }
            type payload = list<u8>;
            variant redis-parameter { int64(s64), binary(payload) }
            variant redis-result { nil, status(string), int64(s64), binary(payload) }
            resource connection {
                open: static func(address: string) -> result<connection, error>;
                publish: func(channel: string, payload: payload) -> result<_, error>;
                get: func(key: string) -> result<option<payload>, error>;
                set: func(key: string, value: payload) -> result<_, error>;
                incr: func(key: string) -> result<s64, error>;
                del: func(keys: list<string>) -> result<u32, error>;
                sadd: func(key: string, values: list<string>) -> result<u32, error>;
                smembers: func(key: string) -> result<list<string>, error>;
                srem: func(key: string, values: list<string>) -> result<u32, error>;
                execute: func(command: string, arguments: list<redis-parameter>)
                    -> result<list<redis-result>, error>;
            }
        }
        world imports { import redis; }
    "#,
    imports: { default: async },
    with: { "fermyon:spin/redis.connection": crate::redis::Connection },
}

use generated::fermyon::spin::redis::{self, Error, RedisParameter, RedisResult};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    redis::add_to_linker::<_, Interfaces>(linker, view)
}

convert_error!(Error);
convert!(RedisParameter, RedisResult);

impl redis::Host for View<'_> {}

impl redis::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, Error> {
        let connection = Connection::open(self.host, &address).await?;
        Ok(self.keep_redis(connection)?)
    }

    async fn publish(
        &mut self,
        opened: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self
            .opened_redis(&opened)?
            .publish(&channel, &payload)
            .await?)
    }

    async fn get(
        &mut self,
        opened: Resource<Connection>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.opened_redis(&opened)?.get(&key).await?)
    }

    async fn set(
        &mut self,
        opened: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self.opened_redis(&opened)?.set(&key, &value).await?)
    }

    async fn incr(&mut self, opened: Resource<Connection>, key: String) -> Result<i64, Error> {
        Ok(self.opened_redis(&opened)?.incr(&key).await?)
    }

    async fn del(&mut self, opened: Resource<Connection>, keys: Vec<String>) -> Result<u32, Error> {
        Ok(self.opened_redis(&opened)?.del(&keys).await?)
    }

    async fn sadd(
        &mut self,
        opened: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Ok(self.opened_redis(&opened)?.sadd(&key, &values).await?)
    }

    async fn smembers(
        &mut self,
        opened: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, Error> {
        Ok(self.opened_redis(&opened)?.smembers(&key).await?)
    }

    async fn srem(
        &mut self,
        opened: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Ok(self.opened_redis(&opened)?.srem(&key, &values).await?)
    }

    async fn execute(
        &mut self,
        opened: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let arguments = arguments.into_iter().map(Argument::from).collect();
        let replied = self
            .opened_redis(&opened)?
            .execute(&command, arguments)
            .await?;
        Ok(replied.into_iter().map(RedisResult::from).collect())
    }

    async fn drop(&mut self, opened: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(opened)?;
        Ok(())
    }
}
