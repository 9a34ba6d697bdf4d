//! What the shim keeps in a bundle. All of it goes away with the bundle, should the shim be gone.

/// libcontainer's state of a container, the changed spec, and the files of `state_file`.
pub(super) const STATE: &str = "medley";

/// The files and the shared memory of a sandbox.
pub(super) const SANDBOX: &str = "medley-pod";

/// Where layers are mounted for as long as it takes to make an overlay of them.
pub(super) const LAYERS: &str = "medley-layers";

/// Where a mount below the rootfs is made before it is moved to its target.
pub(super) const STAGE: &str = "medley-stage";
