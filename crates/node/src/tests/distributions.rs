//! Every distribution: found, installed on, twice, and back.

use std::os::unix::fs::MetadataExt;

use super::nodes::{self, ALL, CONFIG};
use super::{Node, link};
use crate::args::Settings;
use crate::distribution::Distribution;
use crate::install::install;
use crate::root::Root;

/// `MEDLEY_GOLDEN` names the directory of the expected diffs, to have them written anew.
fn expect(name: &str, shown: &str, golden: &str) {
    if let Some(dir) = std::env::var_os("MEDLEY_GOLDEN") {
        let file = std::path::Path::new(&dir).join(format!("{name}.diff"));
        std::fs::write(file, shown).unwrap();
        return;
    }
    assert_eq!(shown, golden, "{name}");
}

#[test]
fn every_distribution_is_found_by_its_files() {
    for fixture in &ALL {
        let node = Node::of(fixture);
        let root = Root::open(node.dir.path()).unwrap();
        let found = Distribution::find(&root).unwrap().name();
        assert_eq!(found, fixture.distribution, "{}", fixture.name);
    }
}

#[test]
fn a_dry_run_shows_the_diff_and_changes_nothing() {
    for fixture in &ALL {
        let node = Node::of(fixture);
        let before = node.everything();
        let shown = node.dry_run(node.settings()).unwrap();
        expect(fixture.name, &shown, fixture.golden);
        assert_eq!(node.everything(), before, "{}", fixture.name);
    }
}

#[test]
fn a_second_install_changes_nothing_and_uninstall_undoes_all() {
    for fixture in &ALL {
        let node = Node::of(fixture);
        let before = node.everything();
        let said = node.install();
        assert!(said.contains("handlers: wasm"), "{}: {said}", fixture.name);
        let installed = node.everything();
        assert_ne!(installed, before, "{}", fixture.name);
        let said = node.install();
        assert!(
            said.contains("nothing to change"),
            "{}: {said}",
            fixture.name
        );
        assert!(node.everything() == installed, "{}", fixture.name);
        node.uninstall();
        assert!(
            node.everything() == before,
            "{}: {:?}",
            fixture.name,
            node.everything().keys()
        );
        assert!(node.uninstall().contains("nothing is installed"));
    }
}

/// What was changed beside it stays, and nothing of ours does.
#[test]
fn what_others_have_changed_since_stays() {
    for (name, file) in [
        ("kind", CONFIG),
        ("kubeadm", CONFIG),
        ("eks", CONFIG),
        ("docker", "/etc/docker/daemon.json"),
        (
            "k3s-template",
            "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
        ),
        (
            "microk8s",
            "/var/snap/microk8s/current/args/containerd-template.toml",
        ),
    ] {
        let node = Node::of(nodes::named(name));
        node.install();
        let changed = |text: String| match file {
            "/etc/docker/daemon.json" => text.replacen("json-file", "journald", 1),
            _ => format!("# ours\n{text}"),
        };
        let mode = std::fs::metadata(node.at(file)).unwrap().permissions();
        std::fs::write(node.at(file), changed(node.read(file))).unwrap();
        std::fs::set_permissions(node.at(file), mode).unwrap();
        node.uninstall();
        let original = nodes::named(name)
            .files
            .iter()
            .find(|(path, _)| *path == file);
        let original = original.unwrap().1.to_owned();
        assert_eq!(
            node.read(file).trim_end(),
            changed(original).trim_end(),
            "{name}"
        );
    }
}

#[test]
fn more_handlers_come_to_those_that_are_there() {
    for name in ["kind", "k3s-v2", "k3s", "docker"] {
        let node = Node::of(nodes::named(name));
        let before = node.everything();
        node.install();
        install(node.with_handlers(&["crun", "crun-wasmedge"])).unwrap();
        let once = node.everything();
        let all = install(node.with_handlers(&["wasm", "crun", "crun-wasmedge"])).unwrap();
        assert!(all.contains("nothing to change"), "{name}: {all}");
        assert!(node.install().contains("nothing to change"), "{name}");
        assert!(node.everything() == once);
        node.uninstall();
        assert!(node.everything() == before, "{name}");
    }
}

