//! The environment of a process, as runc makes it: in the order of the spec, and the last of those
//! entries that have the same name.
//!
//! libcontainer keeps it in a map, whose order is another one each time.

use std::collections::{HashMap, HashSet};

use oci_spec::runtime::Process;

/// The variable that is added to an environment that lacks it.
const HOME: &str = "HOME";

/// An entry that names and sets nothing.
#[derive(Debug, thiserror::Error)]
#[error("process.env[{index}] is {entry:?}, {what}: an environment is made of NAME=value")]
pub struct Error {
    index: usize,
    entry: String,
    what: &'static str,
}

/// Refuses what can't be in an environment, as runc does.
pub(crate) fn check(process: &Process) -> Result<(), Error> {
    for (index, entry) in process.env().iter().flatten().enumerate() {
        let what = match entry.find('=') {
            None => "which has no \"=\"",
            Some(0) => "which has no name",
            Some(_) if entry.contains('\0') => "which has a NUL in it",
            Some(_) => continue,
        };
        return Err(Error {
            index,
            entry: entry.clone(),
            what,
        });
    }
    Ok(())
}

/// The home of a process's user, as libcontainer has looked it up; that of one whom the image does not
/// know is `/`.
pub(crate) fn home(mut environment: HashMap<String, String>) -> String {
    let home = environment.remove(HOME).filter(|home| !home.is_empty());
    home.unwrap_or_else(|| "/".to_owned())
}

/// The environment of a process, to which `home` is added if it has none.
pub(crate) fn of(process: Option<&Process>, home: Option<&str>) -> Vec<String> {
    let entries = process.and_then(|process| process.env().as_deref());
    let mut seen = HashSet::new();
    let mut last: Vec<String> = entries
        .unwrap_or_default()
        .iter()
        .rev()
        .filter(|entry| {
            let name = entry.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| seen.insert(name.to_owned()))
        })
        .cloned()
        .collect();
    last.reverse();
    if let Some(home) = home.filter(|_| !seen.contains(HOME)) {
        last.push(format!("{HOME}={home}"));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::{check, home, of};
    use oci_spec::runtime::Process;
    use std::collections::HashMap;

    fn process(env: &[&str]) -> Process {
        let json = serde_json::json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": env});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_order_is_the_specs_and_the_last_of_a_name_counts() {
        let process = process(&["Z=1", "A=1", "Z=2=3", "B=", "A=1"]);
        assert_eq!(
            of(Some(&process), Some("/root")),
            ["Z=2=3", "B=", "A=1", "HOME=/root"]
        );
        assert_eq!(of(None, None), [""; 0]);
    }

    #[test]
    fn a_user_whom_the_image_does_not_know_is_at_home_in_the_root() {
        assert_eq!(home(HashMap::new()), "/");
        let known = [("HOME".to_owned(), "/home/a".to_owned())];
        assert_eq!(home(HashMap::from(known)), "/home/a");
    }

    #[test]
    fn a_home_that_is_there_stays() {
        let process = process(&["HOME=", "A=1"]);
        assert_eq!(of(Some(&process), Some("/root")), ["HOME=", "A=1"]);
    }

    #[test]
    fn what_sets_nothing_is_refused_by_its_place() {
        check(&process(&["A=1", "B="])).unwrap();
        for entry in ["B", "=1", "B=\0", ""] {
            let error = check(&process(&["A=1", entry])).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("process.env[1] is "), "{text}");
        }
    }
}
