//! The devices that a cgroup of v1 may use, as its files have them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use medley_sys::device_filter::{Kind, Rule};

use crate::error::Error;

/// Puts the rules for devices in force. None restricts nothing.
pub(crate) fn restrict(dir: &Path, rules: &[Rule]) -> Result<(), Error> {
    let file = |name| RuleFile {
        path: dir.join(name),
        open: None,
    };
    let (mut allow, mut deny) = (file("devices.allow"), file("devices.deny"));
    // Callers list what every container may use after what its spec has, which is the same as a rule.
    let mut allowed = Vec::new();
    for rule in rules {
        if !rule.allow {
            allowed.clear();
        }
        for line in lines(rule) {
            if !rule.allow {
                deny.write(line)?;
            } else if !allowed.contains(&line) {
                allow.write(line.clone())?;
                allowed.push(line);
            }
        }
    }
    Ok(())
}

/// A file that takes a rule with each write.
struct RuleFile {
    path: PathBuf,
    open: Option<File>,
}

impl RuleFile {
    fn write(&mut self, rule: String) -> Result<(), Error> {
        let written = match self.open.take() {
            Some(open) => Ok(open),
            None => File::options().write(true).open(&self.path),
        }
        .and_then(|open| self.open.insert(open).write_all_at(rule.as_bytes(), 0));
        written.map_err(|source| Error::Write {
            path: self.path.clone(),
            value: rule,
            source,
        })
    }
}

/// A rule as cgroup v1's files have it. `a` there stands for every device and all that can be done.
fn lines(rule: &Rule) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |it| it.to_string());
    let letters = rule.access.letters();
    let line = |kind: &str| {
        let (major, minor) = (number(rule.major), number(rule.minor));
        format!("{kind} {major}:{minor} {letters}")
    };
    let is_any = rule.major.is_none() && rule.minor.is_none();
    match rule.kind {
        Kind::All if is_any && letters == "rwm" => vec!["a".to_owned()],
        Kind::All => vec![line("b"), line("c")],
        Kind::Block => vec![line("b")],
        Kind::Char => vec![line("c")],
    }
}

#[cfg(test)]
mod tests {
    use super::{lines, restrict};
    use medley_sys::device_filter::{Access, Kind, Rule};

    #[test]
    fn rules_for_devices_have_the_words_of_the_kernel() {
        let rule = |kind, major, minor, access| Rule {
            allow: true,
            kind,
            major,
            minor,
            access: Access::parse(access),
        };
        let all = rule(Kind::All, None, None, "mwr");
        assert_eq!(lines(&all), ["a"]);
        let all = rule(Kind::All, None, None, "r");
        assert_eq!(lines(&all), ["b *:* r", "c *:* r"]);
        let one = rule(Kind::Char, Some(10), Some(229), "rw");
        assert_eq!(lines(&one), ["c 10:229 rw"]);
        let some = rule(Kind::Block, Some(8), None, "rwm");
        assert_eq!(lines(&some), ["b 8:* rwm"]);
    }

    /// Each write overwrites the one before it in these, so that the last one is seen.
    #[test]
    fn what_is_allowed_already_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (allow, deny) = (
            dir.path().join("devices.allow"),
            dir.path().join("devices.deny"),
        );
        let rule = |allow, minor| Rule {
            allow,
            kind: Kind::Char,
            major: Some(1),
            minor: Some(minor),
            access: Access::parse("rwm"),
        };
        let last = |rules: &[Rule]| {
            for file in [&allow, &deny] {
                std::fs::write(file, "").unwrap();
            }
            restrict(dir.path(), rules).unwrap();
            std::fs::read_to_string(&allow).unwrap()
        };
        let one = || rule(true, 3);
        assert_eq!(last(&[one(), rule(true, 5), one()]), "c 1:5 rwm");
        // What was denied meanwhile is.
        assert_eq!(
            last(&[one(), rule(true, 5), rule(false, 3), one()]),
            "c 1:3 rwm"
        );
    }
}