#[test]
fn a_handler_runs_the_engine_that_its_name_says() {
    let node = Node::of(nodes::named("kind"));
    let handlers = [
        "crun",
        "crun-wasmedge",
        "crun-wasmtime",
        "crun-wasmer",
        "spin",
    ];
    install(node.with_handlers(&handlers)).unwrap();
    let config = node.read(CONFIG);
    let doc: toml_edit::DocumentMut = config.parse().unwrap();
    let runtimes = &doc["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"];
    for (handler, runtime) in [
        ("crun", "io.containerd.wasm.v1"),
        ("crun-wasmedge", "io.containerd.wasmedge.v1"),
        ("crun-wasmtime", "io.containerd.wasmtime.v1"),
        ("crun-wasmer", "io.containerd.wasmer.v1"),
        ("spin", "io.containerd.spin.v2"),
    ] {
        assert_eq!(runtimes[handler]["runtime_type"].as_str(), Some(runtime));
        let systemd = runtimes[handler]["options"]["SystemdCgroup"].as_bool();
        assert_eq!(systemd, Some(true), "{handler}");
    }
    let target = std::fs::read_link(node.at("/usr/local/bin/containerd-shim-spin-v2")).unwrap();
    assert_eq!(target.to_str(), Some("containerd-shim-wasm-v1"));
}

#[test]
fn another_directory_is_told_to_containerd() {
    let node = Node::of(nodes::named("kind"));
    let before = node.everything();
    let settings = Settings {
        bin_dir: Some("/opt/medley/bin".into()),
        ..node.with_handlers(&["wasm", "crun-wasmedge"])
    };
    install(settings).unwrap();
    let config = node.read(CONFIG);
    for path in ["containerd-shim-wasm-v1", "containerd-shim-wasmedge-v1"] {
        let line = format!("runtime_path = \"/opt/medley/bin/{path}\"");
        assert!(config.contains(&line), "{config}");
    }
    assert!(
        node.install().contains("nothing to change"),
        "it is known the next time"
    );
    node.uninstall();
    assert!(node.everything() == before);
}

