//! Which devices a container may use.

use medley_sys::device_filter::{Access, Kind, Rule};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

/// The spec's rules and then, as every runtime has it, the devices without which nothing works.
/// None if the spec has none: it asks for no restriction.
pub(crate) fn rules(spec: &Spec) -> Vec<Rule> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let Some(devices) = resources
        .and_then(|resources| resources.devices().as_ref())
        .filter(|devices| !devices.is_empty())
    else {
        return Vec::new();
    };
    let mut rules: Vec<_> = devices.iter().map(rule).collect();
    rules.extend(ALWAYS);
    rules
}

fn rule(device: &LinuxDeviceCgroup) -> Rule {
    // A negative number is the wildcard, as no number is.
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    Rule {
        allow: device.allow(),
        kind: match device.typ() {
            Some(LinuxDeviceType::B) => Kind::Block,
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Char,
            Some(LinuxDeviceType::A | LinuxDeviceType::P) | None => Kind::All,
        },
        major: number(device.major()),
        minor: number(device.minor()),
        access: Access::parse(device.access().as_deref().unwrap_or("rwm")),
    }
}

/// Nodes of any device may be made, and these used: null, zero, full, random, urandom, tty,
/// console, ptmx, the terminals of devpts, and tun. runc's list.
const ALWAYS: [Rule; 12] = [
    node(Kind::Char),
    node(Kind::Block),
    usable(1, Some(3)),
    usable(1, Some(5)),
    usable(1, Some(7)),
    usable(1, Some(8)),
    usable(1, Some(9)),
    usable(5, Some(0)),
    usable(5, Some(1)),
    usable(5, Some(2)),
    usable(136, None),
    usable(10, Some(200)),
];

const fn node(kind: Kind) -> Rule {
    Rule {
        allow: true,
        kind,
        major: None,
        minor: None,
        access: Access::MKNOD,
    }
}

const fn usable(major: u32, minor: Option<u32>) -> Rule {
    Rule {
        allow: true,
        kind: Kind::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::{ALWAYS, rules};
    use medley_sys::device_filter::{Access, Kind, Rule};
    use oci_spec::runtime::Spec;

    fn spec(devices: &str) -> Spec {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},
                "linux":{{"resources":{{"devices":{devices}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_spec_without_rules_restricts_nothing() {
        assert_eq!(rules(&spec("[]")), []);
    }

    #[test]
    fn the_rules_of_the_spec_come_before_what_everybody_may_use() {
        let rules = rules(&spec(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
                {"allow":true,"type":"b","major":8,"minor":-1}]"#,
        ));
        let rule = |allow, kind, major, minor, access| Rule {
            allow,
            kind,
            major,
            minor,
            access: Access::parse(access),
        };
        assert_eq!(rules[0], rule(false, Kind::All, None, None, "rwm"));
        assert_eq!(rules[1], rule(true, Kind::Char, Some(10), Some(229), "rw"));
        assert_eq!(rules[2], rule(true, Kind::Block, Some(8), None, "rwm"));
        assert_eq!(rules[3..], ALWAYS);
    }
}
