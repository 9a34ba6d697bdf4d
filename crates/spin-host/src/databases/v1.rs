//! `fermyon:spin/sqlite` without a version, whose connections are numbers.

use wasmtime::component::{Linker, Resource};

use super::{Connection, convert};
use crate::{Interfaces, View};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin;
        interface sqlite {
            type connection = u32;
            variant error {
                no-such-database, access-denied, invalid-connection, database-full, io(string)
            }
            record query-result { columns: list<string>, rows: list<row-result> }
            record row-result { values: list<value> }
            variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
            open: func(database: string) -> result<connection, error>;
            execute: func(conn: connection, statement: string, parameters: list<value>)
                -> result<query-result, error>;
            close: func(conn: connection);
        }
        world imports { import sqlite; }
    "#,
    imports: { default: async },
}

use generated::fermyon::spin::sqlite::{self, Error, QueryResult, RowResult, Value};

convert!(Error, Value, QueryResult, RowResult);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    sqlite::add_to_linker::<_, Interfaces>(linker, view)
}

impl sqlite::Host for View<'_> {
    async fn open(&mut self, database: String) -> Result<u32, Error> {
        let connection = Connection::open(self.host, &database).await?;
        Ok(self.keep_connection(connection)?.rep())
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        values: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let connection = self.connection(&Resource::new_own(connection))?;
        let values = values.into_iter().map(Into::into).collect();
        Ok(connection.execute(statement, values).await?.into())
    }

    async fn close(&mut self, connection: u32) {
        // One that is not open needs no closing.
        drop(
            self.table
                .delete::<Connection>(Resource::new_own(connection)),
        );
    }
}