/// As the archive of a release has them: beside the program, in a directory of their version.
#[test]
fn a_programs_own_libraries_come_and_go_with_it() {
    let node = Node::of(nodes::named("kind"));
    let before = node.everything();
    let unpacked = tempfile::tempdir().unwrap();
    let beside = |name: &str, text: &str| {
        let path = unpacked.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    beside("containerd-shim-wasm-v1", "the shim");
    // As cargo leaves it beside what it makes.
    beside("containerd-shim-wasm-v1.d", "the shim: its sources");
    beside("containerd-shim-wasm-v1-wasmedge", "the program");
    beside(
        "containerd-shim-wasm-v1-wasmedge.d/0123/ld.so",
        "the loader",
    );
    beside(
        "containerd-shim-wasm-v1-wasmedge.d/0123/libc.so.6",
        "the library",
    );
    let settings = || Settings {
        program: unpacked.path().join("containerd-shim-wasm-v1"),
        ..node.settings()
    };
    let shown = node.dry_run(settings()).unwrap();
    let place = "/var/lib/containerd-shim-wasm/wasmedge/0123";
    let loader = format!("program {place}/ld.so (new)");
    let program = "program /usr/local/bin/containerd-shim-wasm-v1-wasmedge (new)";
    let at = |line: &str| {
        shown
            .find(line)
            .unwrap_or_else(|| panic!("no {line} in {shown}"))
    };
    assert!(at(&loader) < at(program), "{shown}");
    install(settings()).unwrap();
    assert_eq!(node.read(&format!("{place}/libc.so.6")), "the library");
    let mode = node
        .at(&format!("{place}/ld.so"))
        .metadata()
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    let again = install(settings()).unwrap();
    assert!(again.contains("nothing to change"), "{again}");
    node.uninstall();
    assert!(node.everything() == before);
}

/// The programs of two releases, `a` and `b`, unpacked, each with libraries in a dir of the name that
/// `library` gives them.
fn two_releases(library: impl Fn(&str) -> String) -> tempfile::TempDir {
    let unpacked = tempfile::tempdir().unwrap();
    for release in ["a", "b"] {
        let dir = unpacked.path().join(release);
        let libraries = dir
            .join("containerd-shim-wasm-v1-wasmedge.d")
            .join(library(release));
        std::fs::create_dir_all(&libraries).unwrap();
        std::fs::write(dir.join("containerd-shim-wasm-v1"), release).unwrap();
        std::fs::write(dir.join("containerd-shim-wasm-v1-wasmedge"), release).unwrap();
        std::fs::write(libraries.join("ld.so"), release).unwrap();
    }
    unpacked
}

fn of_release(node: &Node, unpacked: &tempfile::TempDir, release: &str) -> Settings {
    Settings {
        program: unpacked
            .path()
            .join(release)
            .join("containerd-shim-wasm-v1"),
        ..node.settings()
    }
}

/// An upgrade whose libraries are others: the old ones go, unless something runs with them.
#[test]
fn an_older_programs_libraries_go_once_they_are_not_used() {
    let node = Node::of(nodes::named("kind"));
    let before = node.everything();
    let library = |release: &str| format!("version-of-{release}-{}", std::process::id());
    let unpacked = two_releases(library);
    let settings = |release: &str| of_release(&node, &unpacked, release);
    for release in ["a", "b"] {
        let libraries = format!(
            "{release}/containerd-shim-wasm-v1-wasmedge.d/{}",
            library(release)
        );
        std::fs::copy("/bin/sleep", unpacked.path().join(libraries).join("sleep")).unwrap();
    }
    let place = |release: &str| {
        node.at("/var/lib/containerd-shim-wasm/wasmedge")
            .join(library(release))
    };
    install(settings("a")).unwrap();
    // What a container maps, as far as the kernel tells.
    let mut running = std::process::Command::new(place("a").join("sleep"))
        .arg("3600")
        .spawn()
        .unwrap();
    let said = install(settings("b")).unwrap();
    let pid = running.id().to_string();
    assert!(
        said.contains("stay as long as") && said.contains(&pid),
        "{said}"
    );
    assert!(place("a").join("ld.so").exists() && place("b").join("ld.so").exists());
    running.kill().unwrap();
    running.wait().unwrap();
    let shown = node.dry_run(settings("b")).unwrap();
    let gone = format!(
        "would remove /var/lib/containerd-shim-wasm/wasmedge/{}",
        library("a")
    );
    assert!(shown.contains(&gone) && place("a").exists(), "{shown}");
    install(settings("b")).unwrap();
    assert!(!place("a").exists() && place("b").join("ld.so").exists());
    let again = install(settings("b")).unwrap();
    assert!(again.contains("nothing to change"), "{again}");
    node.uninstall();
    assert!(node.everything() == before);
}

/// One may hold the program beside it open, and starts its pod's next container with that.
#[test]
fn libraries_stay_while_a_shim_of_before_runs() {
    let node = Node::of(nodes::named("kind"));
    let unpacked = two_releases(str::to_owned);
    let settings = |release: &str| of_release(&node, &unpacked, release);
    for release in ["a", "b"] {
        std::fs::copy("/bin/sh", settings(release).program).unwrap();
    }
    // Another program than the first, though it does the same.
    let mut second = std::fs::OpenOptions::new();
    let second = second.append(true).open(settings("b").program);
    std::io::Write::write_all(&mut second.unwrap(), b"b").unwrap();
    let serve = || {
        let mut shim =
            std::process::Command::new(node.at("/usr/local/bin/containerd-shim-wasm-v1"));
        shim.args(["-c", "echo ready; read end", "sh", "-socket"]);
        shim.stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut shim = shim.spawn().unwrap();
        let mut ready = [0; 6];
        let said = shim.stdout.as_mut().unwrap();
        std::io::Read::read_exact(said, &mut ready).unwrap();
        shim
    };
    let libraries = |release: &str| {
        node.at("/var/lib/containerd-shim-wasm/wasmedge")
            .join(release)
            .join("ld.so")
    };
    install(settings("a")).unwrap();
    let mut before = serve();
    let said = install(settings("b")).unwrap();
    let pid = before.id().to_string();
    assert!(
        said.contains("stay as long as") && said.contains(&pid),
        "{said}"
    );
    assert!(libraries("a").exists());
    before.kill().unwrap();
    before.wait().unwrap();
    // One of the new program has nothing to do with them.
    let mut new = serve();
    install(settings("b")).unwrap();
    assert!(!libraries("a").exists() && libraries("b").exists());
    new.kill().unwrap();
    new.wait().unwrap();
}

/// Links inside the root are followed there, and only there.
#[test]
fn no_link_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let theirs = outside.path().join("config.toml");
    std::fs::write(&theirs, "version = 2\n").unwrap();
    let node = Node::empty();
    node.write("/usr/bin/containerd", "");
    link(&theirs.to_string_lossy(), &node.at(CONFIG));
    link("/etc/elsewhere", &node.at("/var/lib"));
    link(
        "../../../../../../../../usr/place",
        &node.at("/usr/local/bin"),
    );
    node.write("/etc/elsewhere/", "");
    node.write("/usr/place/", "");
    node.install();
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "version = 2\n");
    let inside = node.at(&theirs.to_string_lossy());
    assert!(
        std::fs::read_to_string(inside)
            .unwrap()
            .contains("runtimes.wasm")
    );
    assert!(node.at("/usr/place/containerd-shim-wasm-v1").is_file());
    assert!(
        node.at("/etc/elsewhere/containerd-shim-wasm/install")
            .is_dir()
    );
}
