//! `spin.toml` ⇒ application, for both versions of the format.

mod component;
mod version1;
mod version2;

use serde::Deserialize;

use crate::Error;
use crate::app::App;

/// What tells the versions of the format apart.
#[derive(Deserialize)]
struct Version {
    #[serde(alias = "spin_version")]
    spin_manifest_version: toml::Value,
}

pub(crate) fn read(text: &str) -> Result<App, Error> {
    let version: Version = toml::from_str(text).map_err(|error| malformed(text, &error))?;
    match &version.spin_manifest_version {
        toml::Value::Integer(2) => version2::read(text),
        toml::Value::String(version) if version == "1" => version1::read(text),
        other => Err(Error::Newer {
            format: "manifest format",
            version: match other {
                toml::Value::String(text) => format!("{text:?}"),
                toml::Value::Integer(number) => number.to_string(),
                other => other.type_str().to_owned(),
            },
            known: "\"1\" and 2",
        }),
    }
}

/// What the parser says of `text`, in one line: it draws the place below its message.
fn malformed(text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map_or_else(String::new, |before| {
        format!("line {}: ", before.matches('\n').count() + 1)
    });
    Error::Manifest {
        reason: format!("{place}{message}"),
    }
}

#[cfg(test)]
mod tests;
