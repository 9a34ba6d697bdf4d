//! Spin applications of two components, one of which asks its host for what the other does not need: as an
//! image and as the artifact that `spin registry push` makes.
//!
//! One is of guests in C. Where `MEDLEY_SPIN_SAMPLES` names a dir, the archives there are added, which
//! `images/spin-*/build` made with Spin's own SDKs.

use crate::http::get;
use crate::images::{digest, read_layout};
use crate::{ArtifactBuilder, Image, ImageBuilder, Options, Runtime, guests};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Names a dir with archives that `images/spin-*/build` made.
const SAMPLES: &str = "MEDLEY_SPIN_SAMPLES";

/// A locked application.
pub const CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";
/// A component.
pub const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// What an application's container is to have in its environment.
pub const ENV: [(&str, &str); 2] = [
    ("SPIN_VARIABLE_GREETING", "good day"),
    ("SPIN_STATE_DIR", "/state"),
];

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "spin-c"
[variables]
greeting = { default = "hello" }
[[trigger.http]]
route = "/hello/..."
component = "hello"
[[trigger.http]]
route = "/..."
component = "state"
[component.hello]
source = "hello.wasm"
[component.state]
source = "state.wasm"
key_value_stores = ["default"]
sqlite_databases = ["default"]
[component.state.variables]
greeting = "{{ greeting }}, Spin"
"#;

/// An application in both forms.
#[derive(Debug)]
pub struct Application {
    /// What it is written with.
    pub name: String,
    /// Its image, with a `spin.toml`.
    pub image: Image,
    /// Its artifact.
    pub artifact: Image,
    /// Paths, and what their answers begin with.
    asks: Vec<(&'static str, String)>,
}

impl Application {
    /// Asks a server of it, whose store is empty.
    ///
    /// # Errors
    /// An answer is not the one that is expected.
    pub async fn check(&self, server: SocketAddr) -> Result<()> {
        for (path, expected) in &self.asks {
            let answer = get(server, path).await?;
            ensure!(
                answer.status == 200 && answer.body.starts_with(expected),
                "{}, {path}: not {expected:?}, but {answer:?}",
                self.name
            );
        }
        Ok(())
    }
}

/// A containerd of this binary, to run them. What SDKs build has an interpreter in it that takes a compiler a minute:
/// all share a cache.
pub fn options(binary: PathBuf) -> Options {
    let options = Options {
        binary,
        ..Options::new(Runtime::Medley)
    };
    match std::env::var(SAMPLES) {
        Ok(dir) => options.env("CONTAINERD_SHIM_WASM_CACHE", &format!("{dir}/cache")),
        Err(_) => options,
    }
}

/// All of them.
///
/// # Errors
/// A guest can't be built, or a sample be read.
pub fn applications() -> Result<Vec<Application>> {
    let mut all = vec![in_c()?];
    let Ok(dir) = std::env::var(SAMPLES) else {
        return Ok(all);
    };
    let dir = Path::new(&dir);
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            let sample = sample(&path);
            all.push(sample.with_context(|| path.display().to_string())?);
        }
    }
    ensure!(all.len() > 1, "no sample is in {}", dir.display());
    Ok(all)
}

fn in_c() -> Result<Application> {
    let hello = guests::handler("http-hello")?;
    let state = guests::of_world("spin-state", "spin")?;
    let image = ImageBuilder::scratch("spin-c")
        .file("/spin.toml", MANIFEST, 0o644)
        .file("/hello.wasm", &hello, 0o644)
        .file("/state.wasm", &state, 0o644)
        .entrypoint(["/"])
        .build()?;
    let asks = [
        ("/hello/x", "hello\n"),
        ("/variable?greeting", "good day, Spin\n"),
        ("/count?default", "1\ncount\n"),
        ("/count?default", "2\ncount\n"),
        ("/execute?SELECT+2", "2\n"),
    ];
    Ok(Application {
        name: "C".to_owned(),
        image,
        artifact: artifact("spin-c", "/...", [hello, state])?,
        asks: asks.map(|(path, text)| (path, text.to_owned())).into(),
    })
}

/// One that an SDK has built.
fn sample(archive: &Path) -> Result<Application> {
    let image = read_layout(archive)?;
    let (language, has_database) = match image.name.as_str() {
        "localhost/spin-rust:latest" => ("Rust", true),
        "localhost/spin-python:latest" => ("Python", true),
        "localhost/spin-js:latest" => ("JavaScript", false),
        other => anyhow::bail!("{other} is no sample"),
    };
    let parts = [image.content("hello.wasm")?, image.content("state.wasm")?];
    let name = format!("spin-{}", language.to_lowercase());
    let mut asks = vec![
        ("/hello/x", format!("hello from {language}: GET ")),
        ("/state/variable/greeting", "good day, Spin\n".to_owned()),
        ("/state/count", "1\n".to_owned()),
        ("/state/count", "2\n".to_owned()),
        ("/state/keys", "count\n".to_owned()),
    ];
    if has_database {
        asks.push(("/state/notes", "\n".to_owned()));
    }
    Ok(Application {
        name: language.to_owned(),
        image,
        artifact: artifact(&name, "/state/...", parts)?,
        asks,
    })
}

/// The artifact of a `hello` and a `state`, the latter at this route.
fn artifact(name: &str, route: &str, [hello, state]: [Vec<u8>; 2]) -> Result<Image> {
    let config = locked(name, route, [&hello, &state]);
    ArtifactBuilder::new(&format!("{name}-artifact"))
        .image_config("wasip1/wasm")
        .layer(WASM, hello)
        .layer(WASM, state)
        .layer(CONFIG, config.to_string())
        .entrypoint(["/"])
        .build()
}

fn locked(name: &str, route: &str, [hello, state]: [&[u8]; 2]) -> Value {
    let trigger = |component: &str, route: &str| {
        json!({"id": format!("trigger-{component}"), "trigger_type": "http",
            "trigger_config": {"component": component, "route": route, "executor": null}})
    };
    let source = |code: &[u8]| json!({"content_type": "application/wasm", "digest": digest(code)});
    json!({
        "spin_lock_version": 1,
        "metadata": {"name": name, "version": "0.1.0", "trigger": {"type": "http", "base": "/"}},
        "variables": {"greeting": {"default": "hello"}},
        "triggers": [trigger("hello", "/hello/..."), trigger("state", route)],
        "components": [
            {"id": "hello", "source": source(hello)},
            {"id": "state", "source": source(state), "config": {"greeting": "{{ greeting }}, Spin"},
                "metadata": {"key_value_stores": ["default"], "databases": ["default"]}},
        ],
    })
}
