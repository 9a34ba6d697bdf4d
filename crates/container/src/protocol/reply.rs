//! What helpers reply.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use medley_engine::Form;
use medley_image::artifact::Target;
use medley_types::layers::{ImageLayers, ModuleFacts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::descriptors::{IncomingFds, MissingFd, OutgoingFds, Slot};

/// What a helper replies if it could do what it was asked for.
pub(crate) trait Reply: Sized {
    /// The reply on the wire, with slots for its descriptors.
    type Wire: Serialize + DeserializeOwned;

    fn pack(self, fds: &mut OutgoingFds<OwnedFd>) -> Self::Wire;

    fn unpack(wire: Self::Wire, fds: &mut IncomingFds) -> Result<Self, MissingFd>;

    /// The process that was made, which becomes the shim's child with the helper's end.
    fn child(&self) -> Option<i32> {
        None
    }
}

/// Why a helper could not do what it was asked for. Nothing is left of what it tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// A module can't be compiled, as often as it is tried.
    UnfitModule {
        /// Why, as a sentence.
        reason: String,
    },
    /// Everything else.
    Failed {
        /// Why, as a sentence.
        reason: String,
    },
}

impl Failure {
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self::Failed {
            reason: medley_types::sentence(error),
        }
    }
}

/// The reply to `Create` and `Exec`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MakeReply<F> {
    /// The container waits to be started, or the process runs.
    Made(MadeProcess<F>),
    /// There is no native code yet. Nothing was made.
    CacheMiss(CacheMiss),
}

/// A process that a helper has made.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeProcess<F> {
    /// In the shim's pid namespace.
    pub(crate) pid: i32,
    /// The master of its terminal, if it has one.
    pub(crate) terminal: Option<F>,
}

/// Why the cache gave no native code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CacheMiss {
    /// It is not there.
    NotCached {
        /// The engine's fingerprint, part of the key to keep it by.
        fingerprint: String,
        /// What was wrong with an entry that was there and has been removed.
        damage: Option<String>,
    },
    /// Of some of an application's components it is not there.
    Components {
        /// As for one module.
        fingerprint: String,
        /// Which of them, by their numbers in the request.
        missing: Vec<usize>,
        /// What was wrong with entries that were there and have been removed.
        damage: Vec<String>,
    },
    /// The cache can't be used.
    NoCache {
        /// Why, as a sentence.
        reason: String,
    },
}

/// A module that was compiled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compiled<F> {
    /// What the module turned out to be.
    pub(crate) form: Form,
    /// The native code, in a sealed memfd.
    pub(crate) code: F,
}

/// A user namespace that was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserNamespace<F> {
    pub(crate) fd: F,
}

/// A module of an image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchedModule<F> {
    /// Its SHA-256.
    pub(crate) module: String,
    /// What decides about it.
    pub(crate) facts: ModuleFacts,
    /// The module, in a sealed memfd.
    pub(crate) file: F,
}

/// The file that an image's containers start with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchedEntrypoint<F> {
    /// Where it is, in the container.
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) content: FetchedModule<F>,
}

/// A Spin application that is an artifact.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchedApplication<F> {
    pub(crate) app: Box<medley_spin::App>,
    /// Its files, as `medley_spin::pack` has them, in a sealed memfd.
    pub(crate) files: Option<F>,
}

/// A sandbox's namespaces that were made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SandboxNamespaces<F> {
    /// The first process of the pid namespace, in the shim's.
    pub(crate) holder: Option<i32>,
    pub(crate) namespaces: Vec<(Namespace, F)>,
}

/// A kind of namespace that the containers of a sandbox share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Namespace {
    Network,
    User,
    Ipc,
    Uts,
    Pid,
}

impl<F> MakeReply<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<MakeReply<G>, E> {
        Ok(match self {
            Self::Made(MadeProcess { pid, terminal }) => MakeReply::Made(MadeProcess {
                pid,
                terminal: terminal.map(map).transpose()?,
            }),
            Self::CacheMiss(miss) => MakeReply::CacheMiss(miss),
        })
    }

    fn made(&self) -> Option<i32> {
        match self {
            Self::Made(made) => Some(made.pid),
            Self::CacheMiss(_) => None,
        }
    }
}

impl<F> Compiled<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<Compiled<G>, E> {
        Ok(Compiled {
            form: self.form,
            code: map(self.code)?,
        })
    }
}

impl<F> UserNamespace<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<UserNamespace<G>, E> {
        Ok(UserNamespace { fd: map(self.fd)? })
    }
}

impl<F> FetchedModule<F> {
    fn try_map<G, E>(self, map: &mut impl FnMut(F) -> Result<G, E>) -> Result<FetchedModule<G>, E> {
        Ok(FetchedModule {
            module: self.module,
            facts: self.facts,
            file: map(self.file)?,
        })
    }
}

impl<F> FetchedEntrypoint<F> {
    fn try_map<G, E>(
        self,
        map: &mut impl FnMut(F) -> Result<G, E>,
    ) -> Result<FetchedEntrypoint<G>, E> {
        Ok(FetchedEntrypoint {
            path: self.path,
            size: self.size,
            content: self.content.try_map(map)?,
        })
    }
}

impl<F> FetchedApplication<F> {
    fn try_map<G, E>(
        self,
        map: &mut impl FnMut(F) -> Result<G, E>,
    ) -> Result<FetchedApplication<G>, E> {
        Ok(FetchedApplication {
            app: self.app,
            files: self.files.map(map).transpose()?,
        })
    }
}

impl<F> SandboxNamespaces<F> {
    fn try_map<G, E>(
        self,
        map: &mut impl FnMut(F) -> Result<G, E>,
    ) -> Result<SandboxNamespaces<G>, E> {
        let namespaces = self.namespaces.into_iter();
        Ok(SandboxNamespaces {
            holder: self.holder,
            namespaces: namespaces
                .map(|(kind, fd)| Ok((kind, map(fd)?)))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A reply with descriptors. The optional function gives the process that was made.
macro_rules! with_descriptors {
    ($($reply:ident $(, $child:expr)?;)+) => {$(
        impl Reply for $reply<OwnedFd> {
            type Wire = $reply<Slot>;

            fn pack(self, fds: &mut OutgoingFds<OwnedFd>) -> Self::Wire {
                let Ok(wire) = self.try_map(&mut |fd| Ok::<Slot, Infallible>(fds.put(fd)));
                wire
            }

            fn unpack(wire: Self::Wire, fds: &mut IncomingFds) -> Result<Self, MissingFd> {
                wire.try_map(&mut |slot| fds.take(slot))
            }

            $(fn child(&self) -> Option<i32> {
                $child(self)
            })?
        }
    )+};
}

with_descriptors! {
    MakeReply, Self::made;
    Compiled;
    UserNamespace;
    FetchedModule;
    FetchedEntrypoint;
    FetchedApplication;
    SandboxNamespaces, |reply: &Self| reply.holder;
}

/// A reply that is the same on the wire.
macro_rules! without_descriptors {
    ($($reply:ty),+) => {$(
        impl Reply for $reply {
            type Wire = Self;

            fn pack(self, _: &mut OutgoingFds<OwnedFd>) -> Self {
                self
            }

            fn unpack(wire: Self, _: &mut IncomingFds) -> Result<Self, MissingFd> {
                Ok(wire)
            }
        }
    )+};
}

// A fingerprint; the image of a container, and its layers, if it was made of one.
without_descriptors!(String, Option<Target>, Option<ImageLayers>);
