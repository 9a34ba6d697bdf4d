//! What is refused, with a reason and without a change.

use std::os::unix::fs::PermissionsExt;

use super::nodes::{self, CONFIG, K3S_CONFIG, KUBEADM};
use super::{Node, refused};
use crate::args::{Restart, Settings};
use crate::install::install;
use crate::root::Root;

#[test]
fn malformed_configurations_are_told_with_line_and_column() {
    for (text, words) in [
        ("version = 2\n[plugins\n", &["line 2, column 9"][..]),
        ("version = 2\nversion = 3\n", &["line 2, column 1"]),
        ("version = \"2\"\n", &["version", "a number"]),
        ("version = 5\n", &["version 5", "1 to 4"]),
        ("version = 2\nplugins = 3\n", &["plugins", "a table"]),
        (
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]\n\
             runtime_type = \"io.containerd.wasm.v1\"\npod_annotations = 1\n",
            &["pod_annotations", "an array"],
        ),
    ] {
        let node = Node::empty();
        node.write(CONFIG, text);
        let all = [&["/etc/containerd/config.toml"], words].concat();
        refused(&node, node.settings(), &all);
    }
    let node = Node::empty();
    node.write(CONFIG, "version = 2\n");
    std::fs::write(node.at(CONFIG), b"version = 2\n# \xff\n").unwrap();
    refused(&node, node.settings(), &["line 2, column 3", "UTF-8"]);
    let node = Node::of(nodes::named("docker"));
    node.write("/etc/docker/daemon.json", "{\n  \"a\": 1,\n}\n");
    refused(&node, node.settings(), &["daemon.json", "line 3 column 1"]);
}

#[test]
fn what_an_imported_file_says_counts_too() {
    let node = Node::of(nodes::named("kubeadm"));
    let other = "/etc/containerd/conf.d/10-other.toml";
    let table = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm]\n\
                 runtime_type = 'io.containerd.runsc.v1'\n";
    node.write(other, table);
    refused(
        &node,
        node.settings(),
        &["wasm", "io.containerd.runsc.v1", other, "--handler"],
    );
    node.write(other, "[plugins\n");
    refused(&node, node.settings(), &[other, "line 1"]);
}

#[test]
fn an_unknown_node_is_told_what_to_pass() {
    let node = Node::empty();
    refused(
        &node,
        node.settings(),
        &["--distribution", "kubeadm", "--config"],
    );
    let node = Node::of(nodes::named("k3s"));
    node.write("/etc/k0s/containerd.toml", "# k0s_managed=true\n");
    refused(&node, node.settings(), &["k3s and k0s", "--distribution"]);
}

#[test]
fn a_node_that_has_not_started_yet_is_told_so() {
    let node = Node::empty();
    node.write("/usr/local/bin/k0s", "");
    refused(
        &node,
        node.settings(),
        &["containerd.toml", "start k0s once"],
    );
}

#[test]
fn a_handler_that_others_have_is_theirs() {
    let node = Node::of(nodes::named("kind"));
    let settings = node.with_handlers(&["test-handler"]);
    refused(
        &node,
        settings,
        &["test-handler", "io.containerd.runc.v2", "--handler"],
    );
    let node = Node::of(nodes::named("k3s-template"));
    refused(
        &node,
        node.with_handlers(&["gvisor"]),
        &["gvisor", "config-v3.toml.tmpl"],
    );
    let node = Node::of(nodes::named("docker"));
    refused(
        &node,
        node.with_handlers(&["kata"]),
        &["kata", "io.containerd.kata.v2"],
    );
}

#[test]
fn an_alias_that_others_have_is_theirs() {
    for place in ["/usr/local/bin", "/usr/bin"] {
        let node = Node::of(nodes::named("kind"));
        let path = format!("{place}/containerd-shim-wasmedge-v1");
        node.write(&path, "another shim");
        let settings = node.with_handlers(&["crun-wasmedge"]);
        refused(&node, settings, &["crun-wasmedge", &path]);
        let said = node.install();
        assert!(said.contains(&path) && said.contains("no alias"), "{said}");
        assert_eq!(node.read(&path), "another shim");
        node.uninstall();
        assert_eq!(node.read(&path), "another shim");
    }
}

