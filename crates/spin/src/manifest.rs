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

/// The stack of the thread that reads a manifest, in bytes. A parser goes down by one level for each part of a
/// dotted key in each inline table, which in 1 MiB are some thousands.
const STACK: usize = 64 << 20;

/// Reads a manifest, on a thread of its own: its depth is up to whoever wrote it.
pub(crate) fn read(text: &str) -> Result<App, Error> {
    let reading = |reason: String| Error::Manifest { reason };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("manifest".to_owned());
        let thread = thread.stack_size(STACK).spawn_scoped(scope, || parse(text));
        let thread =
            thread.map_err(|error| reading(format!("there is no thread for it: {error}")))?;
        let read = thread.join();
        read.unwrap_or_else(|_| Err(reading("its parser failed".to_owned())))
    })
}

fn parse(text: &str) -> Result<App, Error> {
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
