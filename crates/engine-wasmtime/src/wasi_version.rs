//! The versions of WASI's interfaces: which ones there are, and which one a name means.

use medley_engine::{Entry, ModuleError};

use crate::error::NAME;

/// The packages that the linker has, of which a component takes what it needs, and the versions
/// of each: of a release every patch, of a draft the one.
pub(crate) const PROVIDED: &[(&str, &[&str])] = &[
    ("wasi:cli/", &["0.2", "0.3"]),
    ("wasi:clocks/", &["0.2", "0.3"]),
    ("wasi:config/", &["0.2.0-rc.1", "0.2.0-draft-2024-09-27"]),
    ("wasi:filesystem/", &["0.2", "0.3"]),
    ("wasi:http/", &["0.2", "0.3"]),
    ("wasi:io/", &["0.2"]),
    ("wasi:keyvalue/", &["0.2.0-draft", "0.2.0-draft2"]),
    #[cfg(feature = "nn")]
    ("wasi:nn/", &["0.2.0-rc-2024-10-28"]),
    ("wasi:random/", &["0.2", "0.3"]),
    ("wasi:sockets/", &["0.2", "0.3"]),
];

/// Whether `version` is one of `provided`.
pub(crate) fn provides(provided: &[&str], version: &str) -> bool {
    provided.iter().any(|known| {
        let patch = version
            .strip_prefix(known)
            .and_then(|rest| rest.strip_prefix('.'));
        version == *known || patch.is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether an interface is one of WASI 0.3.
pub(crate) fn is_of_0_3(interface: &str) -> bool {
    let version = interface.split_once('@').map(|(_, version)| version);
    interface.starts_with("wasi:") && version.is_some_and(|version| provides(&["0.3"], version))
}

/// Whether an interface is one of Spin's.
pub(crate) fn is_of_spin(interface: &str) -> bool {
    ["fermyon:spin/", "spin:"]
        .iter()
        .any(|start| interface.starts_with(start))
}

/// Whether the linker has an interface that a component imports.
pub(crate) fn is_provided(import: &str) -> bool {
    let known = PROVIDED
        .iter()
        .find(|(package, _)| import.starts_with(package));
    let version = import.split_once('@').map(|(_, version)| version);
    medley_spin_host::provides(import)
        || known.is_some_and(|(_, provided)| version.is_some_and(|v| provides(provided, v)))
}

/// Whether `requested` names an interface, with or without its version.
pub(crate) fn is(interface: &str, requested: &str) -> bool {
    let rest = interface.strip_prefix(requested);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// Whether an interface, as it is imported or exported, is one of another WASI than ours.
pub(crate) fn other_version(name: &str, entry: &Entry) -> Option<ModuleError> {
    let known = |(package, _): &&(&str, &[&str])| name.starts_with(package);
    let (_, provided) = PROVIDED.iter().find(known)?;
    let version = name.split_once('@')?.1;
    (!provides(provided, version)).then(|| ModuleError::WasiVersion {
        path: entry.path.clone(),
        interface: name.to_owned(),
        engine: NAME,
        provided: provided.join(" and "),
    })
}

/// Whether any of several is.
pub(crate) fn any_other_version(names: &[String], entry: &Entry) -> Option<ModuleError> {
    names.iter().find_map(|name| other_version(name, entry))
}

#[cfg(test)]
mod tests {
    use super::{is_of_0_3, provides};

    #[test]
    fn a_release_has_every_patch_and_no_draft() {
        for version in ["0.2.0", "0.2.12", "0.3.0"] {
            assert!(provides(&["0.2", "0.3"], version), "{version}");
        }
        for version in [
            "0.1.0",
            "0.20.0",
            "0.3.0-rc-2026-01-06",
            "0.4.0",
            "1.0.0",
            "",
        ] {
            assert!(!provides(&["0.2", "0.3"], version), "{version}");
        }
        assert!(provides(&["0.2.0-draft"], "0.2.0-draft"));
        assert!(!provides(&["0.2.0-draft"], "0.2.0"));
    }

    #[test]
    fn only_wasis_own_interfaces_are_of_wasi_0_3() {
        assert!(is_of_0_3("wasi:cli/run@0.3.0"));
        for name in ["wasi:cli/run@0.2.3", "wasi:cli/run", "moon:base/door@0.3.0"] {
            assert!(!is_of_0_3(name), "{name}");
        }
    }
}
