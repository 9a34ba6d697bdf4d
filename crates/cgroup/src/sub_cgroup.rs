//! Cgroups that a container has made below its own.

use std::path::{Component, Path};

use crate::cgroup::Cgroup;

/// A cgroup below a container's own, as the command line names it: `[controller,…:]path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// The controllers that are meant; all, if there are none.
    pub controllers: Vec<String>,
    /// Below the container's own.
    pub path: String,
}

/// Why there is no such cgroup. In runc's words, which its callers read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages name each field")]
pub enum SubCgroupError {
    #[error("bad sub cgroup path: {path}")]
    Outside { path: String },
    #[error("unknown controller {name} in --cgroup argument")]
    Controller { name: String },
    #[error("error adding pid of the process to cgroups: {path}: no such file or directory")]
    Missing { path: String },
}

impl SubCgroup {
    /// Reads `text`, one of `count` arguments.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((controllers, path)) => Self {
                controllers: controllers.split(',').map(str::to_owned).collect(),
                path: path.to_owned(),
            },
            None => Self {
                controllers: Vec::new(),
                path: text.to_owned(),
            },
        }
    }
}

impl Cgroup {
    /// The cgroup of a process that is to be in `subs` of a container, and in its own otherwise.
    ///
    /// # Errors
    /// [`SubCgroupError`].
    pub fn below(&self, subs: &[SubCgroup]) -> Result<Self, SubCgroupError> {
        let mut cgroup = self.clone();
        for sub in subs {
            let relative = Path::new(sub.path.trim_start_matches('/'));
            let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if !relative.components().all(stays) {
                let path = sub.path.clone();
                return Err(SubCgroupError::Outside { path });
            }
            let has = |controllers: &str, name: &str| controllers.split(',').any(|it| it == name);
            let known = |name: &&String| self.dirs.iter().any(|dir| has(&dir.controllers, name));
            if let Some(name) = sub.controllers.iter().find(|name| !known(name)) {
                let name = name.clone();
                return Err(SubCgroupError::Controller { name });
            }
            for dir in &mut cgroup.dirs {
                let named = |name: &String| has(&dir.controllers, name);
                if !(sub.controllers.is_empty() || sub.controllers.iter().any(named)) {
                    continue;
                }
                dir.path.push(relative);
                if !dir.path.is_dir() {
                    let path = dir.path.display().to_string();
                    return Err(SubCgroupError::Missing { path });
                }
            }
        }
        Ok(cgroup)
    }
}

#[cfg(test)]
mod tests {
    use super::{SubCgroup, SubCgroupError};
    use crate::Cgroup;
    use crate::cgroup::CgroupDir;

    #[test]
    fn a_sub_cgroup_is_below_the_containers_own() {
        let top = tempfile::tempdir().unwrap();
        let dir = |name: &str, controllers: &str| {
            std::fs::create_dir_all(top.path().join(name).join("sub")).unwrap();
            CgroupDir {
                controllers: controllers.to_owned(),
                path: top.path().join(name),
            }
        };
        let own = Cgroup {
            unified: false,
            dirs: vec![dir("cpu", "cpu,cpuacct"), dir("memory", "memory")],
        };
        let below = |text: &str| own.below(&[SubCgroup::parse(text)]);
        let moved = below("cpu,cpuacct:sub").unwrap();
        assert_eq!(moved.dirs[0].path, top.path().join("cpu/sub"));
        assert_eq!(moved.dirs[1].path, top.path().join("memory"));
        let all = below("sub").unwrap();
        assert!(all.dirs.iter().all(|dir| dir.path.ends_with("sub")));
        assert_eq!(below("/").unwrap().dirs[1].path, top.path().join("memory/"));
        assert!(matches!(below(".."), Err(SubCgroupError::Outside { .. })));
        assert!(matches!(
            below("sub/../.."),
            Err(SubCgroupError::Outside { .. })
        ));
        assert!(matches!(
            below("whaaat:/"),
            Err(SubCgroupError::Controller { .. })
        ));
        assert!(matches!(
            below("memory:none"),
            Err(SubCgroupError::Missing { .. })
        ));
    }
}
