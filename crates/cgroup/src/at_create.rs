//! A container's limits at its beginning. libcontainer drops some, refuses others and gets a few wrong
//! (docs/upstream.md says which). So all are set by the code of an update, so that the same words mean
//! the same: what has to hold from the first process on when the cgroup is made, and the rest, which
//! init's way there might not get by with, once init is there. Of a cgroup that systemd makes,
//! libcontainer tells it what it knows rightly.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources, Spec};

use medley_sys::device_filter::Rule;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::update::{self, UpdateError};

/// What is to be set in a container's cgroup.
#[derive(Debug, Default)]
pub struct DeferredLimits {
    /// Whether the spec says less than before.
    changed: bool,
    limits: LinuxResources,
    /// What of it systemd knows once init is there, as libcontainer tells it.
    told: LinuxResources,
    /// What of it holds before init is there, in a cgroup that systemd does not make.
    meanwhile: LinuxResources,
}

/// Why a cgroup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A directory, or a file in one.
    #[error(transparent)]
    Cgroup(#[from] Error),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] UpdateError),
}

impl DeferredLimits {
    /// Takes it out of a container's spec, if `systemd` makes its cgroup; otherwise the spec stays as
    /// it is, and only we read it.
    ///
    /// # Errors
    /// [`UpdateError`] for what makes no sense.
    pub fn take(spec: &mut Spec, systemd: bool) -> Result<Self, UpdateError> {
        let Some(resources) = spec.linux().as_ref().and_then(|it| it.resources().clone()) else {
            return Ok(Self::default());
        };
        update::check(&resources)?;
        let mut limits = resources.clone();
        limits.set_devices(None);
        if !systemd {
            return Ok(Self {
                changed: false,
                meanwhile: needed_meanwhile(&limits),
                limits,
                told: LinuxResources::default(),
            });
        }
        let mut kept = known_to_systemd(&limits);
        let mut told = kept.clone();
        told.set_cpu(kept.cpu().clone().map(without_rounded_quota));
        kept.set_devices(resources.devices().clone());
        let changed = kept != resources;
        if changed && let Some(linux) = spec.linux_mut() {
            linux.set_resources(Some(kept));
        }
        Ok(Self {
            changed,
            limits,
            told,
            meanwhile: LinuxResources::default(),
        })
    }

    /// Whether anything was taken out of the spec.
    pub fn has_changed_spec(&self) -> bool {
        self.changed
    }

    /// Makes `cgroup`, which systemd does not, with what has to hold at once, `devices` among it.
    ///
    /// # Errors
    /// [`MakeError`]; what was made until then is there.
    pub fn make(&self, cgroup: &Cgroup, devices: &[Rule]) -> Result<(), MakeError> {
        cgroup.make(devices, self.limits.network().as_ref())?;
        if self.meanwhile != LinuxResources::default() {
            cgroup.limit_beyond(&LinuxResources::default(), &self.meanwhile)?;
        }
        Ok(())
    }

    /// Sets it, where init is.
    ///
    /// # Errors
    /// [`UpdateError`]; none of it is set then.
    pub fn set(&self, cgroup: &Cgroup) -> Result<(), UpdateError> {
        if self.limits == LinuxResources::default() {
            return Ok(());
        }
        cgroup.limit_beyond(&self.told, &self.limits)
    }
}

/// What of `limits` has to hold before they are all set: the memory, as what of the image is copied to a
/// tmpfs counts.
fn needed_meanwhile(limits: &LinuxResources) -> LinuxResources {
    let mut needed = LinuxResources::default();
    let limit = limits.memory().and_then(|memory| memory.limit());
    if let Some(limit) = limit.filter(|limit| *limit > 0) {
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(limit));
        needed.set_memory(Some(memory));
    }
    needed
}

/// What of `limits` libcontainer tells systemd, and rightly: what it need not be told by another
/// process. A number that is 0 is none, as runc has it.
fn known_to_systemd(limits: &LinuxResources) -> LinuxResources {
    let named = |number: Option<i64>| number.filter(|number| *number != 0);
    let mut known = LinuxResources::default();
    if let Some(given) = limits.memory() {
        let mut memory = LinuxMemory::default();
        memory.set_limit(named(given.limit()));
        memory.set_reservation(named(given.reservation()));
        memory.set_swap(named(given.swap()).filter(|swap| *swap < 0 || memory.limit() > Some(0)));
        known.set_memory(Some(memory));
    }
    if let Some(cpu) = limits.cpu() {
        let mut time = LinuxCpu::default();
        // An idle one has another weight.
        time.set_shares(cpu.shares().filter(|_| cpu.idle() != Some(1)));
        time.set_quota(named(cpu.quota()));
        time.set_period(cpu.period().filter(|period| *period != 0));
        known.set_cpu(Some(time).filter(|time| *time != LinuxCpu::default()));
    }
    known.set_pids(limits.pids().filter(|pids| pids.limit() != 0));
    known
}

