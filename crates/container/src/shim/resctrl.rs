//! The groups that libcontainer makes in resctrl, which stay behind a container unless they are
//! removed: one for its share of caches and bandwidth if its spec names none that was there before,
//! and one for its measurements.

use std::fs;
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::process::intel_rdt::cleanup_intel_rdt;

/// Removes the groups of the containers whose state is below `dir`. What stays is told: the kernel
/// has few groups, but none of a container's own goes on using one.
pub(super) fn remove_group(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for state in entries.map(|entry| entry.path()).filter(|it| it.is_dir()) {
        let Ok(container) = Container::load(state) else {
            // Not libcontainer's, or not whole: nothing was made then.
            continue;
        };
        let made = cleanup_intel_rdt(
            container.intel_rdt_dir().map(|path| path.as_path()),
            container
                .intel_rdt_monitoring_dir()
                .map(|path| path.as_path()),
            container.clean_up_intel_rdt_subdirectory(),
            container.id(),
        );
        if let Err(error) = made {
            let text = medley_types::sentence(&error);
            log::warn!("{}: a group of resctrl stays: {text}", container.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::remove_group;

    #[test]
    fn the_groups_in_libcontainers_state_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("group");
        let state = dir.path().join("it");
        for dir in [&group, &state] {
            std::fs::create_dir(dir).unwrap();
        }
        let mut container = libcontainer::container::Container::new(
            "it",
            libcontainer::container::ContainerStatus::Created,
            None,
            dir.path(),
            &state,
        )
        .unwrap();
        container.set_intel_rdt_dir(Some(group.clone()));
        container.save().unwrap();
        remove_group(dir.path());
        assert!(!group.exists() && state.exists());
    }
}
