//! What a container's environment says of its server.

use std::time::Duration;

use super::listen::Listen;
use crate::variables::{Error, parse};

/// Where to listen, as runwasi has it: `0.0.0.0:8080`.
const ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";

/// What an address may be.
const EXPECTED: &str = "an address such as 0.0.0.0:8080, [::]:8080, localhost:8080 or :8080";

/// The port alone, as platforms of many languages have it.
const PORT: &str = "PORT";

/// Where a Spin application listens, as Spin has it.
const SPIN_ADDRESS: &str = "SPIN_HTTP_LISTEN_ADDR";

/// Where it listens if nothing is said, as with Spin's own shim.
const SPIN_PORT: u16 = 80;

/// Connections that may wait to be accepted: what runwasi reads, and what its manual says.
const BACKLOG: [&str; 2] = ["WASMTIME_HTTP_BACKLOG", "WASMTIME_HTTP_PROXY_BACKLOG"];

/// How long a handler may take until its answer begins.
const REQUEST_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT";

/// Largest body of a request.
const MAX_BODY: &str = "WASMTIME_HTTP_PROXY_MAX_BODY";

/// How long SIGTERM leaves to what is in flight.
const DRAIN_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT";

/// Connections that are open at the same time.
const MAX_CONNECTIONS: &str = "WASMTIME_HTTP_PROXY_MAX_CONNECTIONS";

/// How long a client may take from the first byte of a request's head to the last, and to the first
/// one of a new connection.
const HEADER_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_HEADER_TIMEOUT";

/// How long a connection stays open without a request after the first one.
const KEEPALIVE_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_KEEPALIVE_TIMEOUT";

/// How long a handler waits for more of a request's body.
const BODY_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_BODY_TIMEOUT";

/// How long a client may take nothing of its answer.
const WRITE_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_WRITE_TIMEOUT";

/// How long HTTP/2 connections are left without asking whether their clients are still there.
const PING_INTERVAL: &str = "WASMTIME_HTTP_PROXY_PING_INTERVAL";

/// Requests that are handled at the same time.
const CONCURRENCY: &str = "WASMTIME_HTTP_PROXY_CONCURRENCY";

/// Requests that one instance may answer, one after the other.
const MAX_INSTANCE_REUSE: &str = "WASMTIME_HTTP_PROXY_MAX_INSTANCE_REUSE";

/// How long an instance that may answer another request waits for one.
const IDLE_INSTANCE_TIMEOUT: &str = "WASMTIME_HTTP_PROXY_IDLE_INSTANCE_TIMEOUT";

/// Threads that handle them.
const WORKERS: &str = "WASMTIME_HTTP_PROXY_WORKERS";

const DEFAULT_PORT: u16 = 8080;

/// The kernel cuts it to `net.core.somaxconn`, 4096 on most nodes.
const DEFAULT_BACKLOG: u32 = 1024;

const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Below the 30 seconds that Kubernetes gives by default, so that it is us who end what hangs.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Enough for a head that takes several packets over a bad line.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than the 60 seconds of most proxies, which must be the first to close a connection.
const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// As most servers have it between two reads.
const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// As most servers have it between two writes.
const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Below the minutes after which a router forgets a connection that is silent.
const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(60);

/// As Wasmtime's own server has it.
const DEFAULT_IDLE_INSTANCE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the server keeps to. A time that is absent means for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) listen: Listen,
    pub(super) backlog: u32,
    /// Absent: as many as files and memory allow.
    pub(super) max_connections: Option<usize>,
    pub(super) header_timeout: Option<Duration>,
    pub(super) keepalive_timeout: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) ping_interval: Option<Duration>,
    pub(super) request_timeout: Option<Duration>,
    /// In bytes; absent: any.
    pub(super) max_body: Option<u64>,
    pub(super) drain_timeout: Duration,
    pub(super) concurrency: Option<usize>,
    /// How many requests one instance may answer. With 1, each request has an instance of its own.
    pub(super) instance_reuse: u32,
    pub(super) idle_instance_timeout: Option<Duration>,
    pub(super) workers: Option<usize>,
}

