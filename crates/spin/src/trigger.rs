//! The settings of triggers, which the manifest and the locked application have in common.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Error;
use crate::app::{Handler, HttpTrigger, Route, StaticReply, Triggers};

/// Most triggers of an application.
pub(crate) const MAX_TRIGGERS: usize = 1024;

/// A trigger of either form, before it is checked.
pub(crate) struct RawTrigger<C> {
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Its settings, those of its kind only.
    pub(crate) config: C,
}

/// The settings of an HTTP trigger.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpConfig {
    component: Option<String>,
    static_response: Option<StaticConfig>,
    route: RouteConfig,
    #[serde(default)]
    executor: Option<Executor>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RouteConfig {
    Pattern(String),
    Private(PrivateConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivateConfig {
    private: bool,
}

#[derive(Deserialize)]
struct Executor {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct StaticConfig {
    status_code: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
struct CommandConfig {
    component: String,
}

/// Reads all triggers of an application, which are of one kind. `base` stands before every route.
pub(crate) fn all<'de, C>(
    base: Option<String>,
    triggers: Vec<RawTrigger<C>>,
) -> Result<Triggers, Error>
where
    C: serde::Deserializer<'de>,
    C::Error: std::fmt::Display,
{
    if triggers.len() > MAX_TRIGGERS {
        return Err(Error::ManyTriggers);
    }
    let mut https = Vec::new();
    let mut commands = Vec::new();
    for trigger in triggers {
        let RawTrigger { kind, id, config } = trigger;
        let wrong = |reason: String| Error::Trigger {
            kind: kind.clone(),
            id: id.clone(),
            reason,
        };
        match kind.as_str() {
            "http" => {
                let config = HttpConfig::deserialize(config)
                    .map_err(|error| wrong(format!("has a setting that can't be read: {error}")))?;
                https.push(http(id.clone(), config).map_err(wrong)?);
            }
            "command" => {
                let config = CommandConfig::deserialize(config)
                    .map_err(|error| wrong(format!("has a setting that can't be read: {error}")))?;
                commands.push(config.component);
            }
            _ => return Err(Error::UnknownTrigger { kind }),
        }
    }
    match (https.is_empty(), commands.len()) {
        (true, 0) => Err(Error::NoTrigger),
        (false, 0) => Ok(Triggers::Http {
            base: base.unwrap_or_else(|| "/".to_owned()),
            triggers: https,
        }),
        (false, _) => Err(Error::BothTriggers),
        (true, 1) => Ok(Triggers::Command(commands.remove(0))),
        (true, count) => Err(Error::ManyCommands { count }),
    }
}

fn http(id: String, config: HttpConfig) -> Result<HttpTrigger, String> {
    if let Some(Executor { kind }) = config.executor
        && !["http", "spin"].contains(&kind.as_str())
    {
        return Err(format!(
            "asks for the executor {kind:?}, which Medley does not have: build the component for \
             wasi:http, and leave the executor out"
        ));
    }
    let handler = match (config.component, config.static_response) {
        (Some(component), None) => Handler::Component(component),
        (None, Some(reply)) => Handler::Static(static_reply(reply)?),
        (None, None) => return Err("has neither a component nor a static_response".to_owned()),
        (Some(_), Some(_)) => return Err("has both a component and a static_response".to_owned()),
    };
    let route = match config.route {
        RouteConfig::Pattern(pattern) => Route::Pattern(pattern),
        RouteConfig::Private(PrivateConfig { private: true }) => Route::Private,
        RouteConfig::Private(PrivateConfig { private: false }) => {
            return Err("has the route { private = false }: give it a pattern".to_owned());
        }
    };
    Ok(HttpTrigger { id, route, handler })
}

fn static_reply(config: StaticConfig) -> Result<StaticReply, String> {
    let status = config.status_code.unwrap_or(200);
    if !(200..600).contains(&status) {
        return Err(format!(
            "has a static_response of status {status}, which is none of HTTP's"
        ));
    }
    Ok(StaticReply {
        status,
        headers: config.headers.into_iter().collect(),
        body: config.body,
    })
}
