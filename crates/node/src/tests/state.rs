//! What is kept of an install, and what becomes of it.

use super::nodes::{self, CONFIG};
use super::{Node, refused};
use crate::args::Settings;
use crate::install::install;
use crate::status::status;
use crate::uninstall::uninstall;

const SHIM: &str = "/usr/local/bin/containerd-shim-wasm-v1";
const RECORD: &str = "/var/lib/containerd-shim-wasm/install/record.json";

#[test]
fn a_program_that_was_there_comes_back() {
    let node = Node::of(nodes::named("kind"));
    node.write(SHIM, "an older one");
    let before = node.everything();
    node.install();
    assert_eq!(node.read(SHIM), "the shim");
    node.uninstall();
    assert!(node.everything() == before);
}

/// Never in place: who runs the old one keeps it.
#[test]
fn an_upgrade_puts_another_file_in_the_programs_place() {
    use std::os::unix::fs::MetadataExt;
    let node = Node::of(nodes::named("kind"));
    let before = node.everything();
    node.write(SHIM, "an older one");
    node.install();
    let running = std::fs::File::open(node.at(SHIM)).unwrap();
    let old = running.metadata().unwrap();
    // As an older program of ours would have left it.
    let bytes = std::fs::read(node.at(SHIM)).unwrap();
    std::fs::write(node.at(SHIM), &bytes[..bytes.len() - 1]).unwrap();
    node.install();
    let new = std::fs::metadata(node.at(SHIM)).unwrap();
    assert_ne!(old.ino(), new.ino());
    assert_eq!(new.mode() & 0o777, 0o755);
    assert_eq!(
        running.metadata().unwrap().len(),
        new.len() - 1,
        "the old one was written to"
    );
    node.uninstall();
    std::fs::remove_file(node.at(SHIM)).unwrap();
    std::fs::remove_dir(node.at("/usr/local/bin")).unwrap();
    std::fs::remove_dir(node.at("/usr/local")).unwrap();
    std::fs::remove_dir(node.at("/usr")).unwrap();
    assert!(node.everything() == before);
}

#[test]
fn a_program_that_others_have_replaced_since_is_theirs() {
    let node = Node::of(nodes::named("kind"));
    node.install();
    std::fs::write(node.at(SHIM), "theirs").unwrap();
    let said = node.uninstall();
    assert!(said.contains("left alone"), "{said}");
    assert_eq!(node.read(SHIM), "theirs");
}

#[test]
fn a_change_between_two_installs_is_kept() {
    let node = Node::of(nodes::named("kind"));
    node.install();
    std::fs::write(
        node.at(CONFIG),
        format!("{}\n[debug]\n  level = \"debug\"\n", node.read(CONFIG)),
    )
    .unwrap();
    crate::install::install(node.with_handlers(&["crun"])).unwrap();
    node.uninstall();
    let config = node.read(CONFIG);
    assert!(config.contains("level = \"debug\""), "{config}");
    assert!(!config.contains("io.containerd.wasm.v1"), "{config}");
    assert!(
        config.starts_with(nodes::named("kind").files[1].1),
        "{config}"
    );
}

#[test]
fn uninstall_removes_the_cache_and_a_dry_run_only_says() {
    let node = Node::of(nodes::named("kubeadm"));
    let before = node.everything();
    node.install();
    node.write("/var/lib/containerd-shim-wasm/cache/a/b", "code");
    super::link("/", &node.at("/var/lib/containerd-shim-wasm/cache/a/link"));
    let installed = node.everything();
    let dry = Settings {
        dry_run: true,
        ..node.settings()
    };
    let said = uninstall(dry).unwrap();
    assert!(
        said.contains("+++ /dev/null") && said.contains("would remove "),
        "{said}"
    );
    assert!(node.everything() == installed);
    node.uninstall();
    assert!(
        node.everything() == before,
        "{:?}",
        node.everything().keys()
    );
}

#[test]
fn records_of_later_programs_are_left_to_them() {
    let node = Node::of(nodes::named("kind"));
    node.install();
    let record = node.read(RECORD);
    for (text, words) in [
        (
            record.replacen("\"format\": 1", "\"format\": 2", 1),
            "newer",
        ),
        ("{".to_owned(), "cannot be read"),
    ] {
        std::fs::write(node.at(RECORD), text).unwrap();
        let error = uninstall(node.settings()).unwrap_err();
        assert!(crate::error::told(&error).contains(words), "{error}");
        super::refused(&node, node.settings(), &[words]);
    }
}

