//! The steps by which the Dockerfiles of `images/` put Medley into the image of a node.

use medley_test::runtime::{shim_path, workspace};
use medley_test::*;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a step in a root, as an image is built: with a process file system, and no containerd that runs.
const STEP: &str = r#"
set -e
mount -t proc proc "$1/proc"
exec chroot "$1" /bin/busybox env -i PATH=/usr/local/bin:/bin HANDLERS="$2" /bin/sh -c "$3"
"#;

/// A root with busybox and the programs of a release, which goes with the test.
struct Root(PathBuf);

impl Root {
    fn new() -> Result<Self> {
        let this = Self(std::env::temp_dir().join(format!("medley-root-{}", leftovers::unique())));
        for dir in ["bin", "proc", "programs", "etc/containerd", "usr/local/bin"] {
            std::fs::create_dir_all(this.0.join(dir))?;
        }
        std::fs::copy("/bin/busybox", this.0.join("bin/busybox"))?;
        symlink("busybox", this.0.join("bin/sh"))?;
        let program = Path::new("programs").join(Runtime::Medley.binary());
        std::fs::copy(shim_path()?, this.0.join(program))?;
        Ok(this)
    }

    /// Does what the Dockerfile of an image runs, with the handlers that it names.
    fn build(&self, image: &str) -> Result<Output> {
        let path = workspace().join("images").join(image).join("Dockerfile");
        let text = std::fs::read_to_string(&path)?;
        let handlers = text
            .lines()
            .find_map(|line| line.strip_prefix("ARG HANDLERS="))
            .context("no HANDLERS")?;
        let (_, step) = text.split_once("\nRUN ").context("no step")?;
        // Its first line says what is mounted.
        let (_, step) = step.split_once("\\\n").context("one line")?;
        Ok(Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                STEP,
                "sh",
            ])
            .args([
                &self.0,
                Path::new(handlers.trim_matches('"')),
                Path::new(step),
            ])
            .output()?)
    }

    fn text(&self, path: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.0.join(path))?)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_node_image_of_kind_is_built() -> Result<()> {
    let root = Root::new()?;
    let config = root.0.join("etc/containerd/config.toml");
    std::fs::write(&config, "version = 2\n")?;
    let done = root.build("kind-node")?;
    assert!(done.status.success(), "{done:?}");
    let text = root.text("etc/containerd/config.toml")?;
    assert!(
        text.contains(r#"runtime_type = "io.containerd.spin.v2""#),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_node_image_of_k3s_is_built() -> Result<()> {
    let root = Root::new()?;
    let done = root.build("k3s")?;
    assert!(done.status.success(), "{done:?}");
    let dir = "var/lib/rancher/k3s/agent/etc/containerd";
    for name in ["config.toml.tmpl", "config-v3.toml.tmpl"] {
        let text = root.text(&format!("{dir}/{name}"))?;
        assert!(text.starts_with("{{ template \"base\" . }}\n"), "{text}");
        assert!(
            text.contains(r#"runtime_type = "io.containerd.wasmer.v1""#),
            "{text}"
        );
    }
    Ok(())
}
