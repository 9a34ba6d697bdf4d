//! Version 1: one kind of trigger, and its settings beside each component's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::component::{self, Component, RawFiles, RawSource, Variable};
use super::malformed;
use crate::app::App;
use crate::trigger::{self, RawTrigger};
use crate::{Error, names};

/// What a component of version 1 may connect to, if it does not say: these had no rules then.
const DATABASES: [&str; 3] = ["redis://*:*", "mysql://*:*", "postgres://*:*"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(rename = "spin_manifest_version", alias = "spin_version")]
    _version: IgnoredAny,
    name: String,
    #[serde(default, rename = "version")]
    app_version: Option<String>,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default, rename = "authors")]
    _authors: IgnoredAny,
    trigger: AppTrigger,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    #[serde(default, rename = "component")]
    components: Vec<ComponentV1>,
}

#[derive(Deserialize)]
struct AppTrigger {
    #[serde(rename = "type")]
    kind: String,
    /// What stands before the routes of all components.
    #[serde(default)]
    base: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentV1 {
    id: String,
    source: RawSource,
    trigger: toml::Table,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<RawFiles>,
    #[serde(default)]
    exclude_files: Vec<String>,
    #[serde(default)]
    allowed_http_hosts: Vec<String>,
    allowed_outbound_hosts: Option<Vec<String>>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
    #[serde(default, rename = "build")]
    _build: IgnoredAny,
}

pub(super) fn read(text: &str) -> Result<App, Error> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| malformed(text, &error))?;
    let AppTrigger { kind, base } = manifest.trigger;
    let mut triggers = Vec::new();
    let mut components = BTreeMap::new();
    for raw in manifest.components {
        let id = id(&raw.id)?;
        let mut config = raw.trigger.clone();
        config.insert("component".to_owned(), id.clone().into());
        triggers.push(RawTrigger {
            kind: kind.clone(),
            id: format!("trigger-{id}"),
            config,
        });
        let component = component(raw).into_app(&id)?;
        if components.insert(id.clone(), component).is_some() {
            return Err(Error::DuplicateComponent { id });
        }
    }
    Ok(App {
        name: manifest.name,
        version: manifest.app_version,
        variables: component::variables(manifest.variables)?,
        triggers: trigger::all(base, triggers)?,
        components,
    })
}

/// A component's id. Version 1 took ids that version 2 does not; they are made to fit as Spin makes them.
fn id(id: &str) -> Result<String, Error> {
    if names::component_id(id).is_ok() {
        return Ok(id.to_owned());
    }
    let fitting = id.replace('_', "-").to_lowercase();
    names::component_id(&fitting).map(|()| fitting)
}

fn component(raw: ComponentV1) -> Component {
    let hosts = raw
        .allowed_outbound_hosts
        .unwrap_or_else(|| DATABASES.map(str::to_owned).to_vec());
    Component {
        source: raw.source,
        variables: raw.config,
        environment: raw.environment,
        files: raw.files,
        exclude_files: raw.exclude_files,
        allowed_http_hosts: raw.allowed_http_hosts,
        allowed_outbound_hosts: hosts,
        key_value_stores: raw.key_value_stores,
        sqlite_databases: raw.sqlite_databases,
        ai_models: raw.ai_models,
        ..Component::default()
    }
}
