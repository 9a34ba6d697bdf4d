//! Docker's `daemon.json`, to which runtimes are added with every byte of the rest kept.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::names;

const RUNTIMES: &str = "runtimes";

/// A runtime for Docker: its name, and what it is to containerd.
pub(crate) type Runtime = (String, String);

/// The file with these runtimes in it; says too which of them were not there.
pub(crate) fn add(
    path: &Path,
    text: Option<&str>,
    runtimes: &[Runtime],
) -> Result<(String, Vec<String>), Error> {
    let mut text = text.unwrap_or_default().to_owned();
    if text.trim().is_empty() {
        text = "{\n}\n".to_owned();
    }
    let mut added = Vec::new();
    for (name, runtime) in runtimes {
        match present(path, &text, name)? {
            Some(found) if found == *runtime || names::is_ours(&found) => continue,
            Some(found) => {
                return Err(Error::Taken {
                    handler: name.clone(),
                    found,
                    path: path.to_owned(),
                });
            }
            None => {}
        }
        let entry = format!("\"{name}\": {{ \"runtimeType\": \"{runtime}\" }}");
        let top = Object::at(&text, start(&text));
        text = match top.find(&text, RUNTIMES) {
            Some(member) => Object::at(&text, member.value.start).with(&text, &entry),
            None => {
                let indent = top.indent(&text);
                let entry = format!("\"{RUNTIMES}\": {{\n{indent}{indent}{entry}\n{indent}}}");
                top.with(&text, &entry)
            }
        };
        added.push(name.clone());
    }
    parse(path, &text)?;
    Ok((text, added))
}

/// The file without these, as far as they are this shim's; `None` if nothing is left.
pub(crate) fn remove(
    path: &Path,
    text: &str,
    handlers: &[String],
) -> Result<Option<String>, Error> {
    let mut text = text.to_owned();
    let top = parse(path, &text)?;
    for name in handlers {
        if !present(path, &text, name)?.is_some_and(|found| is_ours(&found)) {
            continue;
        }
        if top.get("default-runtime").and_then(Value::as_str) == Some(name) {
            return Err(Error::IsDefault {
                handler: name.clone(),
                path: path.to_owned(),
            });
        }
        let object = Object::at(&text, start(&text));
        let Some(runtimes) = object.find(&text, RUNTIMES) else {
            continue;
        };
        let inner = Object::at(&text, runtimes.value.start);
        text = if inner.members.len() == 1 {
            object.without(&text, RUNTIMES)
        } else {
            inner.without(&text, name)
        };
    }
    let left = parse(path, &text)?;
    Ok((!left.is_empty()).then_some(text))
}

/// Whether a runtime is this shim's, by its type or by its file.
fn is_ours(runtime: &str) -> bool {
    let file = Path::new(runtime).file_name();
    names::is_ours(runtime)
        || file.is_some_and(|file| file == names::SHIM || names::alias(file).is_some())
}

/// The runtimes that it has and that are this shim's.
pub(crate) fn ours(path: &Path, text: &str) -> Result<Vec<String>, Error> {
    let top = parse(path, text)?;
    let runtimes = top.get(RUNTIMES).and_then(Value::as_object);
    let ours = runtimes.into_iter().flatten().filter(|(_, runtime)| {
        let kind = runtime.get("runtimeType").and_then(Value::as_str);
        kind.is_some_and(is_ours)
    });
    Ok(ours.map(|(name, _)| name.clone()).collect())
}

/// What a runtime of this name is; its `path`, if it is none of containerd's.
fn present(path: &Path, text: &str, name: &str) -> Result<Option<String>, Error> {
    let top = parse(path, text)?;
    let Some(runtimes) = top.get(RUNTIMES) else {
        return Ok(None);
    };
    let Some(runtimes) = runtimes.as_object() else {
        return Err(Error::Shape {
            path: path.to_owned(),
            key: RUNTIMES.to_owned(),
            found: "something else".to_owned(),
            expected: "an object",
        });
    };
    let Some(runtime) = runtimes.get(name) else {
        return Ok(None);
    };
    let word = |key| runtime.get(key).and_then(Value::as_str);
    let found = word("runtimeType").or(word("path"));
    Ok(Some(found.unwrap_or("something else").to_owned()))
}

