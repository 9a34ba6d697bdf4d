//! Whether the runtime is up, and which handlers it has: the kubelet's own question.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use medley_image::store::grpc::Connection;
use prost::Message;
use rustix::fs::OFlags;
use serde_json::Value as Json;

use crate::error::{Error, told};
use crate::root::Root;

/// Kubernetes' `RuntimeService`.
const STATUS: &str = "/runtime.v1.RuntimeService/Status";

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    /// More about it, as JSON.
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
    /// containerd tells of them since 2.0.
    #[prost(message, repeated, tag = "3")]
    handlers: Vec<RuntimeHandler>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeHandler {
    #[prost(string, tag = "1")]
    name: String,
}

/// How often a runtime that is on its way up is asked.
const AGAIN: Duration = Duration::from_millis(200);

/// How long Docker may take for an answer.
const DOCKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// containerd's CRI plugin.
    Cri(PathBuf),
    /// containerd without one.
    Containerd(PathBuf),
    /// Docker.
    Docker(PathBuf),
}

impl Peer {
    fn path(&self) -> &Path {
        match self {
            Self::Cri(path) | Self::Containerd(path) | Self::Docker(path) => path,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cri(_) | Self::Containerd(_) => "containerd",
            Self::Docker(_) => "Docker",
        }
    }

    /// Whether it tells its handlers.
    pub(crate) fn tells(&self) -> bool {
        !matches!(self, Self::Containerd(_))
    }

    /// The handlers that it has.
    pub(crate) fn handlers(&self, root: &Root) -> Result<BTreeSet<String>, Error> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Cri {
            path: self.path().to_owned(),
            source,
        };
        // By descriptor, so that no link of the node's leads to a socket of ours.
        let socket = root
            .at(self.path(), OFlags::PATH | OFlags::CLOEXEC)
            .map_err(|errno| failed(std::io::Error::from(errno).into()))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        match self {
            Self::Cri(_) => ask_cri(&path).map_err(failed),
            Self::Containerd(_) => ask_containerd(&path).map_err(failed),
            Self::Docker(_) => ask_docker(&path).map_err(failed),
        }
    }

    /// Waits until it is there with all of `requested` and with none of `removed`.
    pub(crate) fn wait(
        &self,
        root: &Root,
        requested: &[String],
        removed: &[String],
        timeout: Duration,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let last = match self.handlers(root) {
                Ok(_) if !self.tells() => return Ok(()),
                Ok(has) => {
                    let missing = requested.iter().find(|name| !has.contains(*name));
                    let left = removed.iter().find(|name| has.contains(*name));
                    match (missing, left) {
                        (None, None) => return Ok(()),
                        (Some(name), _) => format!("it has no handler {name}"),
                        (None, Some(name)) => format!("it still has the handler {name}"),
                    }
                }
                Err(error) => told(&error),
            };
            if Instant::now() >= deadline {
                return Err(Error::NotUp {
                    what: self.name(),
                    seconds: timeout.as_secs(),
                    last,
                });
            }
            std::thread::sleep(AGAIN);
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Makes one call and gives back what it answers.
fn call(path: &Path, method: &'static str, request: &[u8]) -> Result<Vec<u8>, Cause> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(path, "k8s.io").await?;
        let mut answer = Vec::new();
        let called = connection.call(method, request, |message| {
            answer.extend_from_slice(&message);
            Ok::<(), medley_image::store::CallError>(())
        });
        called.await?;
        Ok(answer)
    })
}

fn ask_cri(path: &Path) -> Result<BTreeSet<String>, Cause> {
    let request = StatusRequest { verbose: true }.encode_to_vec();
    handlers_of(&call(path, STATUS, &request)?)
}

fn ask_containerd(path: &Path) -> Result<BTreeSet<String>, Cause> {
    call(path, "/containerd.services.version.v1.Version/Version", &[])?;
    Ok(BTreeSet::new())
}

/// The handlers in a `StatusResponse`: told since containerd 2.0, and in its configuration before.
fn handlers_of(answer: &[u8]) -> Result<BTreeSet<String>, Cause> {
    let status = StatusResponse::decode(answer)?;
    let mut handlers: BTreeSet<_> = status.handlers.into_iter().map(|one| one.name).collect();
    if let Some(config) = status.info.get("config") {
        let config: Json = serde_json::from_str(config)?;
        let runtimes = config.pointer("/containerd/runtimes");
        let names = runtimes.and_then(Json::as_object).into_iter().flatten();
        handlers.extend(names.map(|(name, _)| name.clone()));
    }
    // The default one has no name of its own.
    handlers.remove("");
    Ok(handlers)
}

/// Docker's runtimes, out of `GET /info`.
fn ask_docker(path: &Path) -> Result<BTreeSet<String>, Cause> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(DOCKER_TIMEOUT))?;
    socket.set_write_timeout(Some(DOCKER_TIMEOUT))?;
    // Of HTTP/1.0: the answer ends with the connection.
    socket.write_all(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .ok_or("the answer is cut")?;
    let info: Json = serde_json::from_str(body)?;
    let runtimes = info.get("Runtimes").and_then(Json::as_object);
    let names = runtimes.into_iter().flatten().map(|(name, _)| name.clone());
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::handlers_of;

    /// A field of bytes, short.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [&[number << 3 | 2, length], value].concat()
    }

    #[test]
    fn handlers_are_read_from_the_list_and_from_the_configuration() {
        let named = |name: &str| field(3, &field(1, name.as_bytes()));
        let json = br#"{"containerd":{"runtimes":{"runc":{},"wasm":{}}}}"#;
        let config = [field(1, b"config"), field(2, json)].concat();
        let other = [field(1, b"golang"), field(2, b"\"go1\"")].concat();
        let both = [
            named(""),
            named("crun"),
            field(2, &other),
            field(2, &config),
        ]
        .concat();
        let handlers: Vec<_> = handlers_of(&both).unwrap().into_iter().collect();
        assert_eq!(handlers, ["crun", "runc", "wasm"]);
        assert!(handlers_of(b"").unwrap().is_empty());
        assert!(handlers_of(b"\x0a\x05ab").is_err());
    }
}
