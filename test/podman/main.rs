//! podman on Medley's command line: what a user of it types, by root and by another user; Linux
//! containers on runc as well. conmon, which podman runs for each container, calls the runtime.

mod conmon;
mod health;
mod life;
mod limits;
mod pods;
mod run;
mod wasm;

use medley_test::*;

/// The name of [`linux`].
const BOX: &str = "medley.test/box";

/// Busybox with a user `u`, a text file that is no program, and no entrypoint.
fn linux() -> Result<Image> {
    images::busybox_builder("box")?
        .file("/etc/note", "a note\n", 0o644)
        .file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/:/bin/sh\n",
            0o644,
        )
        .file("/etc/group", "root:x:0:\nu:x:1000:\n", 0o644)
        .build()
}
