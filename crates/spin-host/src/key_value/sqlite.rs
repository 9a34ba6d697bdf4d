//! A store in an SQLite file, whose table is the one that Spin makes.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::runtime_config::Location;
use crate::sqlite_file::SqliteFile;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, \
                      value BLOB NOT NULL, PRIMARY KEY (store, key))";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ? AND key = ?";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?, ?, ?) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ? AND key = ?";
const EXISTS: &str = "SELECT 1 FROM spin_key_value WHERE store = ? AND key = ?";
const KEYS: &str = "SELECT key FROM spin_key_value WHERE store = ? ORDER BY key";

#[derive(Debug, Clone)]
pub(super) struct SqliteStore {
    file: SqliteFile,
    label: String,
}

impl SqliteStore {
    pub(super) fn open(label: &str, location: &Location) -> Result<Self, String> {
        Ok(Self {
            file: SqliteFile::open(location, &[CREATE])?,
            label: label.to_owned(),
        })
    }

    /// Runs `work` with the store's name and `key`.
    async fn run<R: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&mut Connection, &str, &str) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, String> {
        let (label, key) = (self.label.clone(), key.to_owned());
        let done = self
            .file
            .run(move |connection| work(connection, &label, &key));
        done.await.map_err(|error| error.to_string())
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.run(key, |connection, label, key| get(connection, label, key))
            .await
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        let set = move |connection: &mut Connection, label: &str, key: &str| {
            connection.execute(SET, params![label, key, value])
        };
        self.run(key, set).await.map(drop)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), String> {
        let delete = |connection: &mut Connection, label: &str, key: &str| {
            connection.execute(DELETE, params![label, key])
        };
        self.run(key, delete).await.map(drop)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, String> {
        let exists = |connection: &mut Connection, label: &str, key: &str| {
            connection
                .prepare_cached(EXISTS)?
                .exists(params![label, key])
        };
        self.run(key, exists).await
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, String> {
        let keys = |connection: &mut Connection, label: &str, _: &str| {
            let mut statement = connection.prepare_cached(KEYS)?;
            let mut rows = statement.query([label])?;
            let (mut keys, mut size) = (Vec::new(), 0_usize);
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                size += key.len();
                if size > super::MAX_REPLY {
                    return Ok(None);
                }
                keys.push(key);
            }
            Ok(Some(keys))
        };
        self.run("", keys).await?.ok_or_else(super::too_large)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, String> {
        let increment = move |connection: &mut Connection, label: &str, key: &str| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = get(&transaction, label, key)?;
            let sum = match sum(value, delta) {
                Ok(sum) => sum,
                Err(error) => return Ok(Err(error)),
            };
            transaction.execute(SET, params![label, key, sum.to_string().as_bytes()])?;
            transaction.commit()?;
            Ok(Ok(sum))
        };
        self.run(key, increment).await?
    }

    pub(super) async fn swap(
        &self,
        key: &str,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, String> {
        let swap = move |connection: &mut Connection, label: &str, key: &str| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if get(&transaction, label, key)? != old {
                return Ok(false);
            }
            transaction.execute(SET, params![label, key, new])?;
            transaction.commit()?;
            Ok(true)
        };
        self.run(key, swap).await
    }
}

fn get(connection: &Connection, label: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(GET)?;
    let value = statement.query_row(params![label, key], |row| row.get(0));
    value.optional()
}

/// What a counter is after `delta` more.
fn sum(value: Option<Vec<u8>>, delta: i64) -> Result<i64, String> {
    let value = value.unwrap_or_else(|| b"0".to_vec());
    let number = str::from_utf8(&value).ok();
    let number: Option<i64> = number.and_then(|text| text.parse().ok());
    number
        .ok_or_else(|| "the value is not a number".to_owned())?
        .checked_add(delta)
        .ok_or_else(|| "the number would be too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::SqliteStore;
    use crate::runtime_config::Location;

    #[tokio::test]
    async fn a_store_keeps_its_values_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::File(dir.path().join("state/kv.db"));
        let store = SqliteStore::open("default", &location).unwrap();
        assert_eq!(store.get("a").await, Ok(None));
        store.set("a", b"1".to_vec()).await.unwrap();
        store.set("b", vec![0, 255]).await.unwrap();
        assert_eq!(store.exists("b").await, Ok(true));
        store.set("a", b"2".to_vec()).await.unwrap();
        drop(store);

        let store = SqliteStore::open("default", &location).unwrap();
        assert_eq!(store.get("a").await, Ok(Some(b"2".to_vec())));
        assert_eq!(store.keys().await, Ok(vec!["a".to_owned(), "b".to_owned()]));
        store.delete("a").await.unwrap();
        assert_eq!(store.exists("a").await, Ok(false));
        let other = SqliteStore::open("other", &location).unwrap();
        assert_eq!(other.keys().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn numbers_are_counted_and_values_compared() {
        let store = SqliteStore::open("default", &Location::Memory).unwrap();
        assert_eq!(store.increment("n", 2).await, Ok(2));
        assert_eq!(store.increment("n", -5).await, Ok(-3));
        assert_eq!(store.get("n").await, Ok(Some(b"-3".to_vec())));
        let swapped = store.swap("n", Some(b"2".to_vec()), b"x".to_vec()).await;
        assert_eq!(swapped, Ok(false));
        let swapped = store.swap("n", Some(b"-3".to_vec()), b"x".to_vec()).await;
        assert_eq!(swapped, Ok(true));
        let error = store.increment("n", 1).await.unwrap_err();
        assert_eq!(error, "the value is not a number");
        assert_eq!(store.swap("new", None, b"y".to_vec()).await, Ok(true));
        assert_eq!(store.swap("new", None, b"z".to_vec()).await, Ok(false));
    }
}
