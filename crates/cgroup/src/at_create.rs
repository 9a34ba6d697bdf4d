//! A container's limits at its beginning. libcontainer drops some, refuses others and gets a few wrong
//! (docs/upstream.md says which). So it is left only what has to hold before, or what systemd is to
//! hear at once; all are set once the cgroup is there, by the code of an update, so that the same
//! words mean the same.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources, Spec};

use crate::cgroup::Cgroup;
use crate::files::words;
use crate::mount::{self, MOUNT};
use crate::processes::PROCS;
use crate::update::{self, UpdateError};

/// What is to be set in a container's cgroup once it is there.
#[derive(Debug, Default)]
pub struct DeferredLimits {
    /// Whether the spec says less than before.
    changed: bool,
    limits: LinuxResources,
    /// What of it systemd knows by then, as libcontainer tells it.
    told: LinuxResources,
}

/// What makes a container's cgroup.
#[derive(Debug, Clone, Copy)]
enum Driver {
    Systemd,
    /// libcontainer itself, in a cgroup that has these controllers or gets them.
    Cgroupfs {
        memory: bool,
        cpu: bool,
    },
}

impl DeferredLimits {
    /// Takes it out of a container's spec; `systemd` makes its cgroup, or libcontainer itself.
    ///
    /// # Errors
    /// [`UpdateError`] for what makes no sense.
    pub fn take(spec: &mut Spec, systemd: bool, cgroup: &Cgroup) -> Result<Self, UpdateError> {
        let counts = |controller: &str| {
            let dir = cgroup.v2_dir();
            dir.is_none_or(|dir| has_controller_v2(Path::new(MOUNT), dir, controller))
        };
        let driver = if systemd {
            Driver::Systemd
        } else {
            Driver::Cgroupfs {
                memory: counts("memory"),
                cpu: counts("cpu"),
            }
        };
        Self::take_on(mount::is_v2(), driver, spec)
    }

    fn take_on(unified: bool, driver: Driver, spec: &mut Spec) -> Result<Self, UpdateError> {
        let Some(resources) = spec.linux().as_ref().and_then(|it| it.resources().clone()) else {
            return Ok(Self::default());
        };
        update::check(&resources)?;
        let mut limits = resources.clone();
        limits.set_devices(None);
        let mut told = LinuxResources::default();
        let mut kept = match driver {
            Driver::Systemd => {
                let known = known_to_systemd(&limits);
                told = known.clone();
                told.set_cpu(known.cpu().clone().map(without_rounded_quota));
                known
            }
            Driver::Cgroupfs { memory, cpu } => needed_meanwhile(&limits, memory, cpu),
        };
        kept.set_devices(resources.devices().clone());
        if !unified {
            // Which update does not know.
            kept.set_network(limits.network().clone());
        }
        let changed = kept != resources;
        if changed && let Some(linux) = spec.linux_mut() {
            linux.set_resources(Some(kept));
        }
        Ok(Self {
            changed,
            limits,
            told,
        })
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
        if self.limits == LinuxResources::default() {
            return Ok(());
        }
        cgroup.limit_beyond(&self.told, &self.limits)
    }
}

/// Whether a cgroup of cgroup v2 has a controller, or gets it when libcontainer makes it. Otherwise
/// libcontainer would write to a file that is not there: a cgroup that was there before may have no
/// controllers yet, and one below a cgroup with processes can have none. An update says which.
fn has_controller_v2(mount: &Path, dir: &Path, controller: &str) -> bool {
    if dir.exists() {
        return words(dir, "cgroup.controllers")
            .iter()
            .any(|it| it == controller);
    }
    let above = dir.ancestors().skip(1).take_while(|at| *at != mount);
    above.filter(|at| at.exists()).all(|at| {
        let enabled = words(at, "cgroup.subtree_control");
        enabled.iter().any(|it| it == controller) || words(at, PROCS).is_empty()
    })
}

