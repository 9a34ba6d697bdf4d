//! The config of an artifact ⇒ application: what `spin registry push` makes of a manifest.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::app::{self, App, Source};
use crate::trigger::{self, RawTrigger};
use crate::{Error, allowed_hosts, names, variables};

/// What an application may need of its host, and finds here.
const HOST_FEATURES: [&str; 1] = ["local_service_chaining"];

#[derive(Deserialize)]
struct Version {
    spin_lock_version: serde_json::Value,
}

/// Fields that are not named here are passed over, as the format has it: what must not be is in
/// `must_understand`.
#[derive(Deserialize)]
struct Locked {
    #[serde(default)]
    must_understand: Vec<String>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    host_requirements: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    triggers: Vec<Trigger>,
    components: Vec<Component>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    version: Option<String>,
    /// The settings of kinds of triggers.
    #[serde(default)]
    triggers: BTreeMap<String, serde_json::Value>,
    /// The same of version 0, where there is one kind only.
    trigger: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Variable {
    default: Option<String>,
    #[serde(default)]
    secret: bool,
}

#[derive(Deserialize)]
struct Trigger {
    id: String,
    trigger_type: String,
    trigger_config: serde_json::Value,
    #[serde(default)]
    trigger_dependencies: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Component {
    id: String,
    #[serde(default)]
    metadata: ComponentMetadata,
    source: Content,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    trigger_dependencies: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    host_requirements: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct ComponentMetadata {
    #[serde(default)]
    allowed_http_hosts: Vec<String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    inline: Option<String>,
    digest: Option<String>,
}

pub(crate) fn read(json: &[u8]) -> Result<App, Error> {
    let malformed = |error: serde_json::Error| Error::Locked {
        reason: error.to_string(),
    };
    let Version { spin_lock_version } = serde_json::from_slice(json).map_err(malformed)?;
    if !matches!(spin_lock_version.as_u64(), Some(0 | 1)) {
        return Err(Error::Newer {
            format: "lock file format",
            version: spin_lock_version.to_string(),
            known: "0 and 1",
        });
    }
    let locked: Locked = serde_json::from_slice(json).map_err(malformed)?;
    for field in &locked.must_understand {
        if !["host_requirements", "component_host_requirements"].contains(&field.as_str()) {
            return Err(Error::HostRequirement {
                feature: field.clone(),
            });
        }
    }
    needs(&locked.host_requirements)?;
    let mut components = BTreeMap::new();
    for component in locked.components {
        let id = component.id.clone();
        // It becomes the name of a dir.
        if id.is_empty() || id.contains(['/', '\0']) || id.starts_with('.') {
            return Err(Error::Name {
                what: "the component id",
                name: id,
                reason: "it has a slash, begins with a dot, or is empty".to_owned(),
            });
        }
        if components
            .insert(id.clone(), read_component(component)?)
            .is_some()
        {
            return Err(Error::DuplicateComponent { id });
        }
    }
    let mut triggers = Vec::new();
    for trigger in locked.triggers {
        if let Some((role, _)) = trigger.trigger_dependencies.first_key_value() {
            return Err(Error::Trigger {
                kind: trigger.trigger_type,
                id: trigger.id,
                reason: format!("has the dependency {role:?}, and Medley composes no components"),
            });
        }
        triggers.push(RawTrigger {
            kind: trigger.trigger_type,
            id: trigger.id,
            config: trigger.trigger_config,
        });
    }
    let mut variables = BTreeMap::new();
    for (name, Variable { default, secret }) in locked.variables {
        names::variable(&name)?;
        variables.insert(name, app::Variable { default, secret });
    }
    let settings = locked
        .metadata
        .triggers
        .get("http")
        .or(locked.metadata.trigger.as_ref());
    let base = settings.and_then(|http| http.get("base")?.as_str().map(str::to_owned));
    Ok(App {
        name: locked.metadata.name,
        version: locked.metadata.version,
        variables,
        triggers: trigger::all(base, triggers)?,
        components,
    })
}

/// Checks that what the application must find with its host is here.
fn needs(requirements: &BTreeMap<String, serde_json::Value>) -> Result<(), Error> {
    let optional = |value: &serde_json::Value| value.as_str() == Some("optional");
    let missing = requirements
        .iter()
        .find(|(feature, value)| !optional(value) && !HOST_FEATURES.contains(&feature.as_str()));
    match missing {
        Some((feature, _)) => Err(Error::HostRequirement {
            feature: feature.clone(),
        }),
        None => Ok(()),
    }
}

fn read_component(component: Component) -> Result<app::Component, Error> {
    let id = component.id;
    let wrong = |reason: String| Error::Component {
        id: id.clone(),
        reason,
    };
    needs(&component.host_requirements)?;
    let dependencies = component.dependencies.into_iter();
    if let Some((name, _)) = dependencies.chain(component.trigger_dependencies).next() {
        return Err(wrong(format!(
            "depends on {name}, and Medley composes no components: push the application by `spin \
             registry push --compose`, which composes them"
        )));
    }
    let Some(digest) = component.source.digest else {
        return Err(wrong("has no digest of its Wasm".to_owned()));
    };
    let files: Result<Vec<_>, Error> = component
        .files
        .into_iter()
        .map(|file| read_file(&id, file))
        .collect();
    let metadata = component.metadata;
    let mut hosts = metadata.allowed_outbound_hosts;
    hosts.extend(allowed_hosts::of_http_hosts(&metadata.allowed_http_hosts).map_err(wrong)?);
    allowed_hosts::check(&id, &hosts)?;
    Ok(app::Component {
        source: Source::Layer(digest),
        env: component.env,
        files: files?,
        exclude_files: Vec::new(),
        variables: variables::of_component(component.config)?,
        allowed_outbound_hosts: hosts,
        key_value_stores: metadata.key_value_stores,
        databases: metadata.databases,
        ai_models: metadata.ai_models,
    })
}

fn read_file(component: &str, file: File) -> Result<app::Files, Error> {
    let wrong = |reason: String| Error::Component {
        id: component.to_owned(),
        reason,
    };
    let path = file.path;
    // Spin refuses it as well: a path leads from the component's root down, and nowhere else.
    let leads_down = |part: &str| !part.is_empty() && part != "." && part != "..";
    let below_root = path.strip_prefix('/').unwrap_or(&path);
    if !below_root.split('/').all(leads_down) {
        return Err(wrong(format!(
            "has a file at {path:?}, which is no path below its root"
        )));
    }
    match file.content {
        Content {
            inline: Some(content),
            ..
        } => {
            let content = base64::engine::general_purpose::STANDARD.decode(content);
            let content = content.map_err(|error| {
                wrong(format!(
                    "has the file {path:?}, which is no base64: {error}"
                ))
            })?;
            Ok(app::Files::Inline { content, path })
        }
        Content {
            digest: Some(digest),
            ..
        } => Ok(app::Files::Layer { digest, path }),
        Content { .. } => Err(wrong(format!(
            "has the file {path:?}, of which there is neither digest nor content"
        ))),
    }
}

#[cfg(test)]
mod tests;
