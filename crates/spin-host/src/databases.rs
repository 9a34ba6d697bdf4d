//! SQLite databases: `fermyon:spin/sqlite`, `spin:sqlite`.
//!
//! | file | what |
//! |---|---|
//! | `v1`, `v2`, `v3` | the interface, by its versions |

mod v1;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{ErrorCode, params_from_iter};
use tokio::sync::{Mutex, Semaphore};
use wasmtime::component::{Linker, Resource};

use crate::View;
use crate::component::ComponentHost;
use crate::runtime_config::Location;
use crate::sqlite_file::{SqliteFile, is_too_deep};

/// How many connections may be open at a time, each of which has a file open and pages in memory.
const MAX_CONNECTIONS: usize = 256;
/// The most that one statement may reply.
const MAX_REPLY: usize = 64 << 20;

/// All databases of an application.
#[derive(Debug)]
pub(crate) struct Databases {
    configured: BTreeMap<String, Location>,
    /// Those in memory, which all connections share.
    in_memory: Mutex<BTreeMap<String, SqliteFile>>,
    permits: Arc<Semaphore>,
}

/// A connection that a component has opened: a transaction ends with it.
#[derive(Debug, Clone)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub struct Connection {
    file: SqliteFile,
}

/// Why a call fails.
#[derive(Debug)]
enum Failure {
    NoSuchDatabase,
    AccessDenied,
    InvalidConnection,
    Full,
    Io(String),
}

/// What a statement replies.
#[derive(Debug, PartialEq)]
struct Reply {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Databases {
    pub(crate) fn new(configured: BTreeMap<String, Location>) -> Self {
        Self {
            configured,
            in_memory: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// Whether there is a database of this name.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.configured.contains_key(label)
    }

    async fn connect(&self, label: &str) -> Result<Connection, Failure> {
        let location = self.configured.get(label).ok_or(Failure::NoSuchDatabase)?;
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| {
            Failure::Io(format!(
                "{MAX_CONNECTIONS} connections are open, which is the most: close some"
            ))
        })?;
        let file = match location {
            Location::File(_) => {
                let location = location.clone();
                let opening = tokio::task::spawn_blocking(move || SqliteFile::open(&location, &[]));
                opening.await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Location::Memory => {
                let mut in_memory = self.in_memory.lock().await;
                match in_memory.get(label) {
                    Some(file) => Ok(file.clone()),
                    None => SqliteFile::open(location, &[]).inspect(|file| {
                        in_memory.insert(label.to_owned(), file.clone());
                    }),
                }
            }
        };
        Ok(Connection {
            file: file.map_err(Failure::Io)?.with(permit),
        })
    }
}

impl Connection {
    /// Opens the database `label` for a component.
    async fn open(host: &ComponentHost, label: &str) -> Result<Self, Failure> {
        let allowed = &host.config.databases;
        let shared = host.shared.as_ref().ok_or(Failure::AccessDenied)?;
        if !allowed.iter().any(|allowed| allowed == label) {
            (host.config.log)(&format!(
                "component {:?} may not open the SQLite database {label:?}: add {label:?} to its \
                 sqlite_databases",
                host.config.id
            ));
            return Err(Failure::AccessDenied);
        }
        shared.databases.connect(label).await
    }

    async fn execute(&self, statement: String, values: Vec<Value>) -> Result<Reply, Failure> {
        if is_too_deep(&statement) {
            let sentence =
                "the parentheses of the statement are within each other more than 500 deep";
            return Err(Failure::Io(sentence.to_owned()));
        }
        let done = self.file.run(move |connection| {
            let mut statement = connection.prepare(&statement)?;
            let names = statement.column_names();
            let columns: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let mut found = statement.query(params_from_iter(values))?;
            let mut rows = Vec::new();
            let mut left = MAX_REPLY;
            while let Some(row) = found.next()? {
                let row: Vec<Value> = (0..columns.len())
                    .map(|column| row.get(column))
                    .collect::<Result<_, _>>()?;
                match left.checked_sub(size(&row)) {
                    Some(rest) => left = rest,
                    None => return Ok(None),
                }
                rows.push(row);
            }
            Ok(Some(Reply { columns, rows }))
        });
        let reply = done
            .await
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Failure::Full,
                _ => Failure::Io(error.to_string()),
            })?;
        reply.ok_or_else(|| {
            Failure::Io(format!(
                "the rows are more than {MAX_REPLY} bytes: ask for fewer by LIMIT"
            ))
        })
    }

    async fn last_insert_rowid(&self) -> Result<i64, String> {
        let done = self
            .file
            .run(|connection| Ok(connection.last_insert_rowid()));
        done.await.map_err(|error| error.to_string())
    }

    async fn changes(&self) -> Result<u64, String> {
        let done = self.file.run(|connection| Ok(connection.changes()));
        done.await.map_err(|error| error.to_string())
    }
}

/// What a row takes in memory, roughly.
fn size(row: &[Value]) -> usize {
    let value = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    };
    size_of_val(row) + row.iter().map(value).sum::<usize>()
}

impl View<'_> {
    fn keep_connection(&mut self, connection: Connection) -> Result<Resource<Connection>, Failure> {
        let kept = self.table.push(connection);
        kept.map_err(|error| Failure::Io(error.to_string()))
    }

    fn connection(&self, connection: &Resource<Connection>) -> Result<Connection, Failure> {
        let connection = self.table.get(connection).cloned();
        connection.map_err(|_| Failure::InvalidConnection)
    }
}

/// Adds those that a component imports.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    if imports("fermyon:spin/sqlite") {
        v1::add_to_linker(linker, view)?;
    }
    if imports("fermyon:spin/sqlite@2") {
        v2::add_to_linker(linker, view)?;
    }
    if imports("spin:sqlite/sqlite@3") {
        v3::add_to_linker(linker, view)?;
    }
    Ok(())
}

