use super::{Config, Handler, Pulls};
use std::path::Path;

fn config(text: &str) -> Config {
    Config::parse(Path::new("config.toml"), text.as_bytes()).unwrap()
}

fn wasm() -> Handler {
    Handler {
        name: "wasm".to_owned(),
        runtime: "io.containerd.wasm.v1",
        path: None,
        systemd: Some(true),
    }
}

#[test]
fn each_version_has_the_table_that_containerd_reads() {
    for (text, table) in [
        ("", "[plugins.cri.containerd.runtimes.wasm]"),
        (
            "version = 2\n",
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]",
        ),
        (
            "version = 3\n",
            "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.wasm]",
        ),
        (
            "version = 4\n",
            "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.wasm]",
        ),
    ] {
        let mut edited = config(text);
        edited.add(&wasm()).unwrap();
        assert!(edited.text().starts_with(text), "{}", edited.text());
        assert!(edited.text().contains(table), "{}", edited.text());
        edited.is_only_added_to(&config(text)).unwrap();
        assert!(edited.remove("wasm").unwrap());
        assert_eq!(edited.text().trim_end(), text.trim_end());
    }
}

#[test]
fn a_handler_that_is_there_keeps_what_it_has() {
    let text = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasm]
  runtime_type = "io.containerd.wasm.v1" # ours
  pod_annotations = ["example.com/*", "run.oci.*"]
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasm.options]
    Cache = "/fast"
    SystemdCgroup = false
"#;
    let mut edited = config(text);
    edited.add(&wasm()).unwrap();
    let expected = text.replace(r#""run.oci.*"]"#, r#""run.oci.*", "module.wasm.image/*"]"#);
    assert_eq!(edited.text(), expected);
    edited.is_only_added_to(&config(text)).unwrap();
    edited.add(&wasm()).unwrap();
    assert_eq!(edited.text(), expected);
}

#[test]
fn the_way_images_are_pulled_is_added_and_taken_back() {
    for text in [
        "version = 3\n",
        "version = 3\n\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'overlayfs'\n",
    ] {
        let mut edited = config(text);
        assert_eq!(edited.pull_locally().unwrap(), Some(Pulls::Added));
        assert_eq!(edited.pull_locally().unwrap(), None);
        assert_eq!(edited.local_pull(), Some(true));
        edited.is_only_added_to(&config(text)).unwrap();
        edited.pull_as_before(Pulls::Added);
        assert_eq!(edited.text().trim_end(), text.trim_end());
    }
    // As `containerd config default` prints it.
    let text = "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  use_local_image_pull = false # so\n";
    let mut edited = config(text);
    assert_eq!(edited.pull_locally().unwrap(), Some(Pulls::Changed));
    assert_eq!(edited.text(), text.replace("false", "true"));
    edited.is_only_added_to(&config(text)).unwrap();
    edited.pull_as_before(Pulls::Changed);
    assert_eq!(edited.text(), text);
}

#[test]
fn an_edit_that_says_something_else_is_noticed() {
    let before = config("version = 2\n[grpc]\naddress = \"/a\"\n");
    for text in [
        "version = 2\n[grpc]\naddress = \"/b\"\n",
        "version = 2\n",
        "version = 2\n[grpc]\naddress = \"/a\"\nuid = 1\n",
    ] {
        assert!(config(text).is_only_added_to(&before).is_err(), "{text}");
    }
    assert!(before.is_only_added_to(&before).is_ok());
}
