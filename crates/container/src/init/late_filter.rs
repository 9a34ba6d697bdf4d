//! In init: its seccomp filter, which is put in force as late as its rights allow.
//!
//! libcontainer would make it in init, and can't have it say what runc's does to calls that are younger than
//! its profile.

use std::io;

use libcontainer::seccomp;
use oci_spec::runtime::Spec;

use crate::filter::{self, Filter};
use crate::spec::seccomp as profiles;

/// That of a container.
pub(crate) struct LateFilter {
    filter: Filter,
    needs_rights: bool,
}

impl LateFilter {
    /// In the helper: takes it out of a spec. One with an agent is left to libcontainer, which asks the helper
    /// to tell the agent.
    pub(crate) fn take(spec: &mut Spec) -> Result<Option<Self>, filter::Error> {
        let process = spec.process().as_ref();
        let needs_rights = process.is_none_or(|process| process.no_new_privileges() != Some(true));
        let Some(linux) = spec.linux_mut() else {
            return Ok(None);
        };
        let profile = linux.seccomp().clone();
        let Some(profile) = profile.filter(|profile| !seccomp::is_notify(profile)) else {
            return Ok(None);
        };
        linux.set_seccomp(None);
        let filter = Filter::of(&profiles::as_in_the_spec(profile))?;
        log::debug!("seccomp filter flags: {}", filter.flags());
        Ok(Some(Self {
            filter,
            needs_rights,
        }))
    }

    /// Whether it takes CAP_SYS_ADMIN to load it, which has to come before that goes.
    pub(crate) fn needs_rights(&self) -> bool {
        self.needs_rights
    }

    /// In init: puts it in force.
    pub(crate) fn load(&self) -> io::Result<()> {
        // It asks no agent.
        self.filter.load().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::LateFilter;
    use oci_spec::runtime::Spec;

    fn spec(process: &str, seccomp: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion":"1.1.0","process":{{"cwd":"/","user":{{"uid":0,"gid":0}}{process}}},
            "linux":{{"seccomp":{seccomp}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn it_is_loaded_with_rights_unless_new_ones_are_given_up() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#;
        for (process, needs_rights) in [("", true), (r#","noNewPrivileges":true"#, false)] {
            let mut spec = spec(process, profile);
            let filter = LateFilter::take(&mut spec).unwrap().unwrap();
            assert_eq!(filter.needs_rights(), needs_rights);
            assert!(spec.linux().as_ref().unwrap().seccomp().is_none());
        }
        assert!(LateFilter::take(&mut Spec::default()).unwrap().is_none());
    }

    #[test]
    fn a_profile_with_an_agent_stays_in_the_spec() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a","syscalls":[
            {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        let mut spec = spec("", profile);
        assert!(LateFilter::take(&mut spec).unwrap().is_none());
        assert!(spec.linux().as_ref().unwrap().seccomp().is_some());
    }
}
