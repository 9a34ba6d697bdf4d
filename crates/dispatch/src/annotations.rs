//! Every annotation that the shim reads, and which containers share a shim by them.

use std::collections::HashMap;

/// `sandbox` or `container`, of containerd's CRI plugin.
pub(crate) const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// The container's name in its pod.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";

/// An engine, as crun has it.
pub(crate) const HANDLER: &str = "run.oci.handler";

/// Whether the container is Wasm; with `.` and a container's name behind it, for that one alone.
pub(crate) const VARIANT: &str = "module.wasm.image/variant";

/// The sandbox of a container, in the order in which they count, as in containerd's runc shim.
const SANDBOX: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// The sandbox of container `id`, which has a shim of its own: that of its pod, or the container
/// itself.
#[must_use]
pub fn sandbox_of<'a>(id: &'a str, annotations: &'a HashMap<String, String>) -> &'a str {
    let named = |key: &&str| annotations.get(*key).filter(|sandbox| !sandbox.is_empty());
    SANDBOX.iter().find_map(named).map_or(id, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::sandbox_of;
    use std::collections::HashMap;

    /// And both count more than the id.
    #[test]
    fn the_group_annotation_counts_more_than_the_sandbox() {
        let mut annotations = HashMap::new();
        assert_eq!(sandbox_of("a", &annotations), "a");
        annotations.insert("io.kubernetes.cri.sandbox-id".to_owned(), "pod".to_owned());
        assert_eq!(sandbox_of("a", &annotations), "pod");
        annotations.insert("io.containerd.runc.v2.group".to_owned(), "group".to_owned());
        assert_eq!(sandbox_of("a", &annotations), "group");
    }
}
