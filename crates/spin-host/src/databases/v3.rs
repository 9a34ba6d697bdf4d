//! `spin:sqlite@3.1.0`, which has all of 3.0.0 and asynchronous functions.

use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::{Connection, Failure, convert};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package spin:sqlite@3.1.0;
        interface sqlite {
            resource connection {
                open: static func(database: string) -> result<connection, error>;
                open-async: static async func(database: string) -> result<connection, error>;
                execute: func(statement: string, parameters: list<value>)
                    -> result<query-result, error>;
                execute-async: async func(statement: string, parameters: list<value>)
                    -> result<tuple<list<string>, stream<row-result>, future<result<_, error>>>, error>;
                last-insert-rowid: func() -> s64;
                last-insert-rowid-async: async func() -> s64;
                changes: func() -> u64;
                changes-async: async func() -> u64;
            }
            variant error {
                no-such-database, access-denied, invalid-connection, database-full, io(string)
            }
            record query-result { columns: list<string>, rows: list<row-result> }
            record row-result { values: list<value> }
            variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
        }
        world imports { import sqlite; }
    "#,
    imports: {
        "spin:sqlite/sqlite.[static]connection.open": async,
        "spin:sqlite/sqlite.[method]connection.execute": async,
        "spin:sqlite/sqlite.[method]connection.last-insert-rowid": async | trappable,
        "spin:sqlite/sqlite.[method]connection.changes": async | trappable,
        default: trappable,
    },
    with: { "spin:sqlite/sqlite.connection": crate::databases::Connection },
}

use generated::spin::sqlite::sqlite::{self, Error, QueryResult, RowResult, Value};

convert!(Error, Value, QueryResult, RowResult);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    sqlite::add_to_linker::<_, Interfaces>(linker, view)
}

impl sqlite::Host for View<'_> {}

impl sqlite::HostConnection for View<'_> {
    async fn open(&mut self, database: String) -> Result<Resource<Connection>, Error> {
        let connection = Connection::open(self.host, &database).await?;
        Ok(self.keep_connection(connection)?)
    }

    async fn execute(
        &mut self,
        opened: Resource<Connection>,
        statement: String,
        values: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let values = values.into_iter().map(Into::into).collect();
        let reply = self.connection(&opened)?.execute(statement, values).await?;
        Ok(reply.into())
    }

    async fn last_insert_rowid(&mut self, opened: Resource<Connection>) -> wasmtime::Result<i64> {
        let rowid = self.table.get(&opened)?.clone().last_insert_rowid().await;
        rowid.map_err(wasmtime::Error::msg)
    }

    async fn changes(&mut self, opened: Resource<Connection>) -> wasmtime::Result<u64> {
        let changes = self.table.get(&opened)?.clone().changes().await;
        changes.map_err(wasmtime::Error::msg)
    }

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
    accessor.with(|mut access| access.get().connection(opened))
}

/// A reply: the names of its columns, its rows, and whether these are all.
type Rows = (
    Vec<String>,
    StreamReader<RowResult>,
    FutureReader<Result<(), Error>>,
);

impl<T: Send + 'static> sqlite::HostConnectionWithStore<T> for Interfaces {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let host = accessor.with(|mut access| access.get().host.clone());
        let opened = match Connection::open(&host, &database).await {
            Ok(connection) => accessor.with(|mut access| access.get().keep_connection(connection)),
            Err(failure) => Err(failure),
        };
        Ok(opened.map_err(Error::from))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
        statement: String,
        values: Vec<Value>,
    ) -> wasmtime::Result<Result<Rows, Error>> {
        let values = values.into_iter().map(Into::into).collect();
        let reply = match connection(accessor, &opened) {
            Ok(connection) => connection.execute(statement, values).await,
            Err(failure) => Err(failure),
        };
        let QueryResult { columns, rows } = match reply {
            Ok(reply) => reply.into(),
            Err(failure) => return Ok(Err(failure.into())),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let result =
                FutureReader::new(&mut access, async { Ok::<_, wasmtime::Error>(Ok(())) })?;
            Ok(Ok((columns, rows, result)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().table.get(&opened).cloned())?;
        let rowid = connection.last_insert_rowid().await;
        rowid.map_err(wasmtime::Error::msg)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        opened: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().table.get(&opened).cloned())?;
        let changes = connection.changes().await;
        changes.map_err(wasmtime::Error::msg)
    }
}