#[test]
fn status_tells_what_is_there_and_what_is_not() {
    let node = Node::of(nodes::named("kind"));
    let text = |settings| status(settings).unwrap().into_text();
    assert!(text(node.settings()).contains("installed:    no"));
    node.install();
    let said = text(node.settings());
    assert!(said.contains("handlers:     wasm"), "{said}");
    assert!(
        said.contains("containerd-shim-wasm-v1 as installed"),
        "{said}"
    );
    std::fs::remove_file(node.at(SHIM)).unwrap();
    let json = Settings {
        json: true,
        ..node.settings()
    };
    let value: serde_json::Value = serde_json::from_str(&text(json)).unwrap();
    assert_eq!(value["complete"], false);
    let files = value["files"].as_array().unwrap();
    assert!(
        files.iter().any(|file| file["state"] == "missing"),
        "{value}"
    );
}

/// As KWasm's installer has left a node, with its operator gone.
#[test]
fn what_kwasm_has_left_makes_room_for_the_handlers() {
    let node = Node::of(nodes::named("kind"));
    let before = node.everything();
    let config = node.read(CONFIG);
    let tables = "
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.spin]
    runtime_type = \"/opt/kwasm/bin/containerd-shim-spin-v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasmtime]
    runtime_type = \"/opt/kwasm/bin/containerd-shim-wasmtime-v1\"

";
    std::fs::write(node.at(CONFIG), format!("{config}{tables}")).unwrap();
    node.write("/opt/kwasm/bin/containerd-shim-spin-v2", "theirs");
    node.write("/opt/kwasm/active", "");
    let handlers = ["wasmtime", "spin"];
    refused(
        &node,
        node.with_handlers(&handlers),
        &["wasmtime", "/opt/kwasm"],
    );
    super::link(
        "/opt/kwasm/bin/containerd-shim-spin-v2",
        &node.at("/usr/local/bin/containerd-shim-spin-v2"),
    );
    let kwasm = || Settings {
        kwasm: true,
        ..node.settings()
    };
    let left = node.everything();
    let shown = uninstall(Settings {
        dry_run: true,
        ..kwasm()
    });
    let shown = shown.unwrap();
    assert!(
        shown.contains("runtimes.spin]") && shown.contains("would remove "),
        "{shown}"
    );
    assert!(node.everything() == left, "a dry run has changed something");
    uninstall(kwasm()).unwrap();
    assert_eq!(node.read(CONFIG), config);
    assert!(!node.at("/opt/kwasm").exists());
    let link = node.at("/usr/local/bin/containerd-shim-spin-v2");
    assert!(link.symlink_metadata().is_err(), "the link is there still");
    let again = uninstall(kwasm()).unwrap();
    assert!(again.contains("left nothing"), "{again}");
    install(node.with_handlers(&handlers)).unwrap();
    node.uninstall();
    let (mut after, before) = (node.everything(), before);
    // The dirs that the other installer has made.
    for dir in ["/opt", "/usr", "/usr/local", "/usr/local/bin"] {
        after.remove(&node.at(dir));
    }
    assert!(after == before);
}

/// k0s has a file for it alone.
#[test]
fn a_file_of_kwasms_alone_goes_whole() {
    let node = Node::of(nodes::named("k0s"));
    let before = node.everything();
    let table = "\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.\"spin\"]\n    \
                 runtime_type = \"/opt/kwasm/bin/containerd-shim-spin-v2\"\n\n";
    node.write("/etc/k0s/containerd.d/spin.toml", table);
    let said = uninstall(Settings {
        kwasm: true,
        ..node.settings()
    });
    assert!(said.unwrap().contains("took KWasm's shims away"));
    let mut after = node.everything();
    after.remove(&node.at("/etc/k0s/containerd.d"));
    let mut before = before;
    before.remove(&node.at("/etc/k0s/containerd.d"));
    assert!(after == before, "{:?}", after.keys());
}