/// systemd keeps hundredths of a percent. A quota that is none it rounds down, and after a reload it
/// would be less; so it is told again, rounded up.
fn without_rounded_quota(mut cpu: LinuxCpu) -> LinuxCpu {
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok());
    let all = quota.unwrap_or_default().saturating_mul(10_000);
    if !all.is_multiple_of(cpu.period().unwrap_or(update::CPU_PERIOD)) {
        cpu.set_quota(None);
        cpu.set_period(None);
    }
    cpu
}

#[cfg(test)]
mod tests {
    use super::DeferredLimits;
    use oci_spec::runtime::{LinuxResources, Spec};

    const SPEC: &str = r#"{
        "ociVersion": "1.1.0",
        "linux": {"resources": {
            "devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 1000, "swap": 1000},
            "pids": {"limit": 7},
            "cpu": {"shares": 512, "quota": 5000, "burst": 100, "cpus": "0"},
            "blockIO": {"weight": 500},
            "network": {"classID": 5},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "rdma": {"mlx5_1": {"hcaHandles": 3}},
            "unified": {"memory.oom.group": "1", "memory.high": "max"}
        }}
    }"#;

    fn taken(systemd: bool, json: &str) -> (LinuxResources, DeferredLimits) {
        let mut spec: Spec = serde_json::from_str(json).unwrap();
        let rest = DeferredLimits::take(&mut spec, systemd).unwrap();
        let linux = spec.linux().as_ref();
        let kept = linux.and_then(|linux| linux.resources().clone());
        (kept.unwrap_or_default(), rest)
    }

    /// Resources by their JSON.
    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    const DEVICES: &str = r#""devices": [{"allow": false, "access": "rwm"}]"#;

    #[test]
    fn without_systemd_the_spec_stays_as_it_is() {
        let (kept, rest) = taken(false, SPEC);
        let all = serde_json::from_str::<serde_json::Value>(SPEC).unwrap();
        let mut all = all["linux"]["resources"].clone();
        assert_eq!(kept, serde_json::from_value(all.clone()).unwrap());
        assert!(!rest.has_changed_spec());
        all.as_object_mut().unwrap().remove("devices");
        assert_eq!(rest.limits, serde_json::from_value(all).unwrap());
        assert_eq!(rest.told, LinuxResources::default());
        // What is copied from the image counts.
        assert_eq!(rest.meanwhile, resources(r#"{"memory": {"limit": 1000}}"#));
    }

    #[test]
    fn systemd_is_told_at_once_of_what_libcontainer_says_rightly() {
        let (kept, rest) = taken(true, SPEC);
        let told = r#""memory": {"limit": 1000, "swap": 1000}, "pids": {"limit": 7},
            "cpu": {"shares": 512, "quota": 5000}"#;
        assert_eq!(kept, resources(&format!("{{{DEVICES}, {told}}}")));
        assert_eq!(rest.told, resources(&format!("{{{told}}}")));
        assert_eq!(rest.limits.unified().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn systemd_is_told_again_of_a_quota_that_it_rounds_down() {
        for (cpu, told) in [
            (r#"{"quota": 33333, "period": 70000}"#, "{}"),
            (r#"{"quota": 33330}"#, r#"{"quota": 33330}"#),
            (r#"{"quota": -1}"#, r#"{"quota": -1}"#),
        ] {
            let limits = format!(r#"{{"cpu": {cpu}}}"#);
            let json = format!(r#"{{"ociVersion": "1.1.0", "linux": {{"resources": {limits}}}}}"#);
            let (kept, rest) = taken(true, &json);
            // A guest is to see it.
            assert_eq!(kept, resources(&limits));
            assert_eq!(rest.told, resources(&format!(r#"{{"cpu": {told}}}"#)));
        }
    }

    #[test]
    fn a_number_that_is_0_is_no_limit() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {
            "memory": {"limit": 0, "swap": 0, "reservation": 0}, "pids": {"limit": 0},
            "cpu": {"quota": 0, "period": 0}
        }}}"#;
        let (kept, rest) = taken(true, json);
        assert_eq!(kept, resources(r#"{"memory": {}}"#));
        assert!(rest.has_changed_spec());
    }

    #[test]
    fn a_spec_without_limits_stays_as_it_is() {
        let json = format!(r#"{{"ociVersion": "1.1.0", "linux": {{"resources": {{{DEVICES}}}}}}}"#);
        for json in [json.as_str(), r#"{"ociVersion": "1.1.0"}"#] {
            assert!(!taken(true, json).1.has_changed_spec());
            assert!(!taken(false, json).1.has_changed_spec());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_made() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {"cpu": {"period": 5}}}}"#;
        let mut spec: Spec = serde_json::from_str(json).unwrap();
        let error = DeferredLimits::take(&mut spec, false).unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
    }
}
