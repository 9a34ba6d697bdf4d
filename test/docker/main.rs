//! Docker on Medley: what a user of it types, on a dockerd of each test's own; Linux containers on
//! runc as well.

mod command_line;
mod compose;
mod crash;
mod daemon;
mod exec;
mod files;
mod health;
mod install;
mod isolation;
mod life;
mod limits;
mod logs;
mod namespaces;
mod network;
mod policies;
mod run;
mod terminals;
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
        .file("/etc/group", "root:x:0:\nu:x:1000:\nextra:x:44:\n", 0o644)
        .build()
}
