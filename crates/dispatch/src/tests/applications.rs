//! Spin applications in a rootfs.

use super::{COMPONENT, Image, MODULE};
use crate::{EngineKind, Form, Plan};

const TWO: &str = r#"
spin_manifest_version = 2
[application]
name = "shop"
[[trigger.http]]
route = "/..."
component = "front"
[[trigger.http]]
route = "/api/:id"
component = "api"
[component.front]
source = "front.wasm"
[component.api]
source = "target/api.wasm"
[component.unused]
source = "unused.wasm"
"#;

fn shop(dir: &str) -> Image {
    Image::new()
        .file(&format!("{dir}/spin.toml"), TWO.as_bytes(), 0o644)
        .file(&format!("{dir}/front.wasm"), COMPONENT, 0o644)
        .file(&format!("{dir}/target/api.wasm"), COMPONENT, 0o644)
}

/// Those that a trigger runs, each from beside the manifest.
#[test]
fn a_manifest_stands_for_its_components() {
    let entrypoints: [(&str, &[&str]); 6] = [
        ("", &[]),
        ("", &[""]),
        ("", &["/"]),
        ("", &["/spin.toml"]),
        ("/srv", &["./spin.toml"]),
        ("/app", &["/app"]),
    ];
    for (dir, args) in entrypoints {
        let planned = shop(dir).args(args).decide().unwrap();
        let Plan::Wasm(plan) = &planned.plan else {
            panic!("not Wasm: {}", planned.plan.one_line());
        };
        assert!(plan.module.ends_with("spin.toml"), "{args:?}");
        assert_eq!(plan.engine, EngineKind::Wasmtime);
        let application = planned.application.unwrap();
        let found = application.components.iter().map(|(id, plan, _)| {
            assert_eq!(plan.form, Form::Component);
            (id.as_str(), plan.module.to_str().unwrap().replace("./", ""))
        });
        let expected = [
            ("api", format!("{dir}/target/api.wasm")),
            ("front", format!("{dir}/front.wasm")),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

/// An image may have a manifest and be started by one of its programs.
#[test]
fn another_entrypoint_runs_as_what_it_is() {
    let image = shop("").file("/app.wasm", MODULE, 0o644);
    let planned = image.args(&["/app.wasm"]).decide().unwrap();
    assert!(planned.application.is_none());
}

#[test]
fn what_is_wrong_is_told_in_a_sentence() {
    let said = |toml: &str| {
        let image = Image::new().file("/spin.toml", toml.as_bytes(), 0o644);
        let image = image
            .file("/front.wasm", COMPONENT, 0o644)
            .file("/module.wasm", MODULE, 0o644)
            .file("/text.wasm", b"text", 0o644);
        let said = image.args(&["/"]).error();
        let begin = "cannot run the Spin application \"/spin.toml\": ";
        said.strip_prefix(begin).expect(&said).to_owned()
    };
    assert_eq!(
        said(TWO),
        "the source \"/target/api.wasm\" of the component \"api\" is not in the image: build the \
         application before its image"
    );
    let with = |source: &str| TWO.replace("target/api.wasm", source);
    let module = said(&with("module.wasm"));
    assert!(module.contains("is a core module"), "{module}");
    let text = said(&with("text.wasm"));
    assert!(text.ends_with("is no Wasm component"), "{text}");
    assert_eq!(
        said(&TWO.replace("/api/:id", "/...")),
        "the route \"/...\" is given twice, by the triggers \"front-http-trigger\" and \
         \"api-http-trigger\": only one can answer it"
    );
    assert_eq!(
        said(&TWO.replace("trigger.http", "trigger.redis")),
        "the application has a trigger of type \"redis\"; Medley has \"http\" and \"command\""
    );
    assert_eq!(
        said("spin_manifest_version = 2\n[application]\nname = \"a\"\n"),
        "the application has no trigger: add one, such as [[trigger.http]]"
    );
    assert!(said("spin_manifest_version = 7").contains("of version 7"));
    let long = said(&format!("{:?} = 1", "\n\u{1}é".repeat(100_000)));
    assert!(long.len() < 2048, "{long}");
    assert!(!long.contains(['\n', '\u{1}']), "{long}");
    let large = said(&"#".repeat((1 << 20) + 1));
    assert!(large.contains("at most 1048576"), "{large}");
}

/// No path of a manifest leads out of the rootfs.
#[test]
fn a_source_stays_inside_the_rootfs() {
    let image = shop("").file("/target/api.wasm", b"", 0o644);
    std::fs::write(image.host("outside.wasm"), COMPONENT).unwrap();
    for source in ["../outside.wasm", "/../outside.wasm", "link.wasm"] {
        let toml = TWO.replace("target/api.wasm", source);
        let image = shop("")
            .file("/spin.toml", toml.as_bytes(), 0o644)
            .link("/link.wasm", "../../outside.wasm")
            .args(&["/"]);
        std::fs::write(image.host("outside.wasm"), COMPONENT).unwrap();
        let said = image.error();
        assert!(said.contains("is not in the image"), "{source}: {said}");
    }
}

#[test]
fn an_engine_without_components_is_named() {
    let image = shop("")
        .annotation("run.oci.handler", "wasmedge")
        .args(&["/"]);
    let said = image.error();
    assert!(said.contains("wasmedge"), "{said}");
}
