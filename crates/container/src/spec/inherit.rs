//! What a process has of which its spec says nothing: as runc, the least, or what its container has.

use libcontainer::capabilities::CapabilityExt;
use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Spec};

use crate::confinement::Labels;

/// Gives the process of a container what it says nothing of. Whether anything was changed.
///
/// libcontainer leaves a process every capability of ours if its spec has none, and those of a set
/// that is missing; and it loads a filter too late where `noNewPrivileges` is there and false.
pub(super) fn complete(process: &mut Process) -> bool {
    let mut changed = false;
    let given = process.capabilities().as_ref();
    let is_whole = given.is_some_and(|given| {
        // The helper has none that are inheritable or ambient, and libcontainer takes a bounding
        // set that is missing for an empty one.
        given.effective().is_some() && given.permitted().is_some()
    });
    if !is_whole {
        let whole = whole(given);
        process.set_capabilities(Some(whole));
        changed = true;
    }
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
        changed = true;
    }
    changed
}

/// Every set, empty where it is missing.
fn whole(given: Option<&LinuxCapabilities>) -> LinuxCapabilities {
    // The default of the type has some.
    let set = |pick: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
        Some(
            given
                .and_then(|given| pick(given).clone())
                .unwrap_or_default(),
        )
    };
    let mut whole = LinuxCapabilities::default();
    whole.set_bounding(set(LinuxCapabilities::bounding));
    whole.set_effective(set(LinuxCapabilities::effective));
    whole.set_inheritable(set(LinuxCapabilities::inheritable));
    whole.set_permitted(set(LinuxCapabilities::permitted));
    whole.set_ambient(set(LinuxCapabilities::ambient));
    whole
}

/// The capabilities, by their numbers, that a process is to inherit over an exec and does not have
/// itself: libcontainer makes them inheritable when nothing of the rights to do so is left.
pub(crate) fn beyond_permitted(process: &Process) -> u64 {
    let Some(sets) = process.capabilities() else {
        return 0;
    };
    let none = Capabilities::default();
    let permitted = sets.permitted().as_ref().unwrap_or(&none);
    let inheritable = sets.inheritable().iter().flatten();
    let beyond = inheritable.filter(|one| !permitted.contains(one));
    beyond.fold(0, |all, one| all | one.to_cap().bitmask())
}

/// The capabilities that a process is given, if its spec says; a set that is missing is empty.
pub(crate) fn capabilities(process: &Process) -> Option<medley_sys::capabilities::Capabilities> {
    let sets = process.capabilities().as_ref()?;
    let bits = |set: &Option<Capabilities>| {
        let all = set.iter().flatten();
        all.fold(0, |all, one| all | one.to_cap().bitmask())
    };
    Some(medley_sys::capabilities::Capabilities {
        bounding: bits(sets.bounding()),
        effective: bits(sets.effective()),
        permitted: bits(sets.permitted()),
        inheritable: bits(sets.inheritable()),
        ambient: bits(sets.ambient()),
    })
}

/// Gives a process that is added to the container of `spec` what it says nothing of.
pub(crate) fn inherit(process: &mut Process, spec: &Spec) {
    let Some(init) = spec.process() else {
        return;
    };
    let given = process.capabilities().as_ref();
    let capabilities = whole(given.or(init.capabilities().as_ref()));
    process.set_capabilities(Some(capabilities));
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(init.oom_score_adj());
    }
    if process.user().umask().is_none() {
        let umask = init.user().umask();
        process.user_mut().set_umask(umask);
    }
    let (own, inits) = (Labels::of(process), Labels::of(init));
    process.set_apparmor_profile(own.apparmor.or(inits.apparmor));
    process.set_selinux_label(own.selinux.or(inits.selinux));
}

#[cfg(test)]
mod tests {
    use super::{beyond_permitted, complete, inherit};
    use oci_spec::runtime::{Capability, Process, Spec};

    fn process(rest: &str) -> Process {
        let json = format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["a"]{rest}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn container(rest: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0,"umask":63}},"cwd":"/","args":["a"]{rest}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn capabilities_that_are_not_given_are_none() {
        let mut process = process("");
        assert!(complete(&mut process));
        let sets = process.capabilities().clone().unwrap();
        for set in [
            sets.bounding(),
            sets.effective(),
            sets.permitted(),
            sets.inheritable(),
            sets.ambient(),
        ] {
            assert!(set.as_ref().unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_inherited_and_not_permitted_is_told() {
        let own = process(
            r#","capabilities":{"permitted":["CAP_KILL"],"inheritable":["CAP_KILL","CAP_NET_RAW"]}"#,
        );
        assert_eq!(beyond_permitted(&own), 1 << 13);
        assert_eq!(beyond_permitted(&process("")), 0);
    }

    #[test]
    fn a_set_that_is_missing_is_empty() {
        let mut half = process(r#","capabilities":{"bounding":["CAP_KILL"]}"#);
        assert!(complete(&mut half));
        let sets = half.capabilities().clone().unwrap();
        assert!(sets.effective().as_ref().unwrap().is_empty());
        assert_eq!(
            Vec::from_iter(sets.bounding().clone().unwrap()),
            [Capability::Kill]
        );
        let mut whole = process(r#","capabilities":{"bounding":[],"effective":[],"permitted":[]}"#);
        assert!(!complete(&mut whole));
    }

    #[test]
    fn a_process_that_is_added_has_what_its_container_has() {
        let spec = container(
            r#","capabilities":{"bounding":["CAP_KILL"]},"apparmorProfile":"p","selinuxLabel":"l","oomScoreAdj":5"#,
        );
        let mut bare = process("");
        inherit(&mut bare, &spec);
        let sets = bare.capabilities().clone().unwrap();
        assert_eq!(
            Vec::from_iter(sets.bounding().clone().unwrap()),
            [Capability::Kill]
        );
        assert!(sets.ambient().as_ref().unwrap().is_empty());
        assert_eq!(bare.apparmor_profile().as_deref(), Some("p"));
        assert_eq!(bare.selinux_label().as_deref(), Some("l"));
        assert_eq!(bare.oom_score_adj(), Some(5));
        assert_eq!(bare.user().umask(), Some(63));
        let mut own = process(r#","capabilities":{},"apparmorProfile":"q","oomScoreAdj":7"#);
        inherit(&mut own, &spec);
        let sets = own.capabilities().clone().unwrap();
        assert!(sets.bounding().as_ref().unwrap().is_empty());
        assert_eq!(own.apparmor_profile().as_deref(), Some("q"));
        assert_eq!(own.oom_score_adj(), Some(7));
    }
}
