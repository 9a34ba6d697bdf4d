//! What a rootfs is made of.

/// One mount of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootfsMount {
    /// `overlay`, `bind`, …
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, relative to the rootfs; almost always empty.
    pub target: String,
    /// As in fstab.
    pub options: Vec<String>,
}