#[test]
fn two_installs_at_once_are_one_too_many() {
    let node = Node::of(nodes::named("kind"));
    let root = Root::open(node.dir.path()).unwrap();
    let lock = root.lock().unwrap();
    refused(&node, node.settings(), &["another install", "wait"]);
    drop(lock);
    node.install();
}

#[test]
fn who_may_not_write_is_told_to_be_root() {
    let node = Node::of(nodes::named("kind"));
    let dir = node.at("/etc/containerd");
    let mode = |mode| std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode));
    mode(0o555).unwrap();
    let probe = node.at("/etc/containerd/probe");
    if std::fs::write(&probe, "").is_ok() {
        // With root's rights everything may be written; `make test` runs this without.
        std::fs::remove_file(&probe).unwrap();
    } else {
        let words = ["/etc/containerd/config.toml", "run this as root"];
        refused(&node, node.settings(), &words);
    }
    mode(0o755).unwrap();
}

#[test]
fn a_place_that_is_no_file_is_left_alone() {
    let node = Node::of(nodes::named("kind"));
    node.write("/usr/local/bin/containerd-shim-wasm-v1/", "");
    refused(
        &node,
        node.settings(),
        &["containerd-shim-wasm-v1", "not a regular file"],
    );
}

#[test]
fn services_of_another_root_are_not_restarted() {
    let node = Node::of(nodes::named("kind"));
    let restart = Settings {
        restart: Restart::Found,
        ..node.settings()
    };
    refused(&node, restart, &["--nsenter", "--restart"]);
    let nsenter = Settings {
        nsenter: true,
        ..node.settings()
    };
    refused(&node, nsenter, &["--nsenter", "process 1"]);
}

#[test]
fn a_default_runtime_is_not_taken_away() {
    let node = Node::of(nodes::named("kind"));
    node.install();
    let config = node.read(CONFIG).replace("\"runc\"", "\"wasm\"");
    std::fs::write(node.at(CONFIG), &config).unwrap();
    let installed = node.everything();
    let error = crate::uninstall::uninstall(node.settings()).unwrap_err();
    assert!(error.to_string().contains("default runtime"), "{error}");
    assert!(node.everything() == installed);
}

/// Written in ways that cannot be added to: no file is better than another meaning.
#[test]
fn tables_in_braces_are_added_to_and_the_rest_keeps_its_meaning() {
    for text in [
        "version = 2\nplugins = { \"io.containerd.grpc.v1.cri\" = { containerd = { runtimes = {} } } }\n",
        "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".containerd.default_runtime_name = \"runc\"\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\ncontainerd.runtimes.runc.runtime_type = \"io.containerd.runc.v2\"\n",
        "",
        "# nothing but this",
        "[plugins.cri]\nsandbox_image = \"a\"\n",
    ] {
        let node = Node::empty();
        node.write(CONFIG, text);
        let before = node.everything();
        node.install();
        let config = node.read(CONFIG);
        let parsed = crate::config::Config::parse(std::path::Path::new("c"), config.as_bytes());
        let handlers = parsed.unwrap().handlers();
        let wasm = ("wasm".to_owned(), "io.containerd.wasm.v1".to_owned());
        assert!(handlers.contains(&wasm), "{config}");
        assert!(node.install().contains("nothing to change"), "{config}");
        node.uninstall();
        assert!(node.everything() == before, "{config}");
    }
}

/// As editors and tools of other systems leave a file: every byte of what was there stays.
#[test]
fn a_configuration_keeps_its_ends_of_lines_and_its_mark() {
    for text in [
        "# theirs\r\nversion = 2\r\n[grpc]\r\n\taddress = \"/a\"\r\n",
        "\u{feff}version = 3\n[debug]\n  level = 'info'\n",
        "version = 3\r\n# one end of the other kind\n[debug]\r\n  level = \"info\"",
        "version\t=\t2\n\t[plugins.\"io.containerd.grpc.v1.cri\"]  \n\tsandbox_image = \"a\" # b\n",
        "version = 2\nx = \"\"\"one\r\ntwo\"\"\"\r\n",
    ] {
        let node = Node::empty();
        node.write(CONFIG, text);
        let before = node.everything();
        node.install();
        let config = node.read(CONFIG);
        assert!(config.starts_with(text), "{config:?}");
        let added = &config[text.len()..];
        let ends = (added.matches("\r\n").count(), added.matches('\n').count());
        let expected = if text.contains("\r\n") { ends.1 } else { 0 };
        assert_eq!(ends.0, expected, "{config:?}");
        // Changed since, it is edited back and not put back.
        let more = format!("{config}\n# more\n");
        std::fs::write(node.at(CONFIG), &more).unwrap();
        node.uninstall();
        let left = node.read(CONFIG);
        assert!(left.starts_with(text.trim_end()), "{left:?}");
        assert!(
            left.ends_with("# more\n") && !left.contains("wasm"),
            "{left:?}"
        );
        node.write(CONFIG, text);
        node.install();
        node.uninstall();
        assert!(node.everything() == before, "{text:?}");
    }
}

