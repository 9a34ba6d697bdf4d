//! Tests of the whole decision, on real files in temporary directories; none needs root.

mod annotations;
mod applications;
mod errors;
mod layers;
mod mounts;
mod paths;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Decision, EngineKind, Error, Options, Plan, Planned, Request, Rootfs, WasmPlan, plan};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const SCRIPT: &[u8] = b"#!/bin/tool\n";

/// A rootfs and, beside it, the host's files that are none of the container's.
struct Image {
    dir: TempDir,
    spec: Value,
    options: Options,
    /// Those of its image; none was made of no image.
    layers: Option<layers::Artifact>,
}

impl Image {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        let spec = json!({
            "ociVersion": "1.1.0",
            "process": {
                "cwd": "/srv",
                "env": ["PATH=/usr/bin:/bin"],
                "user": {"uid": 1000, "gid": 1000},
            },
            "annotations": {},
            "mounts": [],
        });
        let image = Self {
            dir,
            spec,
            options: every_engine(),
            layers: None,
        };
        // What scripts and dynamic programs of the tests ask for.
        image.file("/bin/tool", &elf(None), 0o755)
    }

    fn host(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.host("rootfs").join(path.trim_start_matches('/'))
    }

    fn file(self, path: &str, bytes: &[u8], mode: u32) -> Self {
        write(&self.inside(path), bytes, mode);
        self
    }

    fn link(self, path: &str, target: impl AsRef<Path>) -> Self {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.spec["process"]["args"] = json!(args);
        self
    }

    fn env(mut self, env: &[&str]) -> Self {
        self.spec["process"]["env"] = json!(env);
        self
    }

    fn annotation(mut self, key: &str, value: &str) -> Self {
        self.spec["annotations"][key] = json!(value);
        self
    }

    fn bind(self, destination: &str, source: &Path) -> Self {
        self.mount(json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind"],
        }))
    }

    fn mount(mut self, mount: Value) -> Self {
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    fn decide(&self) -> Result<Planned, Error> {
        let spec: Spec = serde_json::from_value(self.spec.clone()).unwrap();
        let rootfs = Rootfs::open(&self.host("rootfs")).unwrap();
        let request = Request::from_spec(&spec).unwrap();
        match (plan(&request, &rootfs, &self.options)?, &self.layers) {
            (Decision::Planned(planned), _) => Ok(planned),
            (Decision::NeedsLayers(needed), Some(artifact)) => artifact.plan(needed),
            (Decision::NeedsLayers(needed), None) => Err(needed.without_layers()),
        }
    }

    fn plan(&self) -> Plan {
        self.decide().unwrap().plan
    }

    fn wasm(&self) -> WasmPlan {
        match self.plan() {
            Plan::Wasm(plan) => plan,
            other => panic!("not Wasm: {}", other.one_line()),
        }
    }

    /// The path of the Linux program.
    fn program(&self) -> PathBuf {
        match self.plan() {
            Plan::Linux(plan) => plan.program.unwrap(),
            other => panic!("not Linux: {}", other.one_line()),
        }
    }

    fn error(&self) -> String {
        match self.decide() {
            Err(error) => error.to_string(),
            Ok(decision) => panic!("no error: {}", decision.plan.one_line()),
        }
    }
}

fn every_engine() -> Options {
    Options {
        built_in: vec![
            EngineKind::Wasmtime,
            EngineKind::Wasmedge,
            EngineKind::Wasmer,
        ],
        ..Options::default()
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The machine number of this node in an ELF file.
fn machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "s390x" => 22,
        "powerpc64" => 21,
        other => panic!("the ELF machine number of {other} is missing here"),
    }
}

/// An ELF program for this node, with a loader if one is named.
fn elf(loader: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[5] = if cfg!(target_endian = "little") { 1 } else { 2 };
    bytes[16..18].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[18..20].copy_from_slice(&machine().to_ne_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_ne_bytes());
    bytes[56..58].copy_from_slice(&1_u16.to_ne_bytes());
    if let Some(loader) = loader {
        let length = u64::try_from(loader.len() + 1).unwrap();
        bytes[64..68].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[72..80].copy_from_slice(&120_u64.to_ne_bytes());
        bytes[96..104].copy_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(loader.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// A module that imports one function.
fn importing(module: &str, name: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let import = [vec![1], text(module), text(name), vec![0, 0]].concat();
    let length = u8::try_from(import.len()).unwrap();
    [MODULE, &[1, 4, 1, 0x60, 0, 0], &[2, length], &import].concat()
}