impl Settings {
    /// Reads them from a guest's environment. An empty variable is none.
    pub(crate) fn of(env: &[(String, String)]) -> Result<Self, Error> {
        let listen = parse(env, ADDRESS, EXPECTED, Listen::parse)?;
        let port = parse(env, PORT, "a port from 1 to 65535", |value| {
            value.parse().ok().filter(|port| *port > 0)
        })?;
        let mut backlog = None;
        for name in BACKLOG {
            if backlog.is_none() {
                backlog = parse(env, name, "a number of connections above 0", positive)?;
            }
        }
        let timeout = |name| {
            parse(
                env,
                name,
                "a time such as 30, 30s or 500ms (0: no limit)",
                duration,
            )
        };
        let limit = |name, default: Duration| {
            let time = timeout(name)?.unwrap_or(default);
            Ok((!time.is_zero()).then_some(time))
        };
        let count = |name, expected| parse(env, name, expected, positive);
        Ok(Self {
            listen: listen.unwrap_or(Listen::All(port.unwrap_or(DEFAULT_PORT))),
            backlog: backlog.unwrap_or(DEFAULT_BACKLOG),
            max_connections: count(MAX_CONNECTIONS, "a number of connections above 0")?,
            header_timeout: limit(HEADER_TIMEOUT, DEFAULT_HEADER_TIMEOUT)?,
            keepalive_timeout: limit(KEEPALIVE_TIMEOUT, DEFAULT_KEEPALIVE_TIMEOUT)?,
            body_timeout: limit(BODY_TIMEOUT, DEFAULT_BODY_TIMEOUT)?,
            write_timeout: limit(WRITE_TIMEOUT, DEFAULT_WRITE_TIMEOUT)?,
            ping_interval: limit(PING_INTERVAL, DEFAULT_PING_INTERVAL)?,
            request_timeout: limit(REQUEST_TIMEOUT, DEFAULT_REQUEST_TIMEOUT)?,
            max_body: parse(env, MAX_BODY, "a size such as 1048576, 512K or 1M", size)?,
            drain_timeout: timeout(DRAIN_TIMEOUT)?.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            concurrency: count(CONCURRENCY, "a number of requests above 0")?,
            instance_reuse: parse(
                env,
                MAX_INSTANCE_REUSE,
                "a number of requests above 0",
                positive,
            )?
            .unwrap_or(1),
            idle_instance_timeout: limit(IDLE_INSTANCE_TIMEOUT, DEFAULT_IDLE_INSTANCE_TIMEOUT)?,
            workers: count(WORKERS, "a number of threads above 0")?,
        })
    }
}

impl Settings {
    /// Reads those of a Spin application: as any server's, but for where it listens if [`ADDRESS`] is not set.
    pub(crate) fn of_application(env: &[(String, String)]) -> Result<Self, Error> {
        let mut settings = Self::of(env)?;
        let is_set = |name| Ok(parse(env, name, "", |_| Some(()))?.is_some());
        if is_set(ADDRESS)? {
            return Ok(settings);
        }
        if let Some(listen) = parse(env, SPIN_ADDRESS, EXPECTED, Listen::parse)? {
            settings.listen = listen;
        } else if !is_set(PORT)? {
            settings.listen = Listen::All(SPIN_PORT);
        }
        Ok(settings)
    }
}

fn positive<T: std::str::FromStr + PartialOrd + From<u8>>(value: &str) -> Option<T> {
    value.parse().ok().filter(|number| *number >= T::from(1))
}

fn duration(value: &str) -> Option<Duration> {
    if let Some(number) = value.strip_suffix("ms") {
        return Some(Duration::from_millis(number.trim().parse().ok()?));
    }
    let (number, unit) = match value.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (value.strip_suffix('s').unwrap_or(value), 1),
    };
    let number: u64 = number.trim().parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

