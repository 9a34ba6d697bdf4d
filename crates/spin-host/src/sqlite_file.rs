//! An SQLite file, and what guests may do with it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime_config::Location;

/// The largest string, blob or row.
pub(crate) const MAX_VALUE: usize = 16 << 20;
/// The longest statement.
const MAX_STATEMENT: i32 = 1 << 20;

/// After how many instructions of SQLite's a statement looks whether it is still wanted.
const INSTRUCTIONS: std::ffi::c_int = 100;

/// How much memory SQLite may take, for all of an application's files: it takes it from no component's budget.
const MAX_MEMORY: i64 = 128 << 20;
/// The longest pattern of LIKE and GLOB, each character of which may take of a thread's stack.
const MAX_PATTERN: i32 = 1000;
/// How deep parentheses may be within each other, for the same reason.
const MAX_DEPTH: usize = 500;

/// What a guest may ask of a database and set there. Others hold for the whole process, for files, or for how
/// long a call may wait.
const PRAGMAS: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "collation_list",
    "data_version",
    "database_list",
    "defer_foreign_keys",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "optimize",
    "page_count",
    "page_size",
    "quick_check",
    "recursive_triggers",
    "schema_version",
    "synchronous",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// A file that is open. Calls wait for each other.
#[derive(Debug, Clone)]
pub(crate) struct SqliteFile {
    connection: Arc<Mutex<Connection>>,
    /// Held while a call runs, even one whose request is gone; those that wait take no thread.
    turn: Arc<Semaphore>,
    /// What is there as long as a call runs, too.
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// Ends a call when the request that asked for it is gone.
struct EndOnDrop(Arc<AtomicBool>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SqliteFile {
    /// Opens it, and makes it where it is missing. `setup` is run before a guest's statements are.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn open(location: &Location, setup: &[&str]) -> Result<Self, String> {
        let (connection, name) = match location {
            Location::Memory => (Connection::open_in_memory(), "in memory".to_owned()),
            Location::File(path) => {
                make_dir(path)?;
                (Connection::open(path), path.display().to_string())
            }
        };
        let opened = connection.and_then(|connection| {
            restrict(&connection)?;
            setup
                .iter()
                .try_for_each(|statement| connection.execute_batch(statement))?;
            Ok(connection)
        });
        let connection = opened.map_err(|error| {
            format!(
                "can't open the SQLite database {name}: {error}; mount a volume there that the \
                 container's user may write to, or set SPIN_STATE_DIR to the path of one"
            )
        })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            turn: Arc::new(Semaphore::new(1)),
            permit: None,
        })
    }

    /// The same file, which holds on to `permit`.
    pub(crate) fn with(self, permit: OwnedSemaphorePermit) -> Self {
        Self {
            permit: Some(Arc::new(permit)),
            ..self
        }
    }

    /// Runs `work` on a thread that may wait.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, rusqlite::Error> {
        let connection = self.connection.clone();
        let turn = self.turn.clone().acquire_owned().await.ok();
        let held = (turn, self.permit.clone());
        let unwanted = Arc::new(AtomicBool::new(false));
        let end = EndOnDrop(unwanted.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _held = held;
            let mut connection = lock(&connection);
            if unwanted.load(Ordering::Relaxed) {
                return Err(rusqlite::Error::InvalidQuery);
            }
            let is_unwanted = move || unwanted.load(Ordering::Relaxed);
            connection.progress_handler(INSTRUCTIONS, Some(is_unwanted));
            work(&mut connection)
        });
        let result = done.await;
        drop(end);
        // Only a fault of this program makes it panic; the guest gets it as an error.
        result.unwrap_or_else(|panicked| {
            Err(rusqlite::Error::ToSqlConversionFailure(panicked.into()))
        })
    }
}

#[cfg(test)]
impl SqliteFile {
    /// Waits until a statement runs.
    pub(crate) async fn until_busy(&self) {
        while self.connection.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

fn make_dir(path: &Path) -> Result<(), String> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(|error| {
        format!(
            "can't make the dir {} for an SQLite database: {error}; set SPIN_STATE_DIR to the path of a \
             volume that the container's user may write to",
            dir.display()
        )
    })
}

/// Guests may not read or write other files by way of SQL, nor break the database's own tables.
fn restrict(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let max_value = i32::try_from(MAX_VALUE).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, max_value)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)?;
    // For the process: it is the same value each time.
    connection.pragma_update(None, "hard_heap_limit", MAX_MEMORY)?;
    // A container's root may have no place for a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.authorizer(Some(|context: AuthContext<'_>| authorize(&context.action)));
    Ok(())
}

