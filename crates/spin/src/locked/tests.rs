//! Configs of artifacts, good and bad.

use serde_json::{Value, json};

use crate::App;
use crate::app::{Files, Handler, Source, Triggers};

fn locked() -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": {
            "name": "shop",
            "origin": "vnd.fermyon.origin-oci://registry.example/shop:v1",
            "trigger": { "base": "/shop", "type": "http" }
        },
        "variables": { "api_host": { "default": "example.com" } },
        "triggers": [{
            "id": "trigger--cart",
            "trigger_type": "http",
            "trigger_config": { "component": "cart", "executor": null, "route": "/cart" }
        }],
        "components": [{
            "id": "cart",
            "metadata": { "allowed_outbound_hosts": ["https://{{ api_host }}"], "key_value_stores": ["default"] },
            "source": { "content_type": "application/wasm", "digest": "sha256:1234" },
            "files": [
                { "digest": "sha256:5678", "path": "assets/a.png" },
                { "inline": "aGk=", "digest": "sha256:9a", "path": "greeting" }
            ],
            "config": { "url": "https://{{ api_host }}" }
        }]
    })
}

fn read(value: &Value) -> Result<App, String> {
    App::from_locked(value.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn an_artifact_is_read() {
    let app = read(&locked()).unwrap();
    let Triggers::Http { base, triggers } = &app.triggers else {
        panic!("{:?}", app.triggers);
    };
    assert_eq!(base, "/shop");
    assert_eq!(triggers[0].handler, Handler::Component("cart".to_owned()));
    let cart = &app.components["cart"];
    assert_eq!(cart.source, Source::Layer("sha256:1234".to_owned()));
    let layer = Files::Layer {
        digest: "sha256:5678".to_owned(),
        path: "assets/a.png".to_owned(),
    };
    let inline = Files::Inline {
        content: b"hi".to_vec(),
        path: "greeting".to_owned(),
    };
    assert_eq!(cart.files, [layer, inline]);
}

#[test]
fn what_a_host_need_not_know_is_passed_over() {
    let mut value = locked();
    value["a_field_of_the_future"] = json!(1);
    value["spin_lock_version"] = json!(1);
    value["must_understand"] = json!(["host_requirements"]);
    value["host_requirements"] =
        json!({ "local_service_chaining": "required", "other": "optional" });
    read(&value).unwrap();
}

#[test]
fn a_bad_artifact_gets_a_sentence() {
    let changed = |pointer: &str, new: Value| {
        let mut value = locked();
        *value.pointer_mut(pointer).unwrap() = new;
        read(&value).unwrap_err()
    };
    for (pointer, new, expected) in [
        (
            "/spin_lock_version",
            json!(7),
            "lock file format of version 7",
        ),
        ("/triggers", json!([]), "has no trigger"),
        (
            "/triggers/0/trigger_type",
            json!("cron"),
            "a trigger of type \"cron\"",
        ),
        (
            "/triggers/0/trigger_config",
            json!({}),
            "missing field `route`",
        ),
        (
            "/components/0/id",
            json!("other"),
            "names the component \"cart\"",
        ),
        (
            "/components/0/source",
            json!({}),
            "has no digest of its Wasm",
        ),
        (
            "/components/0/files/0/path",
            json!("../etc/passwd"),
            "no path below its root",
        ),
        (
            "/components/0/files/0/path",
            json!("a//b"),
            "no path below its root",
        ),
        ("/components/0/files/1/inline", json!("?"), "is no base64"),
        ("/components", json!(1), "invalid type"),
    ] {
        let error = changed(pointer, new);
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    let mut value = locked();
    value["must_understand"] = json!(["teleport"]);
    assert!(
        read(&value)
            .unwrap_err()
            .contains("needs teleport of its host")
    );
    value["must_understand"] = json!(["host_requirements"]);
    value["host_requirements"] = json!({ "teleport": "required" });
    assert!(
        read(&value)
            .unwrap_err()
            .contains("needs teleport of its host")
    );
    let twice = value["components"][0].clone();
    let mut value = locked();
    value["components"].as_array_mut().unwrap().push(twice);
    assert!(
        read(&value)
            .unwrap_err()
            .contains("two components of the id \"cart\"")
    );
    assert!(
        App::from_locked(b"{")
            .unwrap_err()
            .to_string()
            .contains("EOF")
    );
}
