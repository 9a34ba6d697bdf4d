//! What every call of this shim shares.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};

use medley_dispatch::Options;
use medley_image::store::Address;

use super::engine_binaries::EngineBinary;
use super::helper_client::Helpers;
use super::image_layers::Images;
use super::settings::Settings;

/// What every call of this shim shares.
#[derive(Debug)]
pub(super) struct ShimContext {
    pub(super) helpers: Helpers,
    options: Options,
    /// Which containerd has the images; `None` if there is none to ask.
    pub(super) containerd: Option<Address>,
    /// Open as long as the shim lives, which an init that waits to be started looks at.
    alive: (PipeReader, PipeWriter),
}

impl ShimContext {
    pub(super) fn new(
        options: Options,
        engine_binaries: Vec<EngineBinary>,
        debug: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            helpers: Helpers::new(engine_binaries, debug)?,
            options,
            containerd: None,
            alive: io::pipe()?,
        })
    }

    pub(super) fn images(&self) -> Images<'_> {
        Images {
            helpers: &self.helpers,
            containerd: self.containerd.as_ref(),
        }
    }

    /// A pipe that ends with the shim.
    pub(super) fn alive(&self) -> BorrowedFd<'_> {
        self.alive.0.as_fd()
    }

    /// What dispatch may choose from for a container with these settings.
    pub(super) fn options_for(&self, settings: &Settings) -> Options {
        let mut options = self.options.clone();
        if let Some(engine) = settings.default_engine {
            options.default_engine = engine;
        }
        options
    }
}