/// Turns the generated values and errors of one version into those of this module, and back.
macro_rules! convert {
    ($error:ident, $value:ident, $result:ident, $row:ident) => {
        impl From<crate::databases::Failure> for $error {
            fn from(failure: crate::databases::Failure) -> Self {
                match failure {
                    crate::databases::Failure::NoSuchDatabase => Self::NoSuchDatabase,
                    crate::databases::Failure::AccessDenied => Self::AccessDenied,
                    crate::databases::Failure::InvalidConnection => Self::InvalidConnection,
                    crate::databases::Failure::Full => Self::DatabaseFull,
                    crate::databases::Failure::Io(text) => Self::Io(text),
                }
            }
        }

        impl From<$value> for rusqlite::types::Value {
            fn from(value: $value) -> Self {
                match value {
                    $value::Integer(number) => Self::Integer(number),
                    $value::Real(number) => Self::Real(number),
                    $value::Text(text) => Self::Text(text),
                    $value::Blob(bytes) => Self::Blob(bytes),
                    $value::Null => Self::Null,
                }
            }
        }

        impl From<rusqlite::types::Value> for $value {
            fn from(value: rusqlite::types::Value) -> Self {
                match value {
                    rusqlite::types::Value::Integer(number) => Self::Integer(number),
                    rusqlite::types::Value::Real(number) => Self::Real(number),
                    rusqlite::types::Value::Text(text) => Self::Text(text),
                    rusqlite::types::Value::Blob(bytes) => Self::Blob(bytes),
                    rusqlite::types::Value::Null => Self::Null,
                }
            }
        }

        impl From<Vec<rusqlite::types::Value>> for $row {
            fn from(values: Vec<rusqlite::types::Value>) -> Self {
                Self {
                    values: values.into_iter().map($value::from).collect(),
                }
            }
        }

        impl From<crate::databases::Reply> for $result {
            fn from(reply: crate::databases::Reply) -> Self {
                Self {
                    columns: reply.columns,
                    rows: reply.rows.into_iter().map($row::from).collect(),
                }
            }
        }
    };
}
use convert;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use rusqlite::types::Value;

    use super::{Connection, Databases, Failure};
    use crate::runtime_config::Location;

    fn databases(dir: &Path) -> Databases {
        Databases::new(BTreeMap::from([
            ("default".into(), Location::File(dir.join("d.db"))),
            ("short".into(), Location::Memory),
        ]))
    }

    async fn run(connection: &Connection, statement: &str, values: Vec<Value>) -> Vec<Vec<Value>> {
        let reply = connection.execute(statement.into(), values).await;
        reply.unwrap().rows
    }

    #[tokio::test]
    async fn rows_are_what_was_put_in() {
        let dir = tempfile::tempdir().unwrap();
        let databases = databases(dir.path());
        for label in ["default", "short"] {
            let connection = databases.connect(label).await.unwrap();
            run(&connection, "CREATE TABLE t (a, b, c, d, e)", Vec::new()).await;
            let row = vec![
                Value::Integer(-1),
                Value::Real(0.5),
                Value::Text("ä".into()),
                Value::Blob(vec![0, 1]),
                Value::Null,
            ];
            run(
                &connection,
                "INSERT INTO t VALUES (?, ?, ?, ?, ?)",
                row.clone(),
            )
            .await;
            assert_eq!(connection.last_insert_rowid().await, Ok(1));
            assert_eq!(connection.changes().await, Ok(1));
            let other = databases.connect(label).await.unwrap();
            assert_eq!(run(&other, "SELECT * FROM t", Vec::new()).await, [row]);
        }
    }

    #[tokio::test]
    async fn an_open_transaction_ends_with_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let databases = databases(dir.path());
        let connection = databases.connect("default").await.unwrap();
        run(&connection, "CREATE TABLE t (a)", Vec::new()).await;
        run(&connection, "BEGIN", Vec::new()).await;
        run(&connection, "INSERT INTO t VALUES (1)", Vec::new()).await;
        drop(connection);
        let other = databases.connect("default").await.unwrap();
        assert!(run(&other, "SELECT * FROM t", Vec::new()).await.is_empty());
        run(&other, "INSERT INTO t VALUES (2)", Vec::new()).await;
    }

    #[tokio::test]
    async fn what_is_too_much_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let databases = databases(dir.path());
        assert!(matches!(
            databases.connect("none").await,
            Err(Failure::NoSuchDatabase)
        ));
        let connection = databases.connect("short").await.unwrap();
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                       SELECT x, zeroblob(1000000) FROM n";
        let reply = connection.execute(endless.into(), Vec::new()).await;
        let Err(Failure::Io(text)) = reply else {
            panic!("{reply:?}")
        };
        assert!(text.contains("LIMIT"), "{text}");
        let mut open = Vec::new();
        let refused = loop {
            match databases.connect("short").await {
                Ok(connection) => open.push(connection),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, Failure::Io(text) if text.contains("connections are open")));
    }

    #[tokio::test]
    async fn a_statement_ends_with_the_request_that_waits_for_it() {
        let databases = Databases::new(BTreeMap::from([("short".into(), Location::Memory)]));
        let connection = databases.connect("short").await.unwrap();
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                       SELECT count(*) FROM n";
        let waiting = tokio::spawn({
            let connection = connection.clone();
            async move { connection.execute(endless.into(), Vec::new()).await }
        });
        connection.file.until_busy().await;
        waiting.abort();
        // The connection is free again, or this one waits for ever.
        let reply = connection.execute("SELECT 1".into(), Vec::new()).await;
        assert_eq!(reply.unwrap().rows, [[Value::Integer(1)]]);
    }
}