/// Both kinds of quotes name the same table, as do the names of older versions of the plugin.
#[test]
fn a_handler_is_found_however_its_table_is_written() {
    for table in [
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm]\nruntime_type = 'a'\n",
        "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.\"wasm\"]\nruntime_type = \"a\"\n",
        "[plugins]\n[plugins.'io.containerd.cri.v1.runtime']\ncontainerd.runtimes.wasm.runtime_type = 'a'\n",
        "[plugins.'io.containerd.cri.v1.runtime'.containerd]\nruntimes = { wasm = { runtime_type = 'a' } }\n",
        "[ plugins . \"io.containerd.cri.v1.runtime\" . containerd . runtimes ]\nwasm = { runtime_type = 'a' }\n",
    ] {
        let node = Node::empty();
        node.write(CONFIG, &format!("version = 3\n{table}"));
        refused(&node, node.settings(), &["wasm", "runs a already"]);
        let said = install(node.with_handlers(&["other"])).unwrap();
        assert!(said.contains("handlers: other"), "{table}: {said}");
    }
}

/// A table of another version's name, as installers append them, says nothing to containerd.
#[test]
fn a_table_that_containerd_does_not_read_is_no_handler() {
    for (text, import) in [
        ("version = 3\n", ""),
        ("version = 3\n", "imports = ['conf.d/*.toml']\n"),
        ("version = 2\n", ""),
    ] {
        let stray = match text {
            "version = 3\n" => "io.containerd.grpc.v1.cri",
            _ => "cri",
        };
        for runtime in ["io.containerd.wasm.v1", "/opt/other/bin/shim"] {
            let node = Node::empty();
            let table = format!(
                "[plugins.'{stray}'.containerd.runtimes.wasm]\nruntime_type = '{runtime}'\n"
            );
            let before = format!("{text}{import}{table}");
            node.write(CONFIG, &before);
            node.install();
            let drop_in = node.at("/etc/containerd/conf.d/50-containerd-shim-wasm.toml");
            let edited = if import.is_empty() {
                node.read(CONFIG)
            } else {
                std::fs::read_to_string(drop_in).unwrap()
            };
            let name = match stray {
                "cri" => "io.containerd.grpc.v1.cri",
                _ => "io.containerd.cri.v1.runtime",
            };
            let own = format!("[plugins.\"{name}\".containerd.runtimes.wasm]");
            assert!(edited.contains(&own), "{edited}");
            node.uninstall();
            assert_eq!(node.read(CONFIG), before);
        }
    }
}

/// Patterns as `path/filepath` has them, in directories too.
#[test]
fn handlers_in_files_that_any_pattern_imports_count() {
    let taken =
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm]\nruntime_type = 'a'\n";
    for (import, file) in [
        ("/etc/*/more/*.toml", "/etc/containerd/more/a.toml"),
        ("conf.d/[0-9]?-*", "/etc/containerd/conf.d/50-b"),
        ("*.d/a.toml", "/etc/containerd/x.d/a.toml"),
    ] {
        let node = Node::empty();
        node.write(CONFIG, &format!("version = 3\nimports = [{import:?}]\n"));
        node.write(file, taken);
        refused(&node, node.settings(), &["wasm", file]);
        // Ours is never put below a name that is a pattern.
        std::fs::remove_file(node.at(file)).unwrap();
        node.install();
        assert!(!node.at("/etc/*").exists() && !node.at("/etc/containerd/*.d").exists());
        node.uninstall();
    }
}

