//! k3s' and RKE2's templates, out of which they make containerd's configuration at each start.
//!
//! They are Go's `text/template` and no TOML, so ours is a block of lines between two comments.

use std::fmt::Write;
use std::path::Path;

use toml_edit::Key;

use crate::config::{Handler, plugin};
use crate::error::Error;
use crate::names::ANNOTATIONS;

const BEGIN: &str =
    "# BEGIN containerd-shim-wasm-v1: added by `install`, taken away by `uninstall`\n";
const END: &str = "# END containerd-shim-wasm-v1\n";

/// The handler that containerd 1.x has without being told.
const RUNC: &str = "runc";

/// The versions whose configurations add to what containerd has by itself.
const MERGED: i64 = 3;

/// What a template begins with that adds to their own.
const BASE: &str = "{{ template \"base\" . }}\n";

/// The handlers that k3s adds by itself where it finds a program of that name: a second table of the
/// same name would be an error.
const OF_K3S: [&str; 8] = [
    "crun", "lunatic", "slight", "spin", "wws", "wasmedge", "wasmer", "wasmtime",
];

/// A template with these handlers in it; `None` is one that is not there yet.
pub(crate) fn add(
    path: &Path,
    text: Option<&str>,
    version: i64,
    handlers: &[Handler],
) -> Result<String, Error> {
    let (before, after) = match text {
        None => (format!("{BASE}\n"), String::new()),
        Some(text) => match cut(text) {
            Some((before, after)) => (before.to_owned(), after.to_owned()),
            None if text.ends_with('\n') || text.is_empty() => (format!("{text}\n"), String::new()),
            None => (format!("{text}\n\n"), String::new()),
        },
    };
    for handler in handlers {
        for part in [&before, &after] {
            if has(part, version, &handler.name) {
                return Err(Error::Taken {
                    handler: handler.name.clone(),
                    found: "another runtime".to_owned(),
                    path: path.to_owned(),
                });
            }
        }
    }
    let block = block(text, version, handlers, |_| false);
    Ok(format!("{before}{BEGIN}{block}{END}{after}"))
}

/// The tables, but for those that are present. Where containerd 1.x has runc's by itself, as long as none is
/// named, that one comes first.
fn block(
    text: Option<&str>,
    version: i64,
    handlers: &[Handler],
    present: impl Fn(&str) -> bool,
) -> String {
    let tables = handlers.iter().filter(|handler| !present(&handler.name));
    let tables: String = tables.map(|handler| table(version, handler)).collect();
    if is_without_handlers(text, version) && !present(RUNC) {
        let place = place(version, RUNC);
        return format!("[{place}]\n  runtime_type = \"io.containerd.runc.v2\"\n{tables}");
    }
    tables
}

/// Whether a template is all of the configuration, and names no handler but ours.
fn is_without_handlers(text: Option<&str>, version: i64) -> bool {
    let Some(text) = text.filter(|text| version < MERGED && !is_extension(text)) else {
        return false;
    };
    let (before, after) = cut(text).unwrap_or((text, ""));
    let mut lines = before.lines().chain(after.lines());
    !lines.any(|line| handler_of_header(line, version).is_some())
}

/// Whether it adds to k3s' own template, instead of taking its place.
fn is_extension(text: &str) -> bool {
    text.lines()
        .any(|line| line.contains("{{") && line.contains("template") && line.contains("\"base\""))
}

/// The version of the configuration that k3s makes of a template. One that extends k3s' own has the version
/// that its file's name stands for, `by_name`; one that is all of the configuration says its own.
pub(crate) fn version_of(text: Option<&str>, by_name: i64) -> i64 {
    let Some(text) = text.filter(|text| !text.trim().is_empty() && !is_extension(text)) else {
        return by_name;
    };
    let version = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.split('#').next()?;
        (key.trim() == "version").then(|| value.trim().parse().ok())?
    };
    // As containerd 1.x has it.
    text.lines().find_map(version).unwrap_or(1)
}

/// The template without them; `None` if nothing is left that others wrote.
pub(crate) fn remove(text: &str) -> Option<String> {
    let Some((before, after)) = cut(text) else {
        return Some(text.to_owned());
    };
    // The empty line that stands before the block is ours too.
    let empty = before
        .strip_suffix("\r\n")
        .or_else(|| before.strip_suffix('\n'));
    let before = empty.unwrap_or(before);
    let rest = format!("{before}{after}");
    (rest.trim() != BASE.trim()).then_some(rest)
}

