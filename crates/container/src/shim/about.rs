//! What is on record of a container that no shim remembers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::spec::Features;

/// What commands that come later have to know of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub oci_version: String,
    pub annotations: HashMap<String, String>,
    pub created: SystemTime,
    /// Whether an engine runs it.
    pub is_wasm: bool,
    pub(in crate::shim) in_pod: bool,
    pub(in crate::shim) settings: Settings,
    pub(in crate::shim) features: Features,
}
