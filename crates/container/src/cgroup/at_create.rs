//! Limits that libcontainer drops, or can't set with one of the cgroup drivers, on the unified
//! hierarchy: they are kept from it, and set by us once it has made the cgroup. docs/upstream.md
//! says which.

use oci_spec::runtime::{LinuxResources, Spec};

use super::{Cgroup, UpdateError, place};

/// What is to be set in a container's cgroup once it is there.
#[derive(Debug, Default)]
pub(crate) struct Rest(Option<LinuxResources>);

impl Rest {
    /// Takes it out of a container's spec.
    pub(crate) fn take(spec: &mut Spec) -> Self {
        Self::take_on(place::is_unified(), spec)
    }

    fn take_on(unified: bool, spec: &mut Spec) -> Self {
        let Some(resources) = spec.linux().as_ref().and_then(|it| it.resources().clone()) else {
            return Self(None);
        };
        let (mut kept, mut rest) = (resources.clone(), LinuxResources::default());
        let mut any = false;
        if resources
            .unified()
            .as_ref()
            .is_some_and(|it| !it.is_empty())
        {
            // On cgroup v1 there is no such file, which is said when it is to be set.
            rest.set_unified(resources.unified().clone());
            kept.set_unified(None);
            any = true;
        }
        let pages = resources.hugepage_limits();
        if unified && pages.as_ref().is_some_and(|it| !it.is_empty()) {
            rest.set_hugepage_limits(pages.clone());
            kept.set_hugepage_limits(None);
            any = true;
        }
        if unified
            && let Some(memory) = resources.memory()
            && memory.swap().is_some_and(|swap| swap != 0)
        {
            rest.set_memory(Some(*memory));
            let mut memory = *memory;
            memory.set_swap(None);
            kept.set_memory(Some(memory));
            any = true;
        }
        if !any {
            return Self(None);
        }
        if let Some(linux) = spec.linux_mut() {
            linux.set_resources(Some(kept));
        }
        Self(Some(rest))
    }

    /// Whether there is anything, so that the spec has been changed.
    pub(crate) fn is_any(&self) -> bool {
        self.0.is_some()
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`UpdateError`]; none of it is set then.
    pub(crate) fn set(&self, cgroup: &Cgroup) -> Result<(), UpdateError> {
        self.0.as_ref().map_or(Ok(()), |rest| cgroup.limit(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::Rest;
    use oci_spec::runtime::Spec;

    const SPEC: &str = r#"{
        "ociVersion": "1.1.0",
        "linux": {"resources": {
            "memory": {"limit": 1000, "swap": 1000},
            "pids": {"limit": 7},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "unified": {"memory.oom.group": "1", "memory.high": "max"}
        }}
    }"#;

    fn taken(unified: bool, json: &str) -> (Spec, Rest) {
        let mut spec = serde_json::from_str(json).unwrap();
        let rest = Rest::take_on(unified, &mut spec);
        (spec, rest)
    }

    #[test]
    fn what_libcontainer_drops_is_kept_from_it() {
        let (spec, rest) = taken(true, SPEC);
        let kept = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(kept.memory().unwrap().limit(), Some(1000));
        assert_eq!(kept.memory().unwrap().swap(), None);
        assert!(kept.unified().is_none() && kept.hugepage_limits().is_none());
        assert_eq!(kept.pids().unwrap().limit(), 7);
        let rest = rest.0.unwrap();
        assert_eq!(rest.memory().unwrap().swap(), Some(1000));
        assert_eq!(rest.unified().as_ref().unwrap().len(), 2);
        assert!(rest.pids().is_none());
    }

    #[test]
    fn on_cgroup_v1_only_unified_is_taken() {
        let (spec, rest) = taken(false, SPEC);
        let kept = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(kept.memory().unwrap().swap(), Some(1000));
        assert!(rest.is_any());
    }

    #[test]
    fn a_spec_with_nothing_of_the_kind_stays_as_it_is() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {"pids": {"limit": 7}}}}"#;
        assert!(!taken(true, json).1.is_any());
        assert!(!taken(true, r#"{"ociVersion": "1.1.0"}"#).1.is_any());
    }
}
