//! A store in Redis, whose keys are Redis' own.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, RedisError};
use tokio::sync::Mutex;

/// Sets a key if its value is the one given, or if there is none and none is given.
const SWAP: &str = "local value = redis.call('GET', KEYS[1]) \
                    local old = ARGV[1] == '1' and ARGV[2] \
                    if value ~= old then return 0 end \
                    redis.call('SET', KEYS[1], ARGV[3]) return 1";

/// How long a reply may take: no command of a store waits for anything.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct RedisStore {
    client: Client,
    /// None before the first call, and when the server has closed it.
    connection: Arc<Mutex<Option<Connected>>>,
}

#[derive(Clone)]
struct Connected(MultiplexedConnection);

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connected")
    }
}

impl RedisStore {
    /// Connects when it is first used.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let client = Client::open(url).map_err(|error| {
            format!(
                "the runtime config has a Redis URL for a key-value store that is none: {error}"
            )
        })?;
        Ok(Self {
            client,
            connection: Arc::default(),
        })
    }

    async fn run<R: FromRedisValue>(&self, command: &Cmd) -> Result<R, String> {
        let mut kept = self.connection.lock().await;
        let connected = match kept.clone() {
            Some(connected) => connected,
            None => {
                let connection = crate::redis::connect(&self.client, Some(REPLY_TIMEOUT)).await;
                let connected = Connected(connection.map_err(|error| error.to_string())?);
                kept.insert(connected).clone()
            }
        };
        // Others may send while this one waits.
        drop(kept);
        let Connected(mut connection) = connected;
        let reply: Result<R, RedisError> = command.query_async(&mut connection).await;
        match reply {
            Ok(reply) => Ok(reply),
            Err(error) => {
                if error.is_unrecoverable_error() || error.is_timeout() {
                    *self.connection.lock().await = None;
                }
                Err(error.to_string())
            }
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.run(redis::cmd("GET").arg(key)).await
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        self.run(redis::cmd("SET").arg(key).arg(value)).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), String> {
        self.run(redis::cmd("DEL").arg(key)).await
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, String> {
        self.run(redis::cmd("EXISTS").arg(key)).await
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, String> {
        let (mut keys, mut size) = (Vec::new(), 0_usize);
        let mut cursor = "0".to_owned();
        loop {
            let scan = redis::cmd("SCAN")
                .arg(&cursor)
                .arg("COUNT")
                .arg(1000)
                .clone();
            let (next, found): (String, Vec<Vec<u8>>) = self.run(&scan).await?;
            // What is no text can't be a key of this interface.
            for key in found
                .into_iter()
                .filter_map(|key| String::from_utf8(key).ok())
            {
                size += key.len();
                keys.push(key);
            }
            if size > super::MAX_REPLY {
                return Err(super::too_large());
            }
            if next == "0" {
                // A key may be found twice.
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, String> {
        self.run(redis::cmd("INCRBY").arg(key).arg(delta)).await
    }

    pub(super) async fn swap(
        &self,
        key: &str,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, String> {
        let mut command = redis::cmd("EVAL");
        command.arg(SWAP).arg(1).arg(key);
        command.arg(i32::from(old.is_some()));
        command.arg(old.unwrap_or_default()).arg(new);
        self.run(&command).await
    }
}
