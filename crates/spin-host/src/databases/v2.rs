//! `fermyon:spin/sqlite@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::{Connection, convert};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin@2.0.0;
        interface sqlite {
            resource connection {
                open: static func(database: string) -> result<connection, error>;
                execute: func(statement: string, parameters: list<value>)
                    -> result<query-result, error>;
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
    imports: { default: async },
    with: { "fermyon:spin/sqlite.connection": crate::databases::Connection },
}

use generated::fermyon::spin::sqlite::{self, Error, QueryResult, RowResult, Value};

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

    async fn drop(&mut self, opened: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(opened)?;
        Ok(())
    }
}
