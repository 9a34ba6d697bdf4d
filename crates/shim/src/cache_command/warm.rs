//! `cache warm`: modules compiled before a container needs them, exactly as a start would.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, bail};
use medley_container::host::{Host, Warmed};
use medley_dispatch::layers::NoLayers;
use medley_dispatch::{Decision, EngineKind, Module, Plan, Request, Rootfs};
use serde_json::{Value, json};

use super::{print, show};
use crate::engines;

/// Warms every module; false if one could not be, which was told.
pub(super) fn run(
    folder: &Path,
    modules: &[OsString],
    engine: Option<EngineKind>,
    as_json: bool,
) -> anyhow::Result<bool> {
    // Whether it can be written to, before anything is compiled.
    medley_image::Cache::open(folder, medley_image::cache::DEFAULT_LIMIT)?;
    let host = Host::new(engines::options(), engines::beside(), false)
        .context("cannot open our own binary")?;
    let mut done = Vec::new();
    let mut all = true;
    for module in modules {
        let name = module.to_string_lossy();
        match one(&host, folder, module, engine) {
            Ok((engine, warmed)) => {
                let how = match warmed {
                    Warmed::Found => "there already",
                    Warmed::Compiled => "compiled",
                };
                if !as_json {
                    print(&format!("{name}: {how}, {engine}\n"))?;
                }
                let (engine, compiled) = (engine.to_string(), warmed == Warmed::Compiled);
                done.push(json!({"name": name, "engine": engine, "compiled": compiled}));
            }
            Err(error) => {
                all = false;
                eprintln!("containerd-shim-wasm-v1 cache: cannot warm {name}: {error:#}");
                done.push(json!({"name": name, "error": format!("{error:#}")}));
            }
        }
    }
    if as_json {
        print(&show::pretty(&Value::from(done))?)?;
    }
    Ok(all)
}

/// Warms one module of the node's own files, decided on as if it were a container's entrypoint.
fn one(
    host: &Host,
    folder: &Path,
    module: &OsStr,
    engine: Option<EngineKind>,
) -> anyhow::Result<(EngineKind, Warmed)> {
    let path = std::path::absolute(module)?;
    let handler = engine.map_or_else(|| "wasm".to_owned(), |engine| engine.to_string());
    let request = Request {
        args: &[path.to_string_lossy().into_owned()],
        env: &[],
        cwd: Path::new("/"),
        annotations: &HashMap::from([("run.oci.handler".to_owned(), handler)]),
        uid: 0,
        gid: 0,
        mounts: &[],
    };
    let root = Rootfs::open(Path::new("/"))?;
    let decision = medley_dispatch::plan(&request, &root, &NoLayers, &engines::options())?;
    let Decision {
        plan: Plan::Wasm(plan),
        module: Some(Module::File(module)),
        ..
    } = decision
    else {
        bail!("it is no Wasm module");
    };
    let engine = engines::built_in(plan.engine)
        .with_context(|| format!("the engine {} is not built in", plan.engine))?;
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| anyhow::anyhow!("{} does not work here: {reason}", engine.name()))?;
    Ok((
        plan.engine,
        host.warm(folder, &plan, &module, &fingerprint)?,
    ))
}
