//! Manifests of both versions, good and bad.

use std::collections::BTreeMap;

use crate::App;
use crate::app::{Files, Handler, Route, Source, StaticReply, Triggers};

const TWO: &str = r#"
spin_manifest_version = 2

[application]
name = "shop"
version = "1.0.0"
authors = ["A <a@example.com>"]

[application.trigger.http]
base = "/shop"

[variables]
api_host = { default = "example.com" }
token = { required = true, secret = true }

[[trigger.http]]
id = "cart"
route = "/cart/..."
component = "cart"

[[trigger.http]]
route = { private = true }
component = { source = "inline.wasm" }

[[trigger.http]]
route = "/robots.txt"
static_response = { status_code = 404, headers = { x-a = "b" }, body = "none" }

[component.cart]
description = "Shopping cart"
source = "bin/cart.wasm"
files = ["assets/*.png", { source = "content", destination = "/" }]
exclude_files = ["assets/secret.png"]
environment = { MODE = "quick" }
allowed_outbound_hosts = ["https://{{ api_host }}", "redis://cache:6379"]
key_value_stores = ["default"]
sqlite_databases = ["default"]

[component.cart.variables]
url = "https://{{ api_host }}/{{ token }}"

[component.cart.build]
command = "cargo build"
"#;

const ONE: &str = r#"
spin_version = "1"
name = "old"
version = "0.1.0"
trigger = { type = "http", base = "/" }

[[component]]
id = "old_One"
source = "target/old.wasm"
allowed_http_hosts = ["example.com"]
config = { greeting = "hi" }
[component.trigger]
route = "/old"
executor = { type = "spin" }
"#;

#[test]
fn version_2_is_read() {
    let app = App::from_manifest(TWO).unwrap();
    assert_eq!(app.name, "shop");
    let Triggers::Http { base, triggers } = &app.triggers else {
        panic!("{:?}", app.triggers);
    };
    assert_eq!(base, "/shop");
    let [cart, inline, robots] = triggers.as_slice() else {
        panic!("{triggers:?}");
    };
    assert_eq!(cart.id, "cart");
    assert_eq!(cart.route, Route::Pattern("/cart/...".to_owned()));
    assert_eq!(inline.route, Route::Private);
    let Handler::Component(inline) = &inline.handler else {
        panic!("{inline:?}");
    };
    assert_eq!(
        app.components[inline].source,
        Source::File("inline.wasm".to_owned())
    );
    let reply = StaticReply {
        status: 404,
        headers: vec![("x-a".to_owned(), "b".to_owned())],
        body: "none".to_owned(),
    };
    assert_eq!(robots.handler, Handler::Static(reply));

    let cart = &app.components["cart"];
    assert_eq!(cart.source, Source::File("bin/cart.wasm".to_owned()));
    assert_eq!(
        cart.env,
        BTreeMap::from([("MODE".to_owned(), "quick".to_owned())])
    );
    let placed = Files::Placed {
        source: "content".to_owned(),
        destination: "/".to_owned(),
    };
    assert_eq!(
        cart.files,
        [Files::Pattern("assets/*.png".to_owned()), placed]
    );
    assert_eq!(cart.exclude_files, ["assets/secret.png"]);
    assert_eq!(cart.key_value_stores, ["default"]);
    assert_eq!(cart.databases, ["default"]);
    assert_eq!(
        cart.variables["url"].to_string(),
        "https://{{ api_host }}/{{ token }}"
    );
    assert!(app.variables["token"].secret);
}

#[test]
fn version_1_is_read() {
    let app = App::from_manifest(ONE).unwrap();
    let Triggers::Http { triggers, .. } = &app.triggers else {
        panic!("{:?}", app.triggers);
    };
    assert_eq!(
        triggers[0].handler,
        Handler::Component("old-one".to_owned())
    );
    let component = &app.components["old-one"];
    assert_eq!(
        component.allowed_outbound_hosts,
        [
            "redis://*:*",
            "mysql://*:*",
            "postgres://*:*",
            "http://example.com",
            "https://example.com",
        ]
    );
    assert_eq!(component.variables["greeting"].to_string(), "hi");
}

#[test]
fn a_command_is_a_trigger() {
    let toml = r#"
        spin_manifest_version = 2
        application = { name = "job" }
        [[trigger.command]]
        component = "job"
        [component.job]
        source = "job.wasm"
    "#;
    let app = App::from_manifest(toml).unwrap();
    assert_eq!(app.triggers, Triggers::Command("job".to_owned()));
}