fn size(value: &str) -> Option<u64> {
    let value = value.strip_suffix('B').unwrap_or(value);
    let value = value.strip_suffix('i').unwrap_or(value);
    let (number, shift) = match value.chars().last()? {
        'K' | 'k' => (&value[..value.len() - 1], 10),
        'M' => (&value[..value.len() - 1], 20),
        'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: u64 = number.trim().parse().ok()?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{Listen, Settings};
    use std::time::Duration;

    fn of(env: &[(&str, &str)]) -> Result<Settings, super::Error> {
        let owned: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::of(&owned)
    }

    #[test]
    fn an_empty_environment_means_port_8080_of_every_address() {
        let settings = of(&[("PORT", "")]).unwrap();
        assert_eq!(settings.listen, Listen::All(8080));
        assert_eq!(settings.request_timeout, Some(Duration::from_secs(60)));
        assert_eq!((settings.max_body, settings.workers), (None, None));
        // Each request has an instance of its own.
        assert_eq!(settings.instance_reuse, 1);
    }

    #[test]
    fn an_address_comes_before_a_port() {
        let port = of(&[("PORT", "9000")]).unwrap();
        assert_eq!(port.listen, Listen::All(9000));
        let both = of(&[
            ("PORT", "9000"),
            ("WASMTIME_HTTP_PROXY_SOCKET_ADDR", "[::1]:80"),
        ]);
        assert_eq!(
            both.unwrap().listen,
            Listen::At("[::1]:80".parse().unwrap())
        );
    }

    #[test]
    fn an_application_listens_where_spin_would() {
        let listen = |env: &[(&str, &str)]| {
            let owned: Vec<_> = env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            Settings::of_application(&owned).map(|settings| settings.listen)
        };
        let (ours, spin) = ("WASMTIME_HTTP_PROXY_SOCKET_ADDR", "SPIN_HTTP_LISTEN_ADDR");
        let at = |address: &str| Ok(Listen::At(address.parse().unwrap()));
        assert_eq!(listen(&[]), Ok(Listen::All(80)));
        assert_eq!(listen(&[("PORT", "9000")]), Ok(Listen::All(9000)));
        let both = [("PORT", "9000"), (spin, "127.0.0.1:3000")];
        assert_eq!(listen(&both), at("127.0.0.1:3000"));
        let all = [(spin, "127.0.0.1:3000"), (ours, "127.0.0.1:4000")];
        assert_eq!(listen(&all), at("127.0.0.1:4000"));
        let error = listen(&[(spin, "3000")]).unwrap_err().to_string();
        assert!(error.contains("SPIN_HTTP_LISTEN_ADDR=\"3000\""), "{error}");
    }

    #[test]
    fn both_spellings_of_the_backlog_are_read() {
        for name in ["WASMTIME_HTTP_BACKLOG", "WASMTIME_HTTP_PROXY_BACKLOG"] {
            assert_eq!(of(&[(name, "7")]).unwrap().backlog, 7);
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        let settings = of(&[
            ("WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT", "0"),
            ("WASMTIME_HTTP_PROXY_HEADER_TIMEOUT", "5"),
            ("WASMTIME_HTTP_PROXY_BODY_TIMEOUT", "0s"),
            ("WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT", "250ms"),
            ("WASMTIME_HTTP_PROXY_MAX_BODY", "2MiB"),
        ])
        .unwrap();
        assert_eq!(
            (settings.request_timeout, settings.body_timeout),
            (None, None)
        );
        assert_eq!(settings.header_timeout, Some(Duration::from_secs(5)));
        assert_eq!(settings.drain_timeout, Duration::from_millis(250));
        assert_eq!(settings.max_body, Some(2 << 20));
        assert_eq!(super::duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(super::size("10k"), Some(10 << 10));
    }

    #[test]
    fn what_cannot_be_understood_is_shown_with_what_could() {
        let error = of(&[("WASMTIME_HTTP_PROXY_SOCKET_ADDR", "8080")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the environment has WASMTIME_HTTP_PROXY_SOCKET_ADDR=\"8080\", which is not an \
             address such as 0.0.0.0:8080, [::]:8080, localhost:8080 or :8080"
        );
        for (name, value) in [
            ("PORT", "0"),
            ("PORT", "http"),
            ("WASMTIME_HTTP_BACKLOG", "0"),
            ("WASMTIME_HTTP_PROXY_MAX_BODY", "much"),
            ("WASMTIME_HTTP_PROXY_MAX_CONNECTIONS", "0"),
            ("WASMTIME_HTTP_PROXY_WRITE_TIMEOUT", "soon"),
            ("WASMTIME_HTTP_PROXY_MAX_INSTANCE_REUSE", "0"),
            ("WASMTIME_HTTP_PROXY_IDLE_INSTANCE_TIMEOUT", "never"),
            ("WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT", "-1"),
        ] {
            assert!(of(&[(name, value)]).is_err(), "{name}={value}");
        }
    }
}
