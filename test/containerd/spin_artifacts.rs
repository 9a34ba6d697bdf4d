//! Spin applications as `spin registry push` makes artifacts of them.

use crate::artifacts::gzip;
use crate::http::Server;
use crate::spin::told;
use medley_test::http::get;
use medley_test::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";
const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
const ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";

fn digest(data: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(data))
}

/// Two components, one of which has `files`.
fn locked(told: &[u8], hello: &[u8], files: Value) -> Value {
    let trigger = |id: &str, route: &str| {
        json!({"id": format!("trigger-{id}"), "trigger_type": "http",
            "trigger_config": {"component": id, "route": route, "executor": null}})
    };
    json!({
        "spin_lock_version": 1,
        "metadata": {"name": "shop", "version": "1.0.0", "trigger": {"type": "http", "base": "/"}},
        "triggers": [trigger("told", "/told/..."), trigger("hello", "/hello")],
        "components": [
            {"id": "told", "source": {"content_type": "application/wasm", "digest": digest(told)},
                "env": {"NAME": "value"}, "files": files},
            {"id": "hello", "source": {"content_type": "application/wasm", "digest": digest(hello)}},
        ],
    })
}

struct Parts {
    told: Vec<u8>,
    hello: Vec<u8>,
}

impl Parts {
    fn new() -> Result<Self> {
        Ok(Self {
            told: guests::handler("http-told")?,
            hello: guests::handler("http-hello")?,
        })
    }

    /// An artifact with these files and with what holds them.
    fn artifact(
        &self,
        name: &str,
        files: Value,
        layers: &[(&str, Vec<u8>)],
    ) -> Result<ArtifactBuilder> {
        let config = locked(&self.told, &self.hello, files).to_string();
        let mut artifact = ArtifactBuilder::new(name)
            .image_config("Wasip1/wasm")
            .layer(WASM, self.told.clone())
            .layer(WASM, self.hello.clone());
        for (media_type, data) in layers {
            artifact = artifact.layer(media_type, data.clone());
        }
        Ok(artifact.layer(CONFIG, config))
    }
}

/// Files of two kinds: one in a layer or an archive, and one in the config.
fn files(data: &[u8]) -> Value {
    json!([
        {"path": "assets/page.html", "digest": digest(data)},
        {"path": "a.txt", "inline": "Zmlyc3QK", "digest": digest(b"first\n")},
    ])
}

async fn serves(containerd: Containerd, image: &Image) -> Result<Containerd> {
    let server = Server::on(containerd, image, &[], |spec| spec).await?;
    let address = server.address;
    assert_eq!(get(address, "/hello").await?.body, "hello\n");
    let text = get(address, "/told/x").await?.body;
    let expected = [("/a.txt", "first"), ("/assets/page.html", "page")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(told(&text, "file"), BTreeMap::from(expected), "{text}");
    assert_eq!(told(&text, "writable"), BTreeMap::new());
    assert_eq!(told(&text, "env")["NAME"], "value");
    assert_eq!(told(&text, "header")["spin-path-info"], "/x");
    let info = get(address, "/.well-known/spin/info").await?.body;
    assert_eq!(info, r#"{"name":"shop","version":"1.0.0"}"#);
    server.stopped().await
}

#[tokio::test]
async fn an_artifact_runs_with_its_files_in_layers_and_archives() -> Result<()> {
    let parts = Parts::new()?;
    let page = b"page\n".to_vec();
    let mut archive = tar::Builder::new(Vec::new());
    for (path, data) in [("page.html", &page[..]), ("other", b"not asked for")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, data)?;
    }
    let archive = gzip(&archive.into_inner()?)?;
    let layers = parts.artifact("layers", files(&page), &[(DATA, page.clone())])?;
    let layers = layers.entrypoint(["/"]).build()?;
    let archived = parts.artifact("archived", files(&page), &[(ARCHIVE, archive)])?;
    let archived = archived.entrypoint(["/"]).build()?;
    let mut containerd = Containerd::start(Runtime::Medley).await?;
    // What is known of an image's layers after the first start counts for the next.
    for image in [&layers, &layers, &archived] {
        containerd.import_packed(&[image]).await?;
        containerd = serves(containerd, image).await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn an_artifact_runs_on_each_platform_and_without_a_command() -> Result<()> {
    let parts = Parts::new()?;
    let page = b"page\n".to_vec();
    let mut containerd = Containerd::start(Runtime::Medley).await?;
    let node = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        _ => "linux/arm64",
    };
    for (number, platform) in ["wasi/wasm", node].into_iter().enumerate() {
        let name = format!("platform{number}");
        let one = parts.artifact(&name, files(&page), &[(DATA, page.clone())])?;
        let image = Image::index(&name, &[(platform, &one.build()?)])?;
        containerd.import_packed(&[&image]).await?;
        containerd = serves(containerd, &image).await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn an_artifact_that_cannot_run_is_told_why() -> Result<()> {
    let parts = Parts::new()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let none = json!([]);
    let up = json!([{"path": "../../etc/passwd", "inline": "eA==", "digest": digest(b"x")}]);
    let newer = locked(&parts.told, &parts.hello, none.clone());
    let newer = newer
        .to_string()
        .replace("\"spin_lock_version\":1", "\"spin_lock_version\":7");
    let modules = Parts {
        told: guests::module("hello")?,
        hello: parts.hello.clone(),
    };
    let only = |config: String| {
        ArtifactBuilder::new("bad")
            .image_config("wasi/wasm")
            .layer(CONFIG, config)
    };
    let whole = locked(&parts.told, &parts.hello, none.clone()).to_string();
    let cases = [
        (
            parts.artifact("bad", files(b"page\n"), &[])?,
            "the component \"told\" has the file \"assets/page.html\", and no layer of the image has its content",
        ),
        (
            parts.artifact("bad", up, &[])?,
            "which is no path below its root",
        ),
        (
            only(whole),
            "of the component \"hello\" is not in the image",
        ),
        (
            only(newer),
            "the application is in Spin's lock file format of version 7",
        ),
        (
            only("{".to_owned()),
            "the config of the Spin artifact cannot be read",
        ),
        (modules.artifact("bad", none, &[])?, "is a core module"),
    ];
    for (artifact, expected) in cases {
        let image = artifact.entrypoint(["/"]).build()?;
        containerd.import_packed(&[&image]).await?;
        let status = client
            .refused("it", &image, client.spec(&image, "it"))
            .await?;
        let said = status.message();
        assert!(said.contains(expected), "no {expected:?} in {said:?}");
    }
    containerd.expect_clean()?;
    containerd.close().await
}