/// A manifest of version 2 with this below its application.
fn refused(rest: &str) -> String {
    let toml = format!("spin_manifest_version = 2\napplication = {{ name = \"a\" }}\n{rest}");
    App::from_manifest(&toml).unwrap_err().to_string()
}

const COMPONENT: &str = "[component.a]\nsource = \"a.wasm\"\n";

#[test]
fn a_bad_manifest_gets_a_sentence() {
    let http = |settings: &str| format!("{COMPONENT}[[trigger.http]]\n{settings}\n");
    let component = |settings: &str| {
        format!("[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n{COMPONENT}{settings}\n")
    };
    for (rest, expected) in [
        (COMPONENT.to_owned(), "has no trigger"),
        (
            format!("{COMPONENT}[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"a\""),
            "a trigger of type \"redis\"",
        ),
        (
            http("route = \"/\""),
            "neither a component nor a static_response",
        ),
        (http("component = \"a\""), "missing field `route`"),
        (
            http("route = \"/\"\ncomponent = \"b\""),
            "the component \"b\", and there is none",
        ),
        (
            http("route = { private = false }\ncomponent = \"a\""),
            "{ private = false }",
        ),
        (
            http("route = \"/\"\ncomponent = \"a\"\nexecutor = { type = \"wagi\" }"),
            "the executor \"wagi\"",
        ),
        (
            http("route = \"/\"\nstatic_response = { status_code = 9999 }"),
            "status 9999",
        ),
        (component("colour = 1"), "unknown field `colour`"),
        (
            component("allowed_outbound_hosts = [\"example.com\"]"),
            "is not a rule",
        ),
        (component("variables = { A = \"x\" }"), "the variable \"A\""),
        (
            component("variables = { a = \"{{ b }}\" }"),
            "no variable \"b\"",
        ),
        (component("variables = { a = \"{{ b\" }"), "has no \"}}\""),
        (
            component("dependencies = { \"a:b\" = \"1\" }"),
            "depends on a:b",
        ),
        (
            "[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[component.a]\nsource = { url = \
          \"https://example.com/a.wasm\", digest = \"sha256:00\" }"
                .to_owned(),
            "nothing is fetched",
        ),
        (
            "[component.a_b]\nsource = \"a.wasm\"".to_owned(),
            "the component id \"a_b\"",
        ),
        (
            "[variables]\nx = {}".to_owned(),
            "no default, and is not required",
        ),
    ] {
        let error = refused(&rest);
        assert!(error.contains(expected), "{rest}\n{error}");
    }
}

#[test]
fn a_newer_manifest_says_so() {
    let error = App::from_manifest("spin_manifest_version = 3").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the application is in Spin's manifest format of version 3, and this version of Medley knows \
         \"1\" and 2: build it with an older Spin, or upgrade Medley"
    );
}

#[test]
fn what_is_no_toml_says_where() {
    let error = App::from_manifest("spin_manifest_version = 2\n[application\n").unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    let error = App::from_manifest("name = \"a\"").unwrap_err();
    assert!(
        error.to_string().contains("spin_manifest_version"),
        "{error}"
    );
}

/// Thousands of levels, of keys that stand in each other: no stack is large enough by chance.
#[test]
fn a_deep_manifest_harms_no_reader() {
    let key = ["a"; 79].join(".");
    let mut value = "1".to_owned();
    for _ in 0..80 {
        value = format!("{{{key}={value}}}");
    }
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let read = move || App::from_manifest(&format!("spin_manifest_version = 2\nx = {value}\n"));
    let error = small.spawn(read).unwrap().join().unwrap().unwrap_err();
    assert!(error.to_string().contains("spin.toml"), "{error}");
}

#[test]
fn more_triggers_than_are_looked_through_are_refused() {
    let trigger =
        "[[trigger.http]]\nid = \"_\"\nroute = \"/\"\ncomponent = { source = \"a.wasm\" }\n";
    let head = "spin_manifest_version = 2\n[application]\nname = \"a\"\n";
    let error = App::from_manifest(&format!("{head}{}", trigger.repeat(1025))).unwrap_err();
    assert!(error.to_string().contains("1024 triggers"), "{error}");
}
