//! OCI images, built in memory and written as an image layout.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

mod artifact;

pub use artifact::ArtifactBuilder;

/// An image of one layer, ready to be imported.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name, such as `medley.test/hello:latest`.
    pub name: String,
    /// What its snapshot is called: the chain id of its layers.
    pub chain_id: String,
    /// `Entrypoint` followed by `Cmd` of its config.
    pub args: Vec<String>,
    /// `Env` of its config.
    pub env: Vec<String>,
    /// `WorkingDir` of its config, `/` if it has none.
    pub cwd: String,
    /// `User` of its config.
    pub user: String,
    manifest: Value,
    blobs: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// Unpacks the one layer of an image that was built here into a dir, as a rootfs.
    ///
    /// # Errors
    /// The dir cannot be written.
    pub fn unpack(&self, rootfs: &Path) -> Result<()> {
        let (_, layer) = self.blobs.first().context("the image has no layer")?;
        let mut archive = tar::Archive::new(layer.as_slice());
        archive.set_preserve_permissions(true);
        archive.unpack(rootfs).context("cannot unpack the layer")
    }

    /// What a file has in it.
    ///
    /// # Errors
    /// No layer has it.
    pub fn content(&self, path: &str) -> Result<Vec<u8>> {
        for (_, blob) in &self.blobs {
            // A blob that is no archive has no entries.
            let mut archive = tar::Archive::new(blob.as_slice());
            for entry in archive.entries()?.map_while(std::result::Result::ok) {
                let mut entry = entry;
                if entry
                    .path()?
                    .strip_prefix(".")
                    .is_ok_and(|at| at == Path::new(path))
                {
                    let mut data = Vec::new();
                    entry.read_to_end(&mut data)?;
                    return Ok(data);
                }
            }
        }
        anyhow::bail!("{} has no {path}", self.name)
    }

    /// Its entry in the `manifest.json` of an archive of Docker's.
    fn in_docker_form(&self) -> Result<Value> {
        let digest = self.manifest["digest"].as_str();
        let blob = self
            .blobs
            .iter()
            .find(|(name, _)| Some(name.as_str()) == digest);
        let (_, manifest) = blob.context("the image has no manifest")?;
        let manifest: Value = serde_json::from_slice(manifest)?;
        let path = |of: &Value| {
            let digest = of["digest"].as_str().unwrap_or_default();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let layers = manifest["layers"].as_array().into_iter().flatten();
        Ok(json!({
            "Config": path(&manifest["config"]),
            "RepoTags": [self.name],
            "Layers": layers.map(path).collect::<Vec<_>>(),
        }))
    }
}

/// What goes into an [`Image`].
pub struct ImageBuilder {
    name: String,
    layer: tar::Builder<Vec<u8>>,
    entrypoint: Vec<String>,
    env: Vec<String>,
    cwd: Option<String>,
    user: String,
    platform: (&'static str, &'static str),
    healthcheck: Vec<String>,
    failed: Option<std::io::Error>,
}

impl std::fmt::Debug for ImageBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ImageBuilder {
    /// An image with nothing in it, as `FROM scratch` gives, named `medley.test/<name>:latest`.
    pub fn scratch(name: &str) -> Self {
        Self {
            name: format!("medley.test/{name}:latest"),
            layer: tar::Builder::new(Vec::new()),
            entrypoint: Vec::new(),
            env: Vec::new(),
            cwd: None,
            user: String::new(),
            platform: ("linux", "amd64"),
            healthcheck: Vec::new(),
            failed: None,
        }
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, mode: u32, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_mtime(0);
        let done = self
            .layer
            .append_data(&mut header, path.trim_start_matches('/'), data);
        self.failed = self.failed.or(done.err());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, data: impl AsRef<[u8]>, mode: u32) -> Self {
        self.entry(tar::EntryType::Regular, path, mode, data.as_ref())
    }

