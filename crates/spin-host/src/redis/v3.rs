//! `spin:redis@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, Linker, Resource};

use super::{Argument, Connection, Failure};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package spin:redis@3.0.0;
        interface redis {
            variant error { invalid-address, too-many-connections, type-error, other(string) }
            type payload = list<u8>;
            variant redis-parameter { int64(s64), binary(payload) }
            variant redis-result { nil, status(string), int64(s64), binary(payload) }
            resource connection {
                open: static async func(address: string) -> result<connection, error>;
                publish: async func(channel: string, payload: payload) -> result<_, error>;
                get: async func(key: string) -> result<option<payload>, error>;
                set: async func(key: string, value: payload) -> result<_, error>;
                incr: async func(key: string) -> result<s64, error>;
                del: async func(keys: list<string>) -> result<u32, error>;
                sadd: async func(key: string, values: list<string>) -> result<u32, error>;
                smembers: async func(key: string) -> result<list<string>, error>;
                srem: async func(key: string, values: list<string>) -> result<u32, error>;
                execute: async func(command: string, arguments: list<redis-parameter>)
                    -> result<list<redis-result>, error>;
            }
        }
        world imports { import redis; }
    "#,
    with: { "spin:redis/redis.connection": crate::redis::Connection },
}

use generated::spin::redis::redis::{self, Error, RedisParameter, RedisResult};

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
    fn drop(&mut self, opened: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(opened)?;
        Ok(())
    }
}

/// The connection that a guest has opened.
fn connection<T>(
    accessor: &Accessor<T, Interfaces>,
    opened: &Resource<Connection>,
) -> Result<Connection, Failure> {
    accessor.with(|mut access| access.get().opened_redis(opened))
}

impl<T: Send + 'static> redis::HostConnectionWithStore<T> for Interfaces {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Result<Resource<Connection>, Error> {
        let host = accessor.with(|mut access| access.get().host.clone());
        let connection = Connection::open(&host, &address).await?;
        Ok(accessor.with(|mut access| access.get().keep_redis(connection))?)
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(connection(accessor, &opened)?
            .publish(&channel, &payload)
            .await?)
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(connection(accessor, &opened)?.get(&key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(connection(accessor, &opened)?.set(&key, &value).await?)
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
    ) -> Result<i64, Error> {
        Ok(connection(accessor, &opened)?.incr(&key).await?)
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        keys: Vec<String>,
    ) -> Result<u32, Error> {
        Ok(connection(accessor, &opened)?.del(&keys).await?)
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Ok(connection(accessor, &opened)?.sadd(&key, &values).await?)
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, Error> {
        Ok(connection(accessor, &opened)?.smembers(&key).await?)
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Ok(connection(accessor, &opened)?.srem(&key, &values).await?)
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let arguments = arguments.into_iter().map(Argument::from).collect();
        let replied = connection(accessor, &opened)?
            .execute(&command, arguments)
            .await?;
        Ok(replied.into_iter().map(RedisResult::from).collect())
    }
}
