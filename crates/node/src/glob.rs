//! Patterns of Go's `path/filepath`, by which containerd's configuration names the files that it imports.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::root::Root;

/// Whether a name of a path is a pattern.
pub(crate) fn is_pattern(name: &OsStr) -> bool {
    name.as_bytes().iter().any(|byte| b"*?[\\".contains(byte))
}

/// The paths that a pattern stands for, as they are on the node, sorted in each directory.
pub(crate) fn paths(root: &Root, pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            _ => continue,
        };
        let mut next = Vec::new();
        for dir in found {
            if !is_pattern(name) {
                next.push(dir.join(name));
                continue;
            }
            let names = root.names(&dir)?.into_iter();
            let fits = names.filter(|found| fits(name, found));
            next.extend(fits.map(|name| dir.join(name)));
        }
        found = next;
    }
    Ok(found)
}

/// Whether a name is one of those that the pattern stands for.
pub(crate) fn fits(pattern: &OsStr, name: &OsStr) -> bool {
    matches(pattern.as_bytes(), name.as_bytes())
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last `*` is, and how much of the name it has taken: more is tried when the rest does not fit.
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
            continue;
        }
        if let Some(next) = one(pattern, at, name[read]) {
            (at, read) = (next, read + 1);
        } else if let Some((behind, taken)) = star {
            (at, read) = (behind, taken + 1);
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern goes on behind what stands for this byte, if it does.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' => (pattern.get(at + 1) == Some(&byte)).then_some(at + 2),
        own => (own == byte).then_some(at + 1),
    }
}

/// A `[a-z]`, or `[^a-z]`, from behind its bracket.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let is_negated = pattern.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut is_in = false;
    let begin = at;
    while at == begin || pattern.get(at) != Some(&b']') {
        let low = letter(pattern, &mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&b'-') {
            at += 1;
            high = letter(pattern, &mut at)?;
        }
        is_in |= (low..=high).contains(&byte);
    }
    (is_in != is_negated).then_some(at + 1)
}

fn letter(pattern: &[u8], at: &mut usize) -> Option<u8> {
    if pattern.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let byte = pattern.get(*at)?;
    *at += 1;
    Some(*byte)
}

#[cfg(test)]
mod tests {
    use super::{fits, paths};
    use crate::root::Root;
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn a_pattern_stands_for_what_it_does_in_go() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("?.toml", "a.toml", true),
            ("?.toml", "ab.toml", false),
            ("[0-9]*", "50-a", true),
            ("[0-9]*", "a", false),
            ("[^0-9]*", "a", true),
            ("[a-", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**", "a", true),
            ("", "", true),
        ] {
            let found = fits(OsStr::new(pattern), OsStr::new(name));
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_in_directories_are_followed_too() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["etc/b.d/1.toml", "etc/a.d/2.toml", "etc/a.d/3.conf"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let found = paths(&root, Path::new("/etc/*.d/*.toml")).unwrap();
        assert_eq!(found, ["/etc/a.d/2.toml", "/etc/b.d/1.toml"].map(Path::new));
    }
}