fn parse(path: &Path, text: &str) -> Result<serde_json::Map<String, Value>, Error> {
    // An empty file is one that says nothing, to Docker too.
    if text.trim().is_empty() {
        return Ok(serde_json::Map::new());
    }
    serde_json::from_str(text).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// Where the outermost object begins. The text is valid JSON.
fn start(text: &str) -> usize {
    text.find('{').unwrap_or_default()
}

#[derive(Debug, Clone)]
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// An object of a valid text, by its places.
#[derive(Debug)]
struct Object {
    open: usize,
    close: usize,
    members: Vec<Member>,
}

impl Object {
    fn at(text: &str, open: usize) -> Self {
        let bytes = text.as_bytes();
        let mut members = Vec::new();
        let mut at = skip_space(bytes, open + 1);
        while bytes.get(at) == Some(&b'"') {
            let key = at..end_of_value(bytes, at);
            let colon = skip_space(bytes, key.end);
            let value = skip_space(bytes, colon + 1);
            let value = value..end_of_value(bytes, value);
            at = skip_space(bytes, value.end);
            if bytes.get(at) == Some(&b',') {
                at = skip_space(bytes, at + 1);
            }
            members.push(Member { key, value });
        }
        Self {
            open,
            close: at,
            members,
        }
    }

    fn find(&self, text: &str, name: &str) -> Option<Member> {
        let is = |member: &&Member| {
            serde_json::from_str::<String>(&text[member.key.clone()]).is_ok_and(|key| key == name)
        };
        self.members.iter().find(is).cloned()
    }

    /// How its members are indented, if each has a line of its own.
    fn indent<'t>(&self, text: &'t str) -> &'t str {
        let Some(first) = self.members.first() else {
            return "  ";
        };
        let space = &text[self.open + 1..first.key.start];
        space.rsplit_once('\n').map_or("  ", |(_, indent)| indent)
    }

    /// The text with another member at its end.
    fn with(&self, text: &str, entry: &str) -> String {
        let Some(last) = self.members.last() else {
            let line = text[..self.open].rsplit('\n').next().unwrap_or_default();
            let outer = &line[..line.len() - line.trim_start().len()];
            let (before, after) = (&text[..=self.open], &text[self.close..]);
            return format!("{before}\n{outer}  {entry}\n{outer}{after}");
        };
        let first = &self.members[0];
        let space = &text[self.open + 1..first.key.start];
        let between = if space.contains('\n') {
            format!(",\n{}", self.indent(text))
        } else {
            ", ".to_owned()
        };
        let (before, after) = text.split_at(last.value.end);
        format!("{before}{between}{entry}{after}")
    }

    /// The text without a member.
    fn without(&self, text: &str, name: &str) -> String {
        let Some(found) = self.find(text, name) else {
            return text.to_owned();
        };
        let at = self.members.iter().position(|m| m.key == found.key);
        let at = at.unwrap_or_default();
        let cut = match (at.checked_sub(1), self.members.get(at + 1)) {
            (Some(before), _) => self.members[before].value.end..found.value.end,
            (None, Some(next)) => found.key.start..next.key.start,
            (None, None) => self.open + 1..self.close,
        };
        format!("{}{}", &text[..cut.start], &text[cut.end..])
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the value that begins at `at` ends.
fn end_of_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    let mut in_string = false;
    while let Some(byte) = bytes.get(at) {
        match (in_string, byte) {
            (true, b'\\') => at += 1,
            (_, b'"') => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return at + 1;
                }
            }
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') if depth == 0 => return at,
            (false, b'}' | b']') => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            (false, b',') if depth == 0 => return at,
            (false, byte) if depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{add, remove};
    use std::path::Path;

    fn wasm() -> Vec<(String, String)> {
        vec![("wasm".into(), "io.containerd.wasm.v1".into())]
    }

    fn added(text: Option<&str>) -> String {
        add(Path::new("d"), text, &wasm()).unwrap().0
    }

    #[test]
    fn a_runtime_is_added_in_the_files_own_hand_and_taken_away() {
        let entry = r#""wasm": { "runtimeType": "io.containerd.wasm.v1" }"#;
        let new = format!("{{\n  \"runtimes\": {{\n    {entry}\n  }}\n}}\n");
        for (before, after) in [
            (None, new.clone()),
            (Some(""), new.clone()),
            (Some("{}\n"), new),
            (
                Some("{\n\t\"debug\": true\n}\n"),
                format!("{{\n\t\"debug\": true,\n\t\"runtimes\": {{\n\t\t{entry}\n\t}}\n}}\n"),
            ),
            (
                Some("{\n    \"runtimes\": {\n        \"k\": {\"path\": \"/k,}\\\"{\"}\n    }\n}"),
                format!(
                    "{{\n    \"runtimes\": {{\n        \"k\": {{\"path\": \"/k,}}\\\"{{\"}},\n        {entry}\n    }}\n}}"
                ),
            ),
            (
                Some(r#"{"a": [1, {"runtimes": {}}], "runtimes": {"k": {}}}"#),
                format!(
                    r#"{{"a": [1, {{"runtimes": {{}}}}], "runtimes": {{"k": {{}}, {entry}}}}}"#
                ),
            ),
        ] {
            let text = added(before);
            assert_eq!(text, after);
            assert_eq!(added(Some(&text)), text, "the second time");
            let back = remove(Path::new("d"), &text, &["wasm".into()]).unwrap();
            let nothing = before.is_none_or(|text| ["", "{}"].contains(&text.trim()));
            assert_eq!(back.as_deref(), before.filter(|_| !nothing));
        }
    }

    #[test]
    fn what_is_not_ours_or_no_json_is_refused() {
        let theirs = r#"{"runtimes": {"wasm": {"path": "/usr/bin/other"}}}"#;
        for (text, words) in [
            (theirs, "runs /usr/bin/other already"),
            (r#"{"runtimes": []}"#, "must be an object"),
            ("{\"a\": 1,\n}", "line 2 column 1"),
        ] {
            let error = add(Path::new("/d"), Some(text), &wasm()).unwrap_err();
            let told = crate::error::told(&error);
            assert!(told.contains(words), "{told}");
        }
        let kept = remove(Path::new("d"), theirs, &["wasm".into()]).unwrap();
        assert_eq!(kept.as_deref(), Some(theirs));
    }

    #[test]
    fn the_default_runtime_is_not_taken_away() {
        let text = added(Some(r#"{"default-runtime": "wasm"}"#));
        let error = remove(Path::new("/d"), &text, &["wasm".into()]).unwrap_err();
        assert!(error.to_string().contains("default"), "{error}");
    }
}