/// What stands before and behind the block.
fn cut(text: &str) -> Option<(&str, &str)> {
    // An editor may have given each line another end.
    let (first, last) = (BEGIN.trim_end(), END.trim_end());
    let begin = text.find(first)?;
    let end = begin + text[begin..].find(last)? + last.len();
    let rest = text[end..]
        .find('\n')
        .map_or("", |newline| &text[end + newline + 1..]);
    Some((&text[..begin], rest))
}

/// The handlers in the block.
pub(crate) fn handlers(text: &str, version: i64) -> Vec<String> {
    let Some((before, after)) = cut(text) else {
        return Vec::new();
    };
    let block = &text[before.len()..text.len() - after.len()];
    let names = block
        .lines()
        .filter_map(|line| handler_of_header(line, version));
    names.filter(|name| name != RUNC).collect()
}

fn place(version: i64, name: &str) -> String {
    format!("plugins.'{}'.containerd.runtimes.{name}", plugin(version))
}

fn table(version: i64, handler: &Handler) -> String {
    let name = &handler.name;
    let place = place(version, name);
    let annotations = ANNOTATIONS
        .map(|pattern| format!("\"{pattern}\""))
        .join(", ");
    let runtime = handler.runtime;
    let mut text = format!("[{place}]\n  runtime_type = \"{runtime}\"\n");
    if let Some(path) = &handler.path {
        // Writing into a string does not fail.
        writeln!(text, "  runtime_path = \"{}\"", path.display()).ok();
    }
    writeln!(text, "  pod_annotations = [{annotations}]").ok();
    writeln!(
        text,
        "[{place}.options]\n  SystemdCgroup = {{{{ .SystemdCgroup }}}}"
    )
    .ok();
    if OF_K3S.contains(&&**name) {
        // Where k3s has found such a program, its own table is the one.
        let guard = format!("{{{{ if not (index .ExtraRuntimes \"{name}\").RuntimeType }}}}");
        return format!("{guard}\n{text}{{{{ end }}}}\n");
    }
    text
}