/// As NVIDIA's toolkit configures containerd 1.x: its file replaces all that the main one says of the CRI.
#[test]
fn an_imported_file_that_counts_gets_the_handlers() {
    for version in ["version = 2\n", ""] {
        let node = Node::empty();
        let main = "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n\
                    [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'a'\n";
        node.write(CONFIG, main);
        let theirs = "/etc/containerd/conf.d/99-nvidia.toml";
        let table = format!(
            "{version}[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia]\n\
             runtime_type = 'io.containerd.runc.v2'\n"
        );
        node.write(theirs, &table);
        // One behind it that says nothing of the CRI.
        node.write(
            "/etc/containerd/conf.d/99-other.toml",
            "[debug]\nlevel = 'info'\n",
        );
        let before = node.everything();
        node.install();
        assert_eq!(node.read(CONFIG), main);
        let edited = node.read(theirs);
        let own = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]";
        let quoted = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.wasm]";
        assert!(edited.starts_with(&table), "{edited}");
        assert!(edited.contains(own) || edited.contains(quoted), "{edited}");
        assert!(node.install().contains("nothing to change"));
        std::fs::write(node.at(theirs), format!("# changed\n{edited}")).unwrap();
        node.uninstall();
        assert_eq!(
            node.read(theirs).trim_end(),
            format!("# changed\n{table}").trim_end()
        );
        node.write(theirs, &table);
        node.install();
        node.uninstall();
        assert!(node.everything() == before);
    }
}

/// It comes after an install, and hides what that has added to the main file.
#[test]
fn a_handler_that_an_imported_file_hides_is_added_to_that() {
    let node = Node::empty();
    let main = "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n";
    node.write(CONFIG, main);
    let before = node.everything();
    node.install();
    let theirs = "/etc/containerd/conf.d/99-nvidia.toml";
    let table = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.nvidia]\n\
                 runtime_type = 'io.containerd.runc.v2'\n";
    node.write(theirs, table);
    node.install();
    assert!(
        node.read(theirs).contains("runtimes.wasm]"),
        "{}",
        node.read(theirs)
    );
    assert!(node.install().contains("nothing to change"));
    node.uninstall();
    assert_eq!(node.read(theirs), table);
    std::fs::remove_dir_all(node.at("/etc/containerd/conf.d")).unwrap();
    assert!(node.everything() == before);
}

#[test]
fn places_that_are_something_else_are_told_of() {
    let node = Node::of(nodes::named("kubeadm"));
    node.write("/etc/containerd/conf.d", "a file");
    refused(
        &node,
        node.settings(),
        &["/etc/containerd/conf.d", "Not a directory"],
    );

    let node = Node::of(nodes::named("kubeadm"));
    std::fs::remove_file(node.at(CONFIG)).unwrap();
    std::fs::create_dir(node.at(CONFIG)).unwrap();
    refused(&node, node.settings(), &[CONFIG, "not a regular file"]);

    let node = Node::of(nodes::named("kubeadm"));
    std::fs::remove_file(node.at(CONFIG)).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        node.at(CONFIG),
        fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    // Not read by `everything`, which would wait for its writer.
    let error = install(node.settings()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");

    let node = Node::of(nodes::named("kubeadm"));
    let file = std::fs::File::create(node.at(CONFIG)).unwrap();
    file.set_len(17 << 20).unwrap();
    refused(&node, node.settings(), &[CONFIG, "no configuration has"]);
}

/// Deeper than any configuration, and more of it than any: refused or done, and soon.
#[test]
fn hostile_configurations_cost_no_stack_and_no_time() {
    let deep = format!("version = 2\n{}x = 1\n", "a.".repeat(100_000));
    let nested = format!(
        "version = 2\nx = {}{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let tables = format!("version = 2\n{}", "[[a]]\nb = 1\n".repeat(20_000));
    for text in [&deep, &nested, &tables] {
        let node = Node::empty();
        node.write(CONFIG, text);
        let before = node.everything();
        match install(node.settings()) {
            Ok(_) => assert!(node.read(CONFIG).starts_with(text)),
            Err(error) => {
                assert!(error.to_string().contains(CONFIG), "{error}");
                assert!(node.everything() == before);
            }
        }
    }
}

#[test]
fn a_circle_of_imports_has_an_end() {
    let node = Node::empty();
    node.write(CONFIG, &KUBEADM.replace("conf.d/*.toml", "*.toml"));
    node.write(
        "/etc/containerd/b.toml",
        "imports = ['config.toml', 'b.toml']\n",
    );
    node.install();
    node.write(K3S_CONFIG, "");
}
