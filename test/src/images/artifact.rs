//! OCI artifacts: images whose layers are Wasm.

use super::{Image, digest};
use anyhow::Result;
use serde_json::{Value, json};

/// The title of a layer, as of the OCI image specification.
const TITLE: &str = "org.opencontainers.image.title";

/// What goes into an artifact.
#[derive(Debug, Clone)]
pub struct ArtifactBuilder {
    name: String,
    config: (String, Value),
    layers: Vec<Layer>,
    entrypoint: Vec<String>,
}

#[derive(Debug, Clone)]
struct Layer {
    media_type: String,
    data: Vec<u8>,
    title: Option<String>,
    claims: Option<u64>,
}

impl ArtifactBuilder {
    /// An artifact with nothing in it, named `medley.test/<name>:latest`, with a config of the Wasm
    /// working group's type.
    pub fn new(name: &str) -> Self {
        Self {
            name: format!("medley.test/{name}:latest"),
            config: (
                "application/vnd.wasm.config.v0+json".to_owned(),
                json!({"architecture": "wasm", "os": "wasip2", "layerDigests": []}),
            ),
            layers: Vec::new(),
            entrypoint: Vec::new(),
        }
    }

    /// Names it otherwise, with a registry.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Gives it the config of an image, for `platform`: `os/architecture`.
    #[must_use]
    pub fn image_config(mut self, platform: &str) -> Self {
        let (os, architecture) = platform.split_once('/').unwrap_or((platform, "wasm"));
        self.config = (
            "application/vnd.oci.image.config.v1+json".to_owned(),
            json!({
                "os": os,
                "architecture": architecture,
                // The CRI plugin tells images apart by their configs.
                "author": self.name,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": []},
            }),
        );
        self
    }

    /// Adds a layer.
    #[must_use]
    pub fn layer(mut self, media_type: &str, data: impl Into<Vec<u8>>) -> Self {
        self.layers.push(Layer {
            media_type: media_type.to_owned(),
            data: data.into(),
            title: None,
            claims: None,
        });
        self
    }

    /// Gives the last layer a title.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        if let Some(layer) = self.layers.last_mut() {
            layer.title = Some(title.to_owned());
        }
        self
    }

    /// Has the last layer's descriptor tell another size than it has.
    #[must_use]
    pub fn claiming(mut self, size: u64) -> Self {
        if let Some(layer) = self.layers.last_mut() {
            layer.claims = Some(size);
        }
        self
    }

    /// Sets what its containers are started with, which an image's config tells too.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = args.into_iter().map(Into::into).collect();
        self
    }

    /// Finishes it.
    ///
    /// # Errors
    /// Its config can't be written.
    pub fn build(mut self) -> Result<Image> {
        if self.config.1.get("config").is_some() {
            self.config.1["config"] = json!({"Entrypoint": self.entrypoint});
        }
        let (config_type, config) = (&self.config.0, serde_json::to_vec(&self.config.1)?);
        let mut blobs = Vec::new();
        let mut layers = Vec::new();
        for layer in self.layers {
            let mut descriptor = json!({
                "mediaType": layer.media_type,
                "digest": digest(&layer.data),
                "size": layer.claims.unwrap_or(layer.data.len() as u64),
            });
            if let Some(title) = layer.title {
                descriptor["annotations"] = json!({TITLE: title});
            }
            layers.push(descriptor);
            blobs.push((digest(&layer.data), layer.data));
        }
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": config_type, "digest": digest(&config), "size": config.len()},
            "layers": layers,
        }))?;
        blobs.push((digest(&config), config));
        let target = described("application/vnd.oci.image.manifest.v1+json", &manifest);
        blobs.push((digest(&manifest), manifest));
        Ok(Image {
            // No file system: its snapshots begin empty.
            chain_id: String::new(),
            args: self.entrypoint,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            manifest: named(target, &self.name),
            name: self.name,
            blobs,
        })
    }
}

impl Image {
    /// An image of several, each for a platform (`os/architecture`), run as the first of them.
    ///
    /// # Errors
    /// There is none, or the index can't be written.
    pub fn index(name: &str, images: &[(&str, &Self)]) -> Result<Self> {
        let name = format!("medley.test/{name}:latest");
        let manifests: Vec<_> = images
            .iter()
            .map(|(platform, image)| {
                let (os, architecture) = platform.split_once('/').unwrap_or((platform, ""));
                let mut manifest = image.manifest.clone();
                manifest["platform"] = json!({"os": os, "architecture": architecture});
                manifest["annotations"] = json!({});
                manifest
            })
            .collect();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": manifests,
        }))?;
        let mut first = images
            .first()
            .map(|(_, image)| (*image).clone())
            .ok_or_else(|| anyhow::anyhow!("an index of nothing"))?;
        first.blobs = images
            .iter()
            .flat_map(|(_, image)| image.blobs.clone())
            .collect();
        first.manifest = named(described(media_type, &index), &name);
        first.blobs.push((digest(&index), index));
        first.name = name;
        Ok(first)
    }

    /// The digests of its layers, in their order.
    pub fn layers(&self) -> Vec<String> {
        let target = self.manifest["digest"].as_str().unwrap_or_default();
        let manifest = self.blobs.iter().find(|(digest, _)| digest == target);
        let manifest: Value = manifest
            .and_then(|(_, bytes)| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let digest = |layer: Value| layer["digest"].as_str().map(str::to_owned);
        layers.into_iter().filter_map(digest).collect()
    }

    /// The digest of its manifest or index.
    pub fn target(&self) -> &str {
        self.manifest["digest"].as_str().unwrap_or_default()
    }
}

fn described(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn named(mut target: Value, name: &str) -> Value {
    let tag = name.rsplit(':').next().unwrap_or("latest");
    target["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": tag,
    });
    target
}