/// The block as k3s would fill it in, to be checked by containerd behind a file that k3s has made.
pub(crate) fn filled(
    text: Option<&str>,
    version: i64,
    handlers: &[Handler],
    present: impl Fn(&str) -> bool,
) -> String {
    let block = block(text, version, handlers, present);
    let block = block.replace("{{ .SystemdCgroup }}", "true");
    let lines = block.lines().filter(|line| !line.starts_with("{{"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Whether the template has a table for this handler that is not ours.
pub(crate) fn has_own(text: &str, version: i64, name: &str) -> bool {
    let (before, after) = cut(text).unwrap_or((text, ""));
    [before, after].iter().any(|part| has(part, version, name))
}

/// Whether a part of a template has a table for this handler.
fn has(text: &str, version: i64, name: &str) -> bool {
    text.lines()
        .any(|line| handler_of_header(line, version).is_some_and(|found| found == name))
}

/// The handler whose table a line begins.
fn handler_of_header(line: &str, version: i64) -> Option<String> {
    let inner = line.trim().strip_prefix('[')?;
    let inner = inner.rsplit_once(']')?.0;
    let keys = Key::parse(inner).ok()?;
    let keys: Vec<&str> = keys.iter().map(Key::get).collect();
    match keys[..] {
        ["plugins", found, "containerd", "runtimes", name] if found == plugin(version) => {
            Some(name.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{add, handlers, remove, version_of};
    use crate::config::Handler;
    use std::path::Path;

    fn handler(name: &str) -> Handler {
        Handler {
            name: name.to_owned(),
            runtime: "io.containerd.wasm.v1",
            path: None,
            systemd: None,
        }
    }

    fn added(text: Option<&str>, names: &[&str]) -> String {
        let handlers: Vec<_> = names.iter().map(|name| handler(name)).collect();
        add(Path::new("t"), text, 3, &handlers).unwrap()
    }

    #[test]
    fn a_new_template_extends_the_one_that_k3s_has() {
        let expected = r#"{{ template "base" . }}

# BEGIN containerd-shim-wasm-v1: added by `install`, taken away by `uninstall`
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm]
  runtime_type = "io.containerd.wasm.v1"
  pod_annotations = ["module.wasm.image/*", "run.oci.handler"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm.options]
  SystemdCgroup = {{ .SystemdCgroup }}
# END containerd-shim-wasm-v1
"#;
        let text = added(None, &["wasm"]);
        assert_eq!(text, expected);
        assert_eq!(handlers(&text, 3), ["wasm"]);
        assert_eq!(added(Some(&text), &["wasm"]), text, "the second time");
        assert_eq!(remove(&text), None);
    }

    #[test]
    fn a_template_that_is_there_keeps_every_byte() {
        for theirs in [
            "{{ template \"base\" . }}\n[debug]\n  level = \"debug\"\n",
            "a = 1\n",
        ] {
            let text = added(Some(theirs), &["wasm", "crun"]);
            assert!(text.starts_with(theirs), "{text}");
            let more = format!("{text}[more]\n");
            assert_eq!(added(Some(&more), &["wasm", "crun"]), more);
            assert_eq!(remove(&more), Some(format!("{theirs}[more]\n")));
            assert_eq!(remove(&text).as_deref(), Some(theirs));
        }
    }

    #[test]
    fn a_block_is_known_by_its_lines_and_not_their_ends() {
        let theirs = "{{ template \"base\" . }}\n[debug]\n  level = \"debug\"\n";
        let text = added(Some(theirs), &["wasm"]).replace('\n', "\r\n");
        assert_eq!(handlers(&text, 3), ["wasm"]);
        let again = added(Some(&text), &["wasm", "crun"]);
        assert_eq!(handlers(&again, 3), ["wasm", "crun"]);
        let left = remove(&text);
        assert_eq!(left, Some(theirs.replace('\n', "\r\n")));
        assert_eq!(remove(&added(None, &["wasm"]).replace('\n', "\r\n")), None);
    }

    #[test]
    fn a_handler_that_k3s_may_find_by_itself_is_left_to_it() {
        let text = added(None, &["spin"]);
        let guard = r#"{{ if not (index .ExtraRuntimes "spin").RuntimeType }}"#;
        assert!(text.contains(guard), "{text}");
        assert_eq!(handlers(&text, 3), ["spin"]);
    }

    #[test]
    fn a_handler_of_the_templates_own_is_not_given_twice() {
        let theirs = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.'wasm']\n";
        let error = add(Path::new("/t.tmpl"), Some(theirs), 3, &[handler("wasm")]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("wasm") && error.contains("/t.tmpl"),
            "{error}"
        );
    }

    /// As people have copied a whole configuration of theirs, of any version, into a template.
    #[test]
    fn a_template_that_is_all_of_the_configuration_keeps_runc() {
        let theirs =
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/b\"\n";
        let version = version_of(Some(theirs), 2);
        assert_eq!(version, 2);
        let text = add(Path::new("t"), Some(theirs), version, &[handler("wasm")]).unwrap();
        let runc = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\n";
        assert!(text.contains(runc), "{text}");
        assert_eq!(handlers(&text, version), ["wasm"]);
        let again = add(Path::new("t"), Some(&text), version, &[handler("wasm")]).unwrap();
        assert_eq!(again, text);
        assert_eq!(remove(&text).as_deref(), Some(theirs));
        // A template that names a handler, or extends k3s' own, has that of runc already, or is to have none.
        for more in [
            "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\n",
            "{{ template \"base\" . }}\n",
        ] {
            let theirs = format!("{theirs}{more}");
            let text = add(Path::new("t"), Some(&theirs), 2, &[handler("wasm")]).unwrap();
            assert_eq!(
                text.matches(".runc]").count(),
                more.matches(".runc]").count(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_version_is_what_comes_of_the_template() {
        for (text, expected) in [
            (None, 3),
            (Some(""), 3),
            (Some("{{ template \"base\" . }}\nversion = 2\n"), 3),
            (Some("{{- template \"base\" . -}}\n"), 3),
            (Some("# mine\nversion = 2 # two\n"), 2),
            (Some("[plugins.opt]\npath = \"/a\"\n[plugins.cri]\n"), 1),
        ] {
            assert_eq!(version_of(text, 3), expected, "{text:?}");
        }
    }
}
