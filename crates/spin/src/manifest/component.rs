//! A component as a manifest describes it; version 2's names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::app::{self, Source};
use crate::{Error, allowed_hosts, variables};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) source: RawSource,
    #[serde(default, rename = "description")]
    pub(super) _description: IgnoredAny,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<RawFiles>,
    #[serde(default)]
    pub(super) exclude_files: Vec<String>,
    #[serde(default)]
    pub(super) allowed_http_hosts: Vec<String>,
    #[serde(default)]
    pub(super) allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    pub(super) key_value_stores: Vec<String>,
    #[serde(default)]
    pub(super) sqlite_databases: Vec<String>,
    #[serde(default)]
    pub(super) ai_models: Vec<String>,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, IgnoredAny>,
    #[serde(default, rename = "dependencies_inherit_configuration")]
    pub(super) _dependencies_inherit_configuration: IgnoredAny,
    #[serde(default, rename = "targets")]
    pub(super) _targets: IgnoredAny,
    #[serde(default, rename = "build")]
    pub(super) _build: IgnoredAny,
    #[serde(default, rename = "tool")]
    pub(super) _tool: IgnoredAny,
    #[serde(default, rename = "profile")]
    pub(super) _profile: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSource {
    File(String),
    Url { url: String },
    Package { package: String },
}

impl Default for RawSource {
    fn default() -> Self {
        Self::File(String::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawFiles {
    Pattern(String),
    Placed { source: String, destination: String },
}

impl Component {
    pub(super) fn into_app(self, id: &str) -> Result<app::Component, Error> {
        let wrong = |reason: String| Error::Component {
            id: id.to_owned(),
            reason,
        };
        let source = match self.source {
            RawSource::File(path) => Source::File(path),
            RawSource::Url { url: place } | RawSource::Package { package: place } => {
                return Err(wrong(format!(
                    "has its Wasm at {place}, and nothing is fetched when a container starts: push \
                     the application by `spin registry push`, which puts it into the artifact"
                )));
            }
        };
        if let Some((name, _)) = self.dependencies.first_key_value() {
            return Err(wrong(format!(
                "depends on {name}, and Medley composes no components: push the application by \
                 `spin registry push --compose`, which composes them"
            )));
        }
        let mut hosts = self.allowed_outbound_hosts;
        hosts.extend(allowed_hosts::of_http_hosts(&self.allowed_http_hosts).map_err(wrong)?);
        allowed_hosts::check(id, &hosts)?;
        let files = self.files.into_iter().map(|files| match files {
            RawFiles::Pattern(pattern) => app::Files::Pattern(pattern),
            RawFiles::Placed {
                source,
                destination,
            } => app::Files::Placed {
                source,
                destination,
            },
        });
        Ok(app::Component {
            source,
            env: self.environment,
            files: files.collect(),
            exclude_files: self.exclude_files,
            variables: variables::of_component(self.variables)?,
            allowed_outbound_hosts: hosts,
            key_value_stores: self.key_value_stores,
            databases: self.sqlite_databases,
            ai_models: self.ai_models,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    #[serde(default, rename = "description")]
    pub(super) _description: IgnoredAny,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    secret: bool,
}

/// Checks the application's variables.
pub(super) fn variables(
    raw: BTreeMap<String, Variable>,
) -> Result<BTreeMap<String, app::Variable>, Error> {
    let read = raw.into_iter().map(|(name, variable)| {
        crate::names::variable(&name)?;
        if variable.required == variable.default.is_some() {
            let reason = if variable.required {
                "it is required, and has a default all the same"
            } else {
                "it has no default, and is not required"
            };
            return Err(Error::Name {
                what: "the variable",
                name,
                reason: reason.to_owned(),
            });
        }
        let variable = app::Variable {
            default: variable.default,
            secret: variable.secret,
        };
        Ok((name, variable))
    });
    read.collect()
}