    /// Adds a dir.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(tar::EntryType::Directory, path, mode, &[])
    }

    /// Adds a symbolic link at `path` that says `target`, literally.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        header.set_mtime(0);
        let done = self
            .layer
            .append_link(&mut header, path.trim_start_matches('/'), target);
        self.failed = self.failed.or(done.err());
        self
    }

    /// Sets the entrypoint.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = args.into_iter().map(Into::into).collect();
        self
    }

    /// Adds `NAME=value` to the environment.
    #[must_use]
    pub fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.to_owned());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, path: &str) -> Self {
        self.cwd = Some(path.to_owned());
        self
    }

    /// Sets the user, `uid` or `uid:gid`.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = user.to_owned();
        self
    }

    /// Sets the command by which Docker tells whether a container of it is well.
    #[must_use]
    pub fn healthcheck<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.healthcheck = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the operating system and the architecture; `linux` and `amd64` otherwise.
    #[must_use]
    pub fn platform(mut self, os: &'static str, architecture: &'static str) -> Self {
        self.platform = (os, architecture);
        self
    }

    /// Finishes the image.
    ///
    /// # Errors
    /// A path does not fit a tar header.
    pub fn build(mut self) -> Result<Image> {
        if let Some(error) = self.failed.take() {
            return Err(error).context("cannot put a file into the layer");
        }
        let layer = self.layer.into_inner()?;
        let diff_id = digest(&layer);
        let mut config = json!({"Env": self.env, "Entrypoint": self.entrypoint, "User": self.user});
        if let Some(cwd) = &self.cwd {
            config["WorkingDir"] = json!(cwd);
        }
        if !self.healthcheck.is_empty() {
            let test = ["CMD"]
                .into_iter()
                .chain(self.healthcheck.iter().map(String::as_str));
            config["Healthcheck"] = json!({"Test": test.collect::<Vec<_>>()});
        }
        let (os, architecture) = self.platform;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture,
            "os": os,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }))?;
        let media = |kind: &str| format!("application/vnd.oci.image.{kind}");
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": media("manifest.v1+json"),
            "config": {"mediaType": media("config.v1+json"), "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": media("layer.v1.tar"), "digest": diff_id, "size": layer.len()}],
        }))?;
        Ok(Image {
            chain_id: diff_id.clone(),
            args: self.entrypoint,
            env: self.env,
            cwd: self.cwd.unwrap_or_else(|| "/".into()),
            user: self.user,
            manifest: json!({
                "mediaType": media("manifest.v1+json"),
                "digest": digest(&manifest),
                "size": manifest.len(),
                "platform": {"architecture": architecture, "os": os},
                "annotations": {
                    "io.containerd.image.name": self.name,
                    "org.opencontainers.image.ref.name": "latest",
                },
            }),
            name: self.name,
            blobs: vec![
                (diff_id, layer),
                (digest(&config), config),
                (digest(&manifest), manifest),
            ],
        })
    }
}

/// A Linux image: busybox with a link for each of its applets, `/tmp` and `/data`.
///
/// # Errors
/// `/bin/busybox` is missing (Debian: `busybox-static`).
pub fn linux() -> Result<Image> {
    linux_builder("linux")?.entrypoint(["/bin/sh"]).build()
}

/// The files of [`linux`] under another name, for more to be added.
///
/// # Errors
/// `/bin/busybox` is missing (Debian: `busybox-static`).
pub fn linux_builder(name: &str) -> Result<ImageBuilder> {
    Ok(busybox_builder(name)?
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
        .file("/etc/group", "root:x:0:\n", 0o644))
}

