//! Spin applications: what their manifest or their artifact's config says, checked; which component
//! answers a request; what a component may reach.
//!
//! This crate knows neither containers nor an engine. It follows Spin's manifest format, versions 1 and 2,
//! and the format of its locked applications, versions 0 and 1 (<https://spinframework.dev/v3/manifest-reference>).
//!
//! | file | what |
//! |---|---|
//! | `app` | an application, whichever form it came in |
//! | `manifest` | `spin.toml` ⇒ application |
//! | `locked` | the config of an artifact ⇒ application |
//! | `trigger` | the settings of triggers, which both forms have in common |
//! | `names` | which ids and names Spin allows |
//! | `routes` | path ⇒ trigger |
//! | `headers` | the `spin-*` headers of a request |
//! | `template` | `{{ variable }}` in values |
//! | `variables` | the variables' values |
//! | `files` | which files a component sees |
//! | `pack` | an artifact's files on their way into a container |
//! | `allowed_hosts` | what a component may connect to |

#![forbid(unsafe_code)]

pub mod allowed_hosts;
pub mod app;
mod error;
pub mod files;
pub mod headers;
mod locked;
mod manifest;
mod names;
pub mod pack;
pub mod routes;
pub mod template;
mod trigger;
pub mod variables;

pub use app::App;
pub use error::Error;
