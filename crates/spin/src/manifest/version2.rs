//! Version 2: triggers and components in tables of their own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::component::{self, Component, Variable};
use super::malformed;
use crate::app::App;
use crate::trigger::{self, RawTrigger};
use crate::{Error, names};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(rename = "spin_manifest_version")]
    _version: IgnoredAny,
    application: Application,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    #[serde(default, rename = "trigger")]
    triggers: toml::Table,
    #[serde(default, rename = "component")]
    components: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    name: String,
    #[serde(default, rename = "version")]
    version: Option<String>,
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
    #[serde(default, rename = "authors")]
    _authors: IgnoredAny,
    #[serde(default, rename = "targets")]
    _targets: IgnoredAny,
    #[serde(default, rename = "trigger")]
    triggers: BTreeMap<String, toml::Table>,
    #[serde(default, rename = "tool")]
    _tool: IgnoredAny,
}

#[derive(Deserialize)]
struct Trigger {
    #[serde(default)]
    id: String,
    component: Option<RawComponent>,
    #[serde(default)]
    dependencies: BTreeMap<String, IgnoredAny>,
    #[serde(flatten)]
    config: toml::Table,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawComponent {
    Id(String),
    Inline(Box<Component>),
}

pub(super) fn read(text: &str) -> Result<App, Error> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| malformed(text, &error))?;
    let mut components = BTreeMap::new();
    for (id, component) in manifest.components {
        names::component_id(&id)?;
        let component = component.into_app(&id)?;
        components.insert(id, component);
    }
    let mut triggers = Vec::new();
    for (kind, list) in manifest.triggers {
        let list: Vec<Trigger> = list.try_into().map_err(|error| malformed("", &error))?;
        for (number, mut trigger) in list.into_iter().enumerate() {
            if triggers.len() >= trigger::MAX_TRIGGERS {
                return Err(Error::ManyTriggers);
            }
            let id = trigger_id(&kind, number, &trigger);
            if let Some((role, _)) = trigger.dependencies.first_key_value() {
                return Err(Error::Trigger {
                    kind,
                    id,
                    reason: format!(
                        "has the dependency {role:?}, and Medley composes no components"
                    ),
                });
            }
            match trigger.component.take() {
                None => {}
                Some(RawComponent::Id(component)) => {
                    trigger
                        .config
                        .insert("component".to_owned(), component.into());
                }
                Some(RawComponent::Inline(component)) => {
                    let name = inline_id(&id, &components);
                    let component = component.into_app(&name)?;
                    components.insert(name.clone(), component);
                    trigger.config.insert("component".to_owned(), name.into());
                }
            }
            triggers.push(RawTrigger {
                kind: kind.clone(),
                id,
                config: trigger.config,
            });
        }
    }
    let base = manifest.application.triggers.get("http");
    let base = base.and_then(|http| http.get("base")?.as_str().map(str::to_owned));
    Ok(App {
        name: manifest.application.name,
        version: manifest.application.version,
        variables: component::variables(manifest.variables)?,
        triggers: trigger::all(base, triggers)?,
        components,
    })
}

/// The trigger's id, or one that is made of its component's.
fn trigger_id(kind: &str, number: usize, trigger: &Trigger) -> String {
    match &trigger.component {
        _ if !trigger.id.is_empty() => trigger.id.clone(),
        Some(RawComponent::Id(component)) => format!("{component}-{kind}-trigger"),
        _ => format!("{kind}-trigger{}", number + 1),
    }
}

/// An id for a component that stands within a trigger.
fn inline_id(trigger: &str, components: &BTreeMap<String, crate::app::Component>) -> String {
    let natural = format!("{trigger}-component");
    if names::component_id(&natural).is_ok() && !components.contains_key(&natural) {
        return natural;
    }
    let mut number = 1;
    loop {
        let id = format!("inline-component{number}");
        if !components.contains_key(&id) {
            return id;
        }
        number += 1;
    }
}
