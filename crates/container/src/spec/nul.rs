//! NUL in a spec's texts. The kernel takes a text for ended there, and calls refuse it in words of
//! their own.

use serde_json::Value;

/// Where a NUL is not looked for: annotations are the client's own, and the environment has an error of
/// its own.
const PASSED_OVER: [&str; 3] = ["annotations", "process.env", "env"];

/// Where in a JSON document a text has a NUL in it, and the text.
pub(super) fn find(document: &[u8]) -> Option<(String, String)> {
    // JSON has it escaped, and by one escape alone. Few documents have any.
    let mut escapes = document.split(|byte| *byte == b'\\').skip(1);
    escapes.find(|rest| rest.starts_with(b"u0000"))?;
    within(&serde_json::from_slice(document).ok()?, "")
}

fn within(value: &Value, place: &str) -> Option<(String, String)> {
    if PASSED_OVER.contains(&place) {
        return None;
    }
    let found = |text: &str| {
        text.contains('\0')
            .then(|| (place.to_owned(), text.to_owned()))
    };
    match value {
        Value::String(text) => found(text),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(at, value)| within(value, &format!("{place}[{at}]"))),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let dot = if place.is_empty() { "" } else { "." };
            found(name).or_else(|| within(value, &format!("{place}{dot}{name}")))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_nul_is_found_with_its_place() {
        let found = |document: &str| find(document.as_bytes());
        let place = |place: &str, text: &str| Some((place.to_owned(), text.to_owned()));
        assert_eq!(
            found(r#"{"mounts": [{"source": "a"}, {"source": "/etc\u0000x"}]}"#),
            place("mounts[1].source", "/etc\0x")
        );
        assert_eq!(
            found(r#"{"linux": {"sysctl": {"a\u0000": "b"}}}"#),
            place("linux.sysctl", "a\0")
        );
        for document in [
            r#"{"annotations": {"a": "\u0000"}, "process": {"env": ["A=\u0000"]}}"#,
            r#"{"a": "\\u0000"}"#,
            r#"{"a": "\u0000"#,
            "",
        ] {
            assert_eq!(found(document), None, "{document}");
        }
    }
}
