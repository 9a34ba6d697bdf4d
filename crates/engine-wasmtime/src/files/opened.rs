//! What is kept with a component's store of the files that it has open.

use std::collections::HashMap;
use std::path::PathBuf;

use super::streams::Stream;

/// What is kept of a component's files.
#[derive(Default)]
pub(crate) struct Opened {
    /// Where dirs are that it has opened, by handle.
    pub(super) dirs: HashMap<u32, PathBuf>,
    /// The streams that it has opened as files.
    pub(super) streams: HashMap<u32, Stream>,
}
