//! What a container's environment says to the engine.

/// A variable that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment has {name}={value:?}, which is not {expected}")]
pub(crate) struct Error {
    name: &'static str,
    value: String,
    expected: &'static str,
}

/// Reads a variable, where it is set and not empty.
pub(crate) fn parse<T>(
    env: &[(String, String)],
    name: &'static str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    // Of two of the same name the last one counts, as for a Linux program.
    let value = env.iter().rev().find(|(key, _)| key == name);
    let Some(value) = value
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    read(value).map(Some).ok_or_else(|| Error {
        name,
        value: value.to_owned(),
        expected,
    })
}
