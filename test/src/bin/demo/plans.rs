//! What the shim decided for each container, read from containerd's log: one line a container,
//! whose message is `plan` and then `key=value` pairs.

/// One such line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `linux`, or `wasm` with the engine.
    pub(crate) target: String,
    /// The program or module, empty for a pod's sandbox.
    pub(crate) file: String,
    /// Why it was decided so.
    pub(crate) why: String,
}

/// The plan for the container `id`, if the log has one.
pub(crate) fn find(log: &str, id: &str) -> Option<Plan> {
    let messages = log.lines().map(|line| field(&fields(line), "msg"));
    let plans = messages.filter_map(|message| message.strip_prefix("plan ").map(fields));
    let plan = plans.into_iter().find(|plan| field(plan, "id") == id)?;
    let (kind, engine) = (field(&plan, "kind"), field(&plan, "engine"));
    let file = if kind == "wasm" { "module" } else { "program" };
    Some(Plan {
        target: if engine.is_empty() {
            kind
        } else {
            format!("{kind}, {engine}")
        },
        file: field(&plan, file),
        why: field(&plan, "why"),
    })
}

/// The value of `key`, or nothing.
fn field(fields: &[(String, String)], key: &str) -> String {
    let found = fields.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The fields of a line in logfmt: `key=value key="a value with \"quotes\""`.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_start().to_owned();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, next) = after.split_once(' ').unwrap_or((after, ""));
                (value.to_owned(), next)
            }
        };
        fields.push((key, value));
        rest = next;
    }
    fields
}

/// Reads up to the closing quote; returns the value and what follows.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r##"
time="t" level=info msg="starting containerd"
time="t" level=info msg="plan id=\"abc\" kind=linux program=\"/bin/sh\" why=\"begins with \\\"#!\\\"\""
time="t" level=info msg="plan id=\"def\" kind=wasm engine=wasmtime module=\"/a b.wasm\" form=module export=\"_start\" why=\"asm\""
time="t" level=info msg="plan id=\"pod\" kind=linux why=\"a sandbox\""
"##;

    fn plan(target: &str, file: &str, why: &str) -> Option<Plan> {
        Some(Plan {
            target: target.into(),
            file: file.into(),
            why: why.into(),
        })
    }

    #[test]
    fn a_plan_is_found_by_its_container() {
        assert_eq!(find(LOG, "def"), plan("wasm, wasmtime", "/a b.wasm", "asm"));
        assert_eq!(find(LOG, "pod"), plan("linux", "", "a sandbox"));
        assert_eq!(find(LOG, "ghi"), None);
    }

    #[test]
    fn quotes_inside_quotes_are_read() {
        assert_eq!(
            find(LOG, "abc"),
            plan("linux", "/bin/sh", "begins with \"#!\"")
        );
    }
}
