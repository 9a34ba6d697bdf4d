//! `cache warm`: modules compiled before a container needs them, exactly as a start would.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use medley_container::shim::{ContainerManager, ImageModules, WarmOutcome, default_compilers};
use medley_dispatch::{Decision, EngineKind, Plan, Planned, Request, Rootfs};
use medley_image::store::Address;
use medley_types::layers::Layer;
use serde_json::{Value, json};

use super::args::Warm;
use super::show;
use crate::cli::output::print;
use crate::engines;

/// Warms every module; false if one could not be, which was told.
pub(super) fn run(dir: &Path, warm: &Warm, as_json: bool) -> anyhow::Result<bool> {
    // Whether it can be written to, before anything is compiled.
    medley_image::Cache::open(dir, medley_image::cache::DEFAULT_LIMIT)?;
    let (options, binaries) = (engines::options(), engines::beside());
    let manager = ContainerManager::new(options, binaries, containerd(warm), false)
        .context("cannot open our own binary")?;
    let warmer = Warmer {
        manager: &manager,
        dir,
        engine: warm.engine,
    };
    let mut done = Vec::new();
    let mut all = true;
    for name in &warm.names {
        let warmed = warmer.name(name).unwrap_or_else(|error| {
            let name = name.to_string_lossy().into_owned();
            vec![(name, Err(error))]
        });
        for (name, warmed) in warmed {
            match warmed {
                Ok((engine, warmed)) => {
                    let how = match warmed {
                        WarmOutcome::Found => "there already",
                        WarmOutcome::Compiled => "compiled",
                    };
                    if !as_json {
                        print(&format!("{name}: {how}, {engine}\n"))?;
                    }
                    let (engine, compiled) = (engine.to_string(), warmed == WarmOutcome::Compiled);
                    done.push(json!({"name": name, "engine": engine, "compiled": compiled}));
                }
                Err(error) => {
                    all = false;
                    eprintln!("containerd-shim-wasm-v1 cache: cannot warm {name}: {error:#}");
                    done.push(json!({"name": name, "error": format!("{error:#}")}));
                }
            }
        }
    }
    if as_json {
        print(&show::pretty(&Value::from(done))?)?;
    }
    Ok(all)
}

/// The containerd that has the images: the one that its own tools would ask.
fn containerd(warm: &Warm) -> Address {
    let told = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let socket = || told("CONTAINERD_ADDRESS").map(PathBuf::from);
    let namespace = || Some(told("CONTAINERD_NAMESPACE")?.to_string_lossy().into_owned());
    Address {
        socket: (warm.address.clone().or_else(socket))
            .unwrap_or_else(|| "/run/containerd/containerd.sock".into()),
        namespace: (warm.namespace.clone().or_else(namespace))
            .unwrap_or_else(|| "default".to_owned()),
    }
}

/// The engine of a module, and whether it was there.
type Done = (EngineKind, WarmOutcome);

struct Warmer<'a> {
    manager: &'a ContainerManager,
    dir: &'a Path,
    engine: Option<EngineKind>,
}

impl Warmer<'_> {
    /// Warms what is called `name`: a file or, if there is none and it can be an image's name, the
    /// modules of an image, each of which may fail by itself.
    fn name(&self, name: &OsStr) -> anyhow::Result<Vec<(String, anyhow::Result<Done>)>> {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with(['/', '.']) || Path::new(name).exists() {
            let path = std::path::absolute(name)?;
            if !path.exists() {
                bail!("file not found");
            }
            let done = self.warm(&path.to_string_lossy(), Path::new("/"), None);
            return Ok(vec![(text, done)]);
        }
        let modules = self
            .manager
            .modules_of(&text, self.dir)
            .context("there is no such file, and of an image")?;
        let warm = |layer: &Layer| {
            // In the cache's own dir there is no file of that name.
            let done = self.warm(&layer.digest, self.dir, Some(&modules));
            let module = layer.title.as_ref().unwrap_or(&layer.digest);
            let module: String = module.chars().filter(|c| !c.is_control()).collect();
            (format!("{text} {module}"), done)
        };
        Ok(modules.all().iter().map(warm).collect())
    }

    /// Warms one module, decided on as if it were a container's entrypoint.
    fn warm(
        &self,
        entrypoint: &str,
        root: &Path,
        modules: Option<&ImageModules<'_>>,
    ) -> anyhow::Result<Done> {
        let handler = self
            .engine
            .map_or_else(|| "wasm".to_owned(), |engine| engine.to_string());
        let request = Request {
            args: &[entrypoint.to_owned()],
            env: &[],
            cwd: Path::new("/"),
            annotations: &HashMap::from([("run.oci.handler".to_owned(), handler)]),
            uid: 0,
            gid: 0,
            mounts: &[],
        };
        let root = Rootfs::open(root)?;
        let options = engines::options();
        let planned = match (medley_dispatch::plan(&request, &root, &options)?, modules) {
            (Decision::Planned(planned), _) => planned,
            (Decision::NeedsLayers(needed), Some(modules)) => modules.plan(needed)?,
            (Decision::NeedsLayers(needed), None) => return Err(needed.without_layers().into()),
        };
        let Planned {
            plan: Plan::Wasm(plan),
            module: Some(module),
            ..
        } = planned
        else {
            bail!("it is no Wasm module");
        };
        let compilers = crate::environment::compilers().unwrap_or_else(default_compilers);
        let warmed = self.manager.warm(self.dir, compilers, &plan, &module)?;
        Ok((plan.engine, warmed))
    }
}
