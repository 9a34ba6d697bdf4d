//! What makes and opens containers for commands.

use std::io;
use std::sync::Arc;

use medley_dispatch::Options;

use crate::shim::context::ShimContext;
use crate::shim::engine_binaries::EngineBinary;

/// What every command needs to make containers and processes.
#[derive(Debug)]
pub struct Commands {
    pub(super) context: Arc<ShimContext>,
}

impl Commands {
    /// One that runs helpers of this very binary, or of those that have other engines.
    ///
    /// # Errors
    /// Those of opening our own executable, and of making a pipe.
    pub fn new(
        options: Options,
        engine_binaries: Vec<EngineBinary>,
        debug: bool,
    ) -> io::Result<Self> {
        let context = ShimContext::new(options, engine_binaries, debug)?;
        Ok(Self {
            context: Arc::new(context),
        })
    }
}
