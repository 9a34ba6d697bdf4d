//! Outgoing connections to Redis: `fermyon:spin/redis`, `spin:redis`.
//!
//! | file | what |
//! |---|---|
//! | `v1`, `v2`, `v3` | the interface, by its versions |

/// Turns the generated error of one version into this module's.
macro_rules! convert_error {
    ($error:ident) => {
        impl From<crate::redis::Failure> for $error {
            fn from(failure: crate::redis::Failure) -> Self {
                match failure {
                    crate::redis::Failure::InvalidAddress => Self::InvalidAddress,
                    crate::redis::Failure::TooManyConnections => Self::TooManyConnections,
                    crate::redis::Failure::Type => Self::TypeError,
                    crate::redis::Failure::Other(text) => Self::Other(text),
                }
            }
        }
    };
}

/// Turns the generated arguments of one version into this module's, and its replies into generated ones.
macro_rules! convert {
    ($argument:ident, $reply:ident) => {
        impl From<$argument> for crate::redis::Argument {
            fn from(argument: $argument) -> Self {
                match argument {
                    $argument::Int64(number) => Self::Int(number),
                    $argument::Binary(bytes) => Self::Bytes(bytes),
                }
            }
        }

        impl From<crate::redis::Replied> for $reply {
            fn from(replied: crate::redis::Replied) -> Self {
                match replied {
                    crate::redis::Replied::Nil => Self::Nil,
                    crate::redis::Replied::Status(text) => Self::Status(text),
                    crate::redis::Replied::Int(number) => Self::Int64(number),
                    crate::redis::Replied::Bytes(bytes) => Self::Binary(bytes),
                }
            }
        }
    };
}

mod v1;
mod v2;
mod v3;

use std::time::Duration;

use medley_spin::allowed_hosts::Destination;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisError, Value,
};
use wasmtime::component::{Linker, Resource};

use crate::View;
use crate::component::ComponentHost;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that a component has opened.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code exports it again")]
pub struct Connection(MultiplexedConnection);

/// Why a call fails.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It is no address of Redis, or one that the component may not connect to.
    InvalidAddress,
    TooManyConnections,
    /// The reply is of another type.
    Type,
    Other(String),
}

/// An argument of a command.
enum Argument {
    Int(i64),
    Bytes(Vec<u8>),
}

/// One of the values of a reply.
enum Replied {
    Nil,
    Status(String),
    Int(i64),
    Bytes(Vec<u8>),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedReturnType => Self::Type,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Connects to a server, each of whose replies may take `timeout`, or as long as it likes.
pub(crate) async fn connect(
    client: &Client,
    timeout: Option<Duration>,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(timeout);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

impl Connection {
    /// Connects to the server at `address` for a component.
    async fn open(host: &ComponentHost, address: &str) -> Result<Self, Failure> {
        let refused = |why: &str| {
            let id = &host.config.id;
            (host.config.log)(&format!("component {id:?} can't connect to Redis: {why}"));
            Failure::InvalidAddress
        };
        let info = address
            .into_connection_info()
            .map_err(|_| refused("its address is none like redis://host:port"))?;
        // A socket in the file system is none of a component's files.
        let ConnectionAddr::Tcp(name, port) = info.addr() else {
            return Err(refused(
                "the address is of TLS or of a socket in the file system, use redis://",
            ));
        };
        let destination = Destination {
            scheme: "redis",
            host: name,
            port: Some(*port),
        };
        if !host.allows(&destination) {
            return Err(Failure::InvalidAddress);
        }
        let client = Client::open(info)?;
        // A command may wait for long, as BLPOP does.
        Ok(Self(connect(&client, None).await?))
    }

    async fn run<R: FromRedisValue>(&self, command: &Cmd) -> Result<R, Failure> {
        Ok(command.query_async(&mut self.0.clone()).await?)
    }

    async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), Failure> {
        self.run(redis::cmd("PUBLISH").arg(channel).arg(payload))
            .await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.run(redis::cmd("GET").arg(key)).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.run(redis::cmd("SET").arg(key).arg(value)).await
    }

    async fn incr(&self, key: &str) -> Result<i64, Failure> {
        self.run(redis::cmd("INCR").arg(key)).await
    }

    async fn del(&self, keys: &[String]) -> Result<u32, Failure> {
        // Redis refuses a command without keys.
        if keys.is_empty() {
            return Ok(0);
        }
        self.run(redis::cmd("DEL").arg(keys)).await
    }

    async fn sadd(&self, key: &str, values: &[String]) -> Result<u32, Failure> {
        self.run(redis::cmd("SADD").arg(key).arg(values)).await
    }

    async fn smembers(&self, key: &str) -> Result<Vec<String>, Failure> {
        self.run(redis::cmd("SMEMBERS").arg(key)).await
    }

    async fn srem(&self, key: &str, values: &[String]) -> Result<u32, Failure> {
        self.run(redis::cmd("SREM").arg(key).arg(values)).await
    }

    async fn execute(
        &self,
        command: &str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Replied>, Failure> {
        let mut line = redis::cmd(command);
        for argument in arguments {
            match argument {
                Argument::Int(number) => line.arg(number),
                Argument::Bytes(bytes) => line.arg(bytes),
            };
        }
        let reply: Value = self.run(&line).await?;
        let mut replied = Vec::new();
        flatten(reply, &mut replied)?;
        Ok(replied)
    }
}

impl View<'_> {
    fn keep_redis(&mut self, connection: Connection) -> Result<Resource<Connection>, Failure> {
        self.table
            .push(connection)
            .map_err(|_| Failure::TooManyConnections)
    }

    fn opened_redis(&self, opened: &Resource<Connection>) -> Result<Connection, Failure> {
        let connection = self.table.get(opened).cloned();
        connection.map_err(|error| Failure::Other(error.to_string()))
    }
}

/// The values of a reply, one after the other.
fn flatten(value: Value, into: &mut Vec<Replied>) -> Result<(), Failure> {
    into.push(match value {
        Value::Nil => Replied::Nil,
        Value::Int(number) => Replied::Int(number),
        Value::BulkString(bytes) => Replied::Bytes(bytes),
        Value::SimpleString(text) => Replied::Status(text),
        Value::Okay => Replied::Status("OK".to_owned()),
        Value::Boolean(is_true) => Replied::Int(i64::from(is_true)),
        Value::Double(number) => Replied::Status(number.to_string()),
        Value::VerbatimString { text, .. } => Replied::Status(text),
        Value::Array(values) | Value::Set(values) => {
            return values
                .into_iter()
                .try_for_each(|value| flatten(value, into));
        }
        Value::Map(pairs) => {
            return pairs.into_iter().try_for_each(|(key, value)| {
                flatten(key, into)?;
                flatten(value, into)
            });
        }
        Value::ServerError(error) => return Err(Failure::Other(error.to_string())),
        _ => return Err(Failure::Type),
    });
    Ok(())
}

/// Adds those that a component imports.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    if imports("fermyon:spin/redis") {
        v1::add_to_linker(linker, view)?;
    }
    if imports("fermyon:spin/redis@2") {
        v2::add_to_linker(linker, view)?;
    }
    if imports("spin:redis/redis@3") {
        v3::add_to_linker(linker, view)?;
    }
    Ok(())
}
