//! How deep a guest may recurse.

use medley_test::*;
use serde_json::json;

/// Goes down as many calls as it is told, and gives half of that, in a way that no compiler makes a
/// loop of.
const DOWN: &str = r#"(func $down (export "down") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
        (then (i32.const 0))
        (else (i32.sub (local.get 0) (call $down (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// What a program of Linux does with room to spare in the 8 MiB that it has.
const DEEP: u32 = 60_000;

fn module() -> Result<Image> {
    images::wasm("down", &wat::parse_str(format!("(module {DOWN})"))?)
}

fn component() -> Result<Image> {
    let wat = format!(
        r#"(component
            (core module $m {DOWN})
            (core instance $i (instantiate $m))
            (func (export "down") (param "calls" u32) (result u32) (canon lift (core func $i "down"))))"#
    );
    images::wasm("down-component", &wat::parse_str(wat)?)
}

/// The spec of a container that goes down so deep, with so many bytes of stack if any are said.
fn deep(client: &Client, image: &Image, id: &str, calls: u32, stack: Option<u64>) -> Spec {
    let spec = client
        .spec(image, id)
        .args([format!("{}#down", image.args[0]), calls.to_string()]);
    let Some(stack) = stack else { return spec };
    spec.edit(|json| {
        if let Some(limits) = json["process"]["rlimits"].as_array_mut() {
            limits.push(json!({"type": "RLIMIT_STACK", "soft": stack, "hard": stack}));
        }
    })
}

fn assert_exhausted(done: &Finished) {
    assert_eq!(done.code, 134, "{done:?}");
    assert!(done.stderr.contains("call stack exhausted"), "{done:?}");
}

each_engine_but_wasmer! {
    async fn a_module_recurses_as_deep_as_its_stack_limit_says(engine: Engine) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(Runtime::Medley, module()?).await?;
        for (id, calls, stack) in [("usual", DEEP, None), ("more", 10 * DEEP, Some(64 << 20))] {
            let spec = engine.runs(deep(&client, &image, id, calls, stack));
            let done = client.run(id, &image, spec).await?;
            let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
            assert_eq!(said, (0, format!("{}\n", calls / 2).as_str(), ""), "{id}");
        }
        let spec = engine.runs(deep(&client, &image, "less", DEEP, Some(256 << 10)));
        assert_exhausted(&client.run("less", &image, spec).await?);
        containerd.close().await
    }
}

#[tokio::test]
async fn a_component_recurses_as_deep_as_its_stack_limit_says() -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, component()?).await?;
    let spec = deep(&client, &image, "usual", DEEP, None);
    let done = client.run("usual", &image, spec).await?;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "30000\n"),
        "{done:?}"
    );
    let spec = deep(&client, &image, "less", DEEP, Some(256 << 10));
    assert_exhausted(&client.run("less", &image, spec).await?);
    containerd.close().await
}

#[tokio::test]
async fn a_node_says_how_much_stack_its_guests_have() -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, module()?).await?;
    let client = client.with_toml_options("Stack = 131072");
    let spec = deep(&client, &image, "node", DEEP, None);
    assert_exhausted(&client.run("node", &image, spec).await?);
    // What the container says counts more.
    let spec = deep(&client, &image, "own", DEEP, Some(8 << 20));
    assert_eq!(client.run("own", &image, spec).await?.code, 0);
    let client = containerd.client().await?;
    let client = client.with_toml_options("Stack = \"8MiB\"");
    let spec = deep(&client, &image, "bad", 1, None);
    let refused = client.refused("bad", &image, spec).await?;
    assert!(
        refused.message().contains("a number of bytes"),
        "{}",
        refused.message()
    );
    containerd.close().await
}
