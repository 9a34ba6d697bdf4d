//! The names by which people, the installer and other controllers know a node's state.

/// What asks for Medley on a node, as it asked KWasm's operator: an annotation, with the value `true`.
pub(crate) const KWASM_ANNOTATION: &str = "kwasm.sh/kwasm-node";

/// What KWasm's operator has marked its nodes by.
pub(crate) const KWASM_LABEL: &str = "kwasm.sh/kwasm-provisioned";

/// The Jobs by which KWasm's operator installed.
pub(crate) const KWASM_JOBS: &str = "kwasm.sh/job=true";

/// KWasm's operator, as its Helm chart labels it.
pub(crate) const KWASM_OPERATOR: &str = "app.kubernetes.io/name=kwasm-operator";

/// The label that the installer's DaemonSet selects nodes by.
pub(crate) const INSTALL: &str = "medley.node/install";

/// The label by which the installer says that a node has Medley.
pub(crate) const READY: &str = "medley.node/ready";

/// The annotation in which the installer says why it does not come on, as long as that is so.
pub(crate) const FAILURE: &str = "medley.node/failure";

/// The value of both labels.
pub(crate) const TRUE: &str = "true";

/// The installer's Pods.
pub(crate) const INSTALLER: &str = "app.kubernetes.io/name=medley-installer";

/// The condition of nodes.
pub(crate) const CONDITION: &str = "MedleyReady";

/// This controller: what it owns in objects, its Lease, and who reports its events.
pub(crate) const CONTROLLER: &str = "medley-controller";
