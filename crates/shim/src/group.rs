//! Which containers share a shim.

use std::collections::HashMap;

/// In the order in which they count, as in containerd's runc shim.
const ANNOTATIONS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// The group of container `id`: its pod, or itself.
pub(crate) fn of<'a>(id: &'a str, annotations: &'a HashMap<String, String>) -> &'a str {
    let named = |key: &&str| annotations.get(*key).filter(|group| !group.is_empty());
    ANNOTATIONS
        .iter()
        .find_map(named)
        .map_or(id, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::of;
    use std::collections::HashMap;

    #[test]
    fn the_group_annotation_counts_more_than_the_sandbox_and_both_more_than_the_id() {
        let mut annotations = HashMap::new();
        assert_eq!(of("a", &annotations), "a");
        annotations.insert("io.kubernetes.cri.sandbox-id".to_owned(), "pod".to_owned());
        assert_eq!(of("a", &annotations), "pod");
        annotations.insert("io.containerd.runc.v2.group".to_owned(), "group".to_owned());
        assert_eq!(of("a", &annotations), "group");
    }
}