/// Whether the parser of SQLite, which has no limit of its own, would go deeper than its thread can.
pub(crate) fn is_too_deep(statement: &str) -> bool {
    let mut depth = 0_usize;
    statement.bytes().any(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

fn authorize(action: &AuthAction<'_>) -> Authorization {
    match action {
        // VACUUM attaches a database without a name, which is a temporary one, and VACUUM INTO one with.
        AuthAction::Attach { filename } if ["", ":memory:"].contains(filename) => {
            Authorization::Allow
        }
        AuthAction::Attach { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } => {
            match PRAGMAS
                .iter()
                .any(|name| name.eq_ignore_ascii_case(pragma_name))
            {
                true => Authorization::Allow,
                false => Authorization::Deny,
            }
        }
        // An ATTACH whose name is no plain text, and what this library does not know.
        AuthAction::Unknown { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::SqliteFile;
    use crate::runtime_config::Location;

    fn run(statement: &str) -> Result<(), String> {
        let file = SqliteFile::open(&Location::Memory, &[])?;
        let connection = file.connection.lock().unwrap();
        let error = connection.execute_batch(statement).err();
        error.map_or(Ok(()), |error| Err(error.to_string()))
    }

    #[test]
    fn no_statement_comes_to_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other.db");
        let path = other.display();
        for statement in [
            format!("ATTACH '{path}' AS other"),
            format!("ATTACH 'file:{path}' AS other"),
            format!("ATTACH '' || '{path}' AS other"),
            format!("CREATE TABLE t (x); VACUUM INTO '{path}'"),
            format!("CREATE TABLE t (x); VACUUM INTO '{path}' || ''"),
            "PRAGMA temp_store_directory = '/tmp'".to_owned(),
            "PRAGMA hard_heap_limit = 1".to_owned(),
            "PRAGMA soft_heap_limit = 1".to_owned(),
            "PRAGMA busy_timeout = 2147483647".to_owned(),
            "PRAGMA trusted_schema = 1".to_owned(),
        ] {
            let error = run(&statement).unwrap_err();
            assert!(error.contains("authoriz"), "{statement}: {error}");
        }
        assert!(!other.exists());
        run("CREATE TABLE t (x); PRAGMA table_info(t); PRAGMA user_version = 3; PRAGMA Foreign_Keys = ON").unwrap();
        run("CREATE TABLE t (x); VACUUM; ATTACH '' AS other; ATTACH ':memory:' AS memory").unwrap();
    }

    #[test]
    fn what_takes_of_the_stack_is_bounded() {
        let pattern = "%a".repeat(20_000);
        let error = run(&format!("SELECT '{pattern}' LIKE '{pattern}'")).unwrap_err();
        assert!(error.contains("pattern too complex"), "{error}");
        let nested = |depth: usize| {
            format!(
                "{}SELECT 1{}",
                "SELECT * FROM (".repeat(depth),
                ")".repeat(depth)
            )
        };
        assert!(super::is_too_deep(&nested(501)));
        assert!(!super::is_too_deep(&nested(400)));
        run(&nested(400)).ok();
        assert!(!super::is_too_deep(&"(1), ".repeat(10_000)));
    }

    #[test]
    fn memory_of_all_files_is_bounded() {
        let grow = "CREATE TEMP TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) \
                    SELECT zeroblob(16000000) FROM n";
        let error = run(grow).unwrap_err();
        assert!(error.contains("out of memory"), "{error}");
        run("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    }

    #[test]
    fn values_are_bounded() {
        run("SELECT zeroblob(1000)").unwrap();
        let error = run("SELECT length(hex(zeroblob(10000000)))").unwrap_err();
        assert!(error.contains("too big"), "{error}");
        let error =
            run("PRAGMA writable_schema = 1; CREATE TABLE t (x); DELETE FROM sqlite_schema");
        assert!(error.is_err());
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_named() {
        let location = Location::File("/proc/none/sqlite_db.db".into());
        let error = SqliteFile::open(&location, &[]).unwrap_err();
        assert!(error.contains("/proc/none"), "{error}");
        assert!(error.contains("SPIN_STATE_DIR"), "{error}");
    }
}
