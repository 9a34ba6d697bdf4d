//! containerd's records and its content store, by containerd's API.
//!
//! A process that opens a [`Store`] lives for one request: nothing of it is in the shim.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod descriptor;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grpc;
pub mod message;
#[cfg(test)]
mod tests;

pub use descriptor::Descriptor;
pub use grpc::Error as CallError;

/// Where a containerd is asked, and about whose containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its gRPC socket.
    pub socket: PathBuf,
    /// The containerd namespace.
    pub namespace: String,
}

/// Why a record or a blob could not be read.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No runtime for the calls.
    #[error("cannot make calls to containerd")]
    Runtime(#[source] io::Error),
    /// containerd's reply makes no sense.
    #[error("cannot read containerd's answer to {asked}")]
    Reply {
        /// What was asked.
        asked: String,
        /// What is wrong with it.
        source: message::Malformed,
    },
    /// There is no image of that name.
    #[error("containerd has no image {name:?} in its namespace {namespace:?}; pull it there")]
    NoImage {
        /// The image's name.
        name: String,
        /// The containerd namespace.
        namespace: String,
    },
    /// The blob is not in the content store.
    #[error("{digest} is not in containerd's content store; pull the image again")]
    Missing { digest: String },
    /// Digests of this kind can't be checked.
    #[error("the digest {digest:?} is not of the kind sha256, with 64 hex digits")]
    Kind { digest: String },
    /// More than is read.
    #[error("{digest} has {size} bytes; the most that is read is {max}")]
    TooLarge {
        digest: String,
        /// Its size, as its descriptor says.
        size: u64,
        max: u64,
    },
    /// Other content than its name says.
    #[error(
        "{digest} is damaged in containerd's content store: it is {found}, of {size} bytes; remove \
         it and pull the image again"
    )]
    Damaged {
        /// The digest that it should have.
        digest: String,
        /// The one it has.
        found: String,
        /// How much of it was read.
        size: u64,
    },
    /// What was read could not be kept.
    #[error("cannot keep the content of {digest}")]
    Keep {
        digest: String,
        /// The system's word.
        source: io::Error,
    },
}

/// A connection to one containerd.
pub struct Store {
    runtime: tokio::runtime::Runtime,
    connection: grpc::Connection,
    namespace: String,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Connects to the containerd at `address`.
    ///
    /// # Errors
    /// [`Error::Call`] if it does not listen.
    pub fn connect(address: &Address) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Error::Runtime)?;
        let socket = strip_scheme(&address.socket);
        let connection = runtime.block_on(grpc::Connection::open(socket, &address.namespace))?;
        Ok(Self {
            runtime,
            connection,
            namespace: address.namespace.clone(),
        })
    }

    /// The name of the image that a container was made of; `None` if it was made of none, or is not
    /// known.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::Reply`].
    pub fn image_of(&mut self, container: &str) -> Result<Option<String>, Error> {
        let reply = self.ask(
            "/containerd.services.containers.v1.Containers/Get",
            container,
        );
        match reply {
            Ok(reply) => message::image_of_container(&reply)
                .map(|name| Some(name).filter(|name| !name.is_empty()))
                .map_err(malformed(container)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What an image's name stands for: a manifest or an index.
    ///
    /// # Errors
    /// [`Error::NoImage`] if there is none of that name.
    pub fn target_of(&mut self, image: &str) -> Result<Descriptor, Error> {
        let reply = self.ask("/containerd.services.images.v1.Images/Get", image);
        let reply = reply.map_err(|error| match error {
            error if error.is_not_found() => Error::NoImage {
                name: image.to_owned(),
                namespace: self.namespace.clone(),
            },
            error => error.into(),
        })?;
        message::target_of_image(&reply).map_err(malformed(image))
    }

    /// Reads a blob of at most `max` bytes and gives it to `keep`, piece by piece. Only when this
    /// has returned is it known that the pieces are what `blob` names.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not there; [`Error::Damaged`] if its content has not the digest
    /// and the size that `blob` says.
    pub fn read(
        &mut self,
        blob: &Descriptor,
        max: u64,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        if !is_sha256(digest) {
            return Err(Error::Kind {
                digest: digest.clone(),
            });
        }
        if blob.size > max {
            return Err(Error::TooLarge {
                digest: digest.clone(),
                size: blob.size,
                max,
            });
        }
        let mut hasher = Sha256::new();
        let mut size: u64 = 0;
        let damaged = |found, size| Error::Damaged {
            digest: digest.clone(),
            found,
            size,
        };
        let take = |reply: Bytes| {
            let data = message::data(reply).map_err(malformed(digest))?;
            size = size.saturating_add(data.len() as u64);
            if size > blob.size {
                return Err(damaged("longer than its descriptor says".to_owned(), size));
            }
            hasher.update(&data);
            keep(&data).map_err(|source| Error::Keep {
                digest: digest.clone(),
                source,
            })
        };
        let method = "/containerd.services.content.v1.Content/Read";
        let question = message::encode_name_request(digest);
        let call = self.connection.call(method, &question, take);
        self.runtime.block_on(call).map_err(|error| match error {
            Error::Call(error) if error.is_not_found() => Error::Missing {
                digest: digest.clone(),
            },
            error => error,
        })?;
        let found = digest_of(hasher);
        if found != *digest || size != blob.size {
            return Err(damaged(found, size));
        }
        Ok(())
    }

    /// Asks for one thing by its name.
    fn ask(&mut self, method: &'static str, name: &str) -> Result<Bytes, CallError> {
        let mut reply = Bytes::new();
        let take = |message: Bytes| {
            reply = message;
            Ok::<(), CallError>(())
        };
        let question = message::encode_name_request(name);
        self.runtime
            .block_on(self.connection.call(method, &question, take))?;
        Ok(reply)
    }
}

fn malformed(asked: &str) -> impl Fn(message::Malformed) -> Error {
    let asked = asked.to_owned();
    move |source| Error::Reply {
        asked: asked.clone(),
        source,
    }
}

/// containerd names its socket by a path; some who call a shim write a URL.
fn strip_scheme(socket: &Path) -> &Path {
    let path = socket
        .to_str()
        .and_then(|text| text.strip_prefix("unix://"));
    path.map_or(socket, Path::new)
}

/// Whether a digest is of the one kind that is read.
pub(crate) fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// As it is written in descriptors.
pub(crate) fn digest_of(hasher: Sha256) -> String {
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}
