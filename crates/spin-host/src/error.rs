//! What keeps an application from being started.

#[cfg(feature = "stores")]
use std::path::PathBuf;

/// Why an application's host interfaces can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that `RUNTIME_CONFIG_FILE` names, or the one at its place, can't be read.
    #[cfg(feature = "stores")]
    #[error("the runtime config {} can't be read: {reason}", path.display())]
    RuntimeConfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A component names a store, and there are none.
    #[cfg(not(feature = "stores"))]
    #[error(
        "component {component:?} asks for the store or database {label:?}, and this Medley is built \
         without spin-stores: run a build that has this feature"
    )]
    NoStores {
        /// The component's id.
        component: String,
        /// The store's name.
        label: String,
    },
    /// A component names a store that is not configured.
    #[cfg(feature = "stores")]
    #[error(
        "component {component:?} asks for the {kind} {label:?}, which is not there: add \
         [{table}.{label}] to the runtime config"
    )]
    NoSuchLabel {
        /// The component's id.
        component: String,
        /// `key-value store` or `SQLite database`.
        kind: &'static str,
        /// Its name.
        label: String,
        /// The table of the runtime config that has them.
        table: &'static str,
    },
    /// A component names models.
    #[error(
        "component {component:?} asks for the AI model {model:?}, and Medley has none: take it out of \
         ai_models"
    )]
    AiModel {
        /// The component's id.
        component: String,
        /// The first of its models.
        model: String,
    },
}
