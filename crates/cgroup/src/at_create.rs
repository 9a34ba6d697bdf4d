//! Limits that libcontainer drops, or can't set with one of the cgroup drivers, on the unified
//! hierarchy: they are kept from it, and set by us once it has made the cgroup. docs/upstream.md
//! says which.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxResources, Spec};

use super::{Cgroup, UpdateError, paths};

/// What is to be set in a container's cgroup once it is there.
#[derive(Debug, Default)]
pub struct Rest {
    /// Whether the spec says less than before.
    changed: bool,
    rest: Option<LinuxResources>,
}

impl Rest {
    /// Takes it out of a container's spec; `systemd` makes its cgroup, or libcontainer itself.
    pub fn take(spec: &mut Spec, systemd: bool) -> Self {
        Self::take_on(paths::is_unified(), systemd, spec)
    }

    fn take_on(unified: bool, systemd: bool, spec: &mut Spec) -> Self {
        let Some(resources) = spec.linux().as_ref().and_then(|it| it.resources().clone()) else {
            return Self::default();
        };
        let (mut kept, mut rest) = (resources.clone(), LinuxResources::default());
        if resources
            .unified()
            .as_ref()
            .is_some_and(|it| !it.is_empty())
        {
            // On cgroup v1 there is no such file, which is said when it is to be set.
            rest.set_unified(resources.unified().clone());
            kept.set_unified(None);
        }
        if unified {
            take_of_v2(systemd, &mut kept, &mut rest);
        }
        let changed = kept != resources;
        if changed && let Some(linux) = spec.linux_mut() {
            linux.set_resources(Some(kept));
        }
        Self {
            changed,
            rest: (rest != LinuxResources::default()).then_some(rest),
        }
    }

    /// Whether anything was taken out of the spec.
    pub fn has_changed_spec(&self) -> bool {
        self.changed
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`UpdateError`]; none of it is set then.
    pub fn set(&self, cgroup: &Cgroup) -> Result<(), UpdateError> {
        self.rest.as_ref().map_or(Ok(()), |rest| cgroup.limit(rest))
    }
}

/// What of cgroup v2's limits libcontainer would drop, refuse or get wrong. A number that is 0 is none,
/// as runc has it.
fn take_of_v2(systemd: bool, kept: &mut LinuxResources, rest: &mut LinuxResources) {
    if let Some(pages) = kept.hugepage_limits().clone().filter(|it| !it.is_empty()) {
        rest.set_hugepage_limits(Some(pages));
        kept.set_hugepage_limits(None);
    }
    if let Some(mut memory) = *kept.memory() {
        let named = |number: Option<i64>| number.filter(|number| *number != 0);
        memory.set_limit(named(memory.limit()));
        memory.set_reservation(named(memory.reservation()));
        memory.set_swap(named(memory.swap()));
        // systemd is told of swap as it should be; another process would have to tell it again.
        if !systemd && memory.swap().is_some() {
            rest.set_memory(Some(memory));
            memory.set_swap(None);
        }
        kept.set_memory(Some(memory));
    }
    if kept.pids().as_ref().is_some_and(|pids| pids.limit() == 0) {
        kept.set_pids(None);
    }
    if let Some(mut io) = kept.block_io().clone()
        && let Some(weight) = io.weight()
    {
        io.set_weight(None);
        kept.set_block_io(Some(io));
        let mut io = LinuxBlockIo::default();
        io.set_weight(Some(weight).filter(|weight| *weight != 0));
        rest.set_block_io(Some(io));
    }
    if systemd
        && let Some(cpu) = kept.cpu()
        && (cpu.burst().is_some() || cpu.idle().is_some())
    {
        let mut own = LinuxCpu::default();
        own.set_burst(cpu.burst());
        own.set_idle(cpu.idle());
        rest.set_cpu(Some(own));
    }
}

#[cfg(test)]
mod tests {
    use super::Rest;
    use oci_spec::runtime::{LinuxResources, Spec};

    const SPEC: &str = r#"{
        "ociVersion": "1.1.0",
        "linux": {"resources": {
            "memory": {"limit": 1000, "swap": 1000},
            "pids": {"limit": 7},
            "cpu": {"burst": 100},
            "blockIO": {"weight": 500},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "unified": {"memory.oom.group": "1", "memory.high": "max"}
        }}
    }"#;

    fn taken(unified: bool, systemd: bool, json: &str) -> (Spec, Rest) {
        let mut spec = serde_json::from_str(json).unwrap();
        let rest = Rest::take_on(unified, systemd, &mut spec);
        (spec, rest)
    }

    fn kept(spec: &Spec) -> LinuxResources {
        spec.linux().as_ref().unwrap().resources().clone().unwrap()
    }

    #[test]
    fn what_libcontainer_drops_is_kept_from_it() {
        let (spec, rest) = taken(true, false, SPEC);
        let kept = kept(&spec);
        assert_eq!(kept.memory().unwrap().limit(), Some(1000));
        assert_eq!(kept.memory().unwrap().swap(), None);
        assert!(kept.unified().is_none() && kept.hugepage_limits().is_none());
        assert_eq!(kept.pids().unwrap().limit(), 7);
        assert_eq!(kept.block_io().as_ref().unwrap().weight(), None);
        let rest = rest.rest.unwrap();
        assert_eq!(rest.memory().unwrap().swap(), Some(1000));
        assert_eq!(rest.unified().as_ref().unwrap().len(), 2);
        assert_eq!(rest.block_io().as_ref().unwrap().weight(), Some(500));
        assert!(rest.pids().is_none() && rest.cpu().is_none());
    }

    #[test]
    fn systemd_sets_swap_itself_and_no_burst() {
        let (spec, rest) = taken(true, true, SPEC);
        assert_eq!(kept(&spec).memory().unwrap().swap(), Some(1000));
        let rest = rest.rest.unwrap();
        assert!(rest.memory().is_none());
        assert_eq!(rest.cpu().as_ref().unwrap().burst(), Some(100));
    }

    #[test]
    fn a_number_that_is_0_is_no_limit_on_cgroup_v2() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {
            "memory": {"limit": 0, "swap": 0, "reservation": 0}, "pids": {"limit": 0}
        }}}"#;
        let (spec, rest) = taken(true, true, json);
        let kept = kept(&spec);
        let memory = kept.memory().unwrap();
        assert_eq!(
            (memory.limit(), memory.swap(), memory.reservation()),
            (None, None, None)
        );
        assert!(kept.pids().is_none() && rest.rest.is_none() && rest.has_changed_spec());
    }

    #[test]
    fn on_cgroup_v1_only_unified_is_taken() {
        let (spec, rest) = taken(false, false, SPEC);
        assert_eq!(kept(&spec).memory().unwrap().swap(), Some(1000));
        assert_eq!(kept(&spec).block_io().as_ref().unwrap().weight(), Some(500));
        assert!(rest.rest.unwrap().memory().is_none());
    }

    #[test]
    fn a_spec_with_nothing_of_the_kind_stays_as_it_is() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {"pids": {"limit": 7}}}}"#;
        assert!(!taken(true, false, json).1.has_changed_spec());
        assert!(
            !taken(true, true, r#"{"ociVersion": "1.1.0"}"#)
                .1
                .has_changed_spec()
        );
    }
}