/// As [`linux_builder`], without `/etc/passwd` and `/etc/group`: Docker's own storage refuses a layer
/// that has a file twice.
///
/// # Errors
/// As for [`linux_builder`].
pub fn busybox_builder(name: &str) -> Result<ImageBuilder> {
    let busybox = std::fs::read("/bin/busybox")
        .context("cannot read /bin/busybox: install Debian's busybox-static")?;
    let applets = std::process::Command::new("/bin/busybox")
        .arg("--list")
        .output()?;
    let mut image = ImageBuilder::scratch(name)
        .dir("/bin", 0o755)
        .dir("/etc", 0o755)
        .dir("/tmp", 0o1777)
        .dir("/data", 0o777)
        .file("/bin/busybox", busybox, 0o755)
        .env("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for applet in String::from_utf8(applets.stdout)?
        .lines()
        .filter(|name| *name != "busybox")
    {
        image = image.symlink(&format!("/bin/{applet}"), "busybox");
    }
    Ok(image)
}

/// A `FROM scratch` image for linux/amd64 whose entrypoint is the one file in it,
/// `/<name>.wasm`, not executable, as build tools leave it.
///
/// # Errors
/// The name does not fit a tar header.
pub fn wasm(name: &str, module: &[u8]) -> Result<Image> {
    let path = format!("/{name}.wasm");
    ImageBuilder::scratch(name)
        .file(&path, module, 0o644)
        .entrypoint([path])
        .build()
}

/// Writes the images as one OCI image layout, in a tar file.
///
/// # Errors
/// The file cannot be written.
pub fn write_layout(path: &Path, images: &[&Image]) -> Result<()> {
    write_with(path, images, &[])
}

/// An image layout, and further files beside it.
fn write_with(path: &Path, images: &[&Image], more: &[(&str, &[u8])]) -> Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::new(std::fs::File::create(path)?));
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, data)
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let manifests: Vec<_> = images.iter().map(|image| &image.manifest).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    add("index.json", &serde_json::to_vec(&index)?)?;
    for (name, data) in more {
        add(name, data)?;
    }
    let mut written = std::collections::BTreeSet::new();
    for (digest, data) in images.iter().flat_map(|image| &image.blobs) {
        if written.insert(digest) {
            add(&format!("blobs/{}", digest.replace(':', "/")), data)?;
        }
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

/// Writes the images as `docker save` does: an image layout with a list of them in Docker's own form
/// beside it, which Docker needs where it keeps images itself.
///
/// # Errors
/// The file cannot be written.
pub fn write_docker_archive(path: &Path, images: &[&Image]) -> Result<()> {
    let list: Result<Vec<_>> = images.iter().map(|image| image.in_docker_form()).collect();
    let list = serde_json::to_vec(&list?)?;
    write_with(path, images, &[("manifest.json", &list)])
}

/// Reads an image from an OCI image layout in a tar file, such as `docker buildx build
/// --output type=oci` writes; of several images, the first.
///
/// # Errors
/// The file is no image layout, or its image has no name.
pub fn read_layout(path: &Path) -> Result<Image> {
    let file = std::fs::File::open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut blobs = BTreeMap::new();
    let mut index = None;
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let name = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        if name == "index.json" {
            index = Some(serde_json::from_slice::<Value>(&data)?);
        } else if let Some(digest) = name.strip_prefix("blobs/sha256/") {
            blobs.insert(format!("sha256:{digest}"), data);
        }
    }
    let index = index.with_context(|| format!("no index.json in {}", path.display()))?;
    let blob = |of: &Value| -> Result<Value> {
        let digest = of["digest"]
            .as_str()
            .context("a descriptor has no digest")?;
        let data = blobs
            .get(digest)
            .with_context(|| format!("blob {digest} is missing"))?;
        Ok(serde_json::from_slice(data)?)
    };
    let manifest = index["manifests"][0].clone();
    let config = blob(&blob(&manifest)?["config"])?;
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let config_of = &config["config"];
    let name = manifest["annotations"]["io.containerd.image.name"].as_str();
    let cwd = config_of["WorkingDir"]
        .as_str()
        .filter(|cwd| !cwd.is_empty());
    let args = [&config_of["Entrypoint"], &config_of["Cmd"]]
        .into_iter()
        .flat_map(strings);
    Ok(Image {
        name: name
            .context("the image has no io.containerd.image.name")?
            .to_owned(),
        chain_id: chain_id(&strings(&config["rootfs"]["diff_ids"])),
        args: args.collect(),
        env: strings(&config_of["Env"]),
        cwd: cwd.unwrap_or("/").to_owned(),
        user: config_of["User"].as_str().unwrap_or_default().to_owned(),
        manifest,
        blobs: blobs.into_iter().collect(),
    })
}

/// What a snapshot of these layers is called, as the OCI image specification has it.
fn chain_id(diff_ids: &[String]) -> String {
    let mut ids = diff_ids.iter();
    let first = ids.next().cloned().unwrap_or_default();
    ids.fold(first, |chain, id| {
        digest(format!("{chain} {id}").as_bytes())
    })
}

/// The name of a blob.
pub fn digest(data: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(data))
}