/// What of `limits` has to hold before they are set, and libcontainer sets rightly too: of memory and
/// of processor time, where the cgroup has their controllers.
fn needed_meanwhile(limits: &LinuxResources, memory: bool, cpu: bool) -> LinuxResources {
    let mut needed = LinuxResources::default();
    if let Some(cpu) = limits.cpu().as_ref().filter(|_| cpu) {
        // A guest's process learns of its share by it.
        let mut quota = LinuxCpu::default();
        quota.set_quota(cpu.quota());
        quota.set_period(cpu.period());
        needed.set_cpu(Some(quota).filter(|quota| *quota != LinuxCpu::default()));
    }
    let limit = limits.memory().and_then(|memory| memory.limit());
    if let Some(limit) = limit.filter(|limit| memory && *limit > 0) {
        // What of the image is copied to a tmpfs counts.
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
    use super::{DeferredLimits, Driver, has_controller_v2};
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

    const CGROUPFS: Driver = Driver::Cgroupfs {
        memory: true,
        cpu: true,
    };

    fn taken(unified: bool, driver: Driver, json: &str) -> (LinuxResources, DeferredLimits) {
        let mut spec: Spec = serde_json::from_str(json).unwrap();
        let rest = DeferredLimits::take_on(unified, driver, &mut spec).unwrap();
        let linux = spec.linux().as_ref();
        let kept = linux.and_then(|linux| linux.resources().clone());
        (kept.unwrap_or_default(), rest)
    }

    /// Resources by their JSON.
    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    const DEVICES: &str = r#""devices": [{"allow": false, "access": "rwm"}]"#;

    /// The guest is to see that one.
    #[test]
    fn libcontainer_sets_no_limit_but_a_guests_quota() {
        for unified in [true, false] {
            let (kept, rest) = taken(unified, CGROUPFS, SPEC);
            let network = if unified {
                ""
            } else {
                r#", "network": {"classID": 5}"#
            };
            let expected = format!(
                r#"{{{DEVICES}, "cpu": {{"quota": 5000}}, "memory": {{"limit": 1000}}{network}}}"#
            );
            assert_eq!(kept, resources(&expected));
            assert!(rest.has_changed_spec());
            let all = serde_json::from_str::<serde_json::Value>(SPEC).unwrap();
            let mut all = all["linux"]["resources"].clone();
            all.as_object_mut().unwrap().remove("devices");
            assert_eq!(rest.limits, serde_json::from_value(all).unwrap());
            assert_eq!(rest.told, LinuxResources::default());
        }
    }

    #[test]
    fn systemd_is_told_at_once_of_what_libcontainer_says_rightly() {
        let (kept, rest) = taken(true, Driver::Systemd, SPEC);
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
            let (kept, rest) = taken(true, Driver::Systemd, &json);
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
        let (kept, rest) = taken(true, Driver::Systemd, json);
        assert_eq!(kept, resources(r#"{"memory": {}}"#));
        assert!(rest.has_changed_spec());
    }

    #[test]
    fn a_spec_without_limits_stays_as_it_is() {
        let json = format!(r#"{{"ociVersion": "1.1.0", "linux": {{"resources": {{{DEVICES}}}}}}}"#);
        for json in [json.as_str(), r#"{"ociVersion": "1.1.0"}"#] {
            assert!(!taken(true, CGROUPFS, json).1.has_changed_spec());
            assert!(!taken(false, CGROUPFS, json).1.has_changed_spec());
        }
    }

    #[test]
    fn what_the_cgroup_does_not_count_is_left_to_an_update() {
        let driver = Driver::Cgroupfs {
            memory: false,
            cpu: false,
        };
        let (kept, rest) = taken(true, driver, SPEC);
        assert_eq!(kept, resources(&format!("{{{DEVICES}}}")));
        assert_eq!(rest.limits.memory().unwrap().limit(), Some(1000));
    }

    #[test]
    fn a_cgroup_below_one_with_processes_has_no_controllers() {
        let mount = tempfile::tempdir().unwrap();
        let above = mount.path().join("slice");
        let own = above.join("new/it");
        std::fs::create_dir_all(&above).unwrap();
        let write = |file: &str, text: &str| std::fs::write(above.join(file), text).unwrap();
        write("cgroup.subtree_control", "cpu\n");
        write("cgroup.procs", "");
        let has = |controller: &str| has_controller_v2(mount.path(), &own, controller);
        assert!(has("cpu") && has("memory"));
        write("cgroup.procs", "7\n");
        assert!(has("cpu") && !has("memory"));
        // It is there, and says so itself.
        std::fs::create_dir_all(&own).unwrap();
        assert!(!has("cpu"));
        std::fs::write(own.join("cgroup.controllers"), "cpu pids\n").unwrap();
        assert!(has("cpu") && !has("memory"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_made() {
        let json = r#"{"ociVersion": "1.1.0", "linux": {"resources": {"cpu": {"period": 5}}}}"#;
        let mut spec: Spec = serde_json::from_str(json).unwrap();
        let error = DeferredLimits::take_on(false, CGROUPFS, &mut spec).unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
    }
}
