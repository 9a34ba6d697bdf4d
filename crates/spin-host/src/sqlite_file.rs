//! An SQLite file, and what guests may do with it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use crate::runtime_config::Location;

/// The largest string, blob or row.
pub(crate) const MAX_VALUE: usize = 16 << 20;
/// The longest statement.
const MAX_STATEMENT: i32 = 1 << 20;

/// After how many instructions of SQLite's a statement looks whether it is still wanted.
const INSTRUCTIONS: std::ffi::c_int = 10_000;

/// A file that is open. Calls wait for each other.
#[derive(Debug, Clone)]
pub(crate) struct SqliteFile {
    connection: Arc<Mutex<Connection>>,
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
        })
    }

    /// Runs `work` on a thread that may wait.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, rusqlite::Error> {
        let connection = self.connection.clone();
        let unwanted = Arc::new(AtomicBool::new(false));
        let end = EndOnDrop(unwanted.clone());
        let done = tokio::task::spawn_blocking(move || {
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
    // A container's root may have no place for a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.authorizer(Some(|context: AuthContext<'_>| authorize(&context.action)));
    Ok(())
}

fn authorize(action: &AuthAction<'_>) -> Authorization {
    match action {
        // VACUUM attaches a database without a name, which is a temporary one, and VACUUM INTO one with.
        AuthAction::Attach { filename } if ["", ":memory:"].contains(filename) => {
            Authorization::Allow
        }
        AuthAction::Attach { .. } => Authorization::Deny,
        // Where temporary files are is said for the whole process.
        AuthAction::Pragma { pragma_name, .. }
            if pragma_name.eq_ignore_ascii_case("temp_store_directory") =>
        {
            Authorization::Deny
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
        ] {
            let error = run(&statement).unwrap_err();
            assert!(error.contains("authoriz"), "{statement}: {error}");
        }
        assert!(!other.exists());
        run("CREATE TABLE t (x); VACUUM; ATTACH '' AS other; ATTACH ':memory:' AS memory").unwrap();
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
