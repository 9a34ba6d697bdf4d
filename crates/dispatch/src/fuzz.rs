//! What holds for any file, any arguments, annotations and mounts: [`crate::plan()`] answers, in one
//! line, without a panic and without an endless loop.
#![expect(
    clippy::unwrap_used,
    reason = "what the input is not to blame for ends the test, or the fuzzer"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use medley_fuzzing::{Result, Unstructured, near};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::elf::Elf;
use crate::{Decision, EngineKind, Error, Options, Planned, Request, Rootfs};

const WORDS: [&str; 22] = [
    "/",
    "app",
    "#",
    "..",
    ".",
    "",
    ".wat",
    "\0",
    "link",
    "loop",
    "bin/tool",
    "é",
    "\n",
    "\u{1}",
    "v",
    "a#b",
    "/dev",
    "//",
    " ",
    "%s",
    "/sbin/docker-init",
    "/x/y",
];

const KEYS: [&str; 4] = [
    "run.oci.handler",
    "module.wasm.image/variant",
    "module.wasm.image/variant.app",
    "io.kubernetes.cri.container-name",
];

const VALUES: [&str; 8] = [
    "wasm",
    "wasmedge",
    "compat",
    "compat-smart",
    "app",
    "",
    "\u{7f}\n\"",
    "wasm-smart",
];

/// What `input` decides: `true` for a plan, `false` for an error. Each is one line.
pub fn plan(input: &[u8]) -> bool {
    // What the input does not say is nothing: it may end anywhere.
    let input = [input, &[0; 512]].concat();
    let mut input = Unstructured::new(&input);
    let dir = TempDir::new().unwrap();
    let image = image(dir.path());
    let decided = container(&image, &mut input).map(|spec| decide(&image, spec));
    match decided {
        Ok(Ok(planned)) => {
            assert!(!planned.plan.one_line().contains(['\n', '\0']));
            true
        }
        Ok(Err(error)) => {
            assert!(!error.to_string().contains(['\n', '\0']));
            assert!(error.to_string().len() < 4096);
            false
        }
        Err(_) => false,
    }
}

/// Reads the head of an ELF file, and the rest of the input as the whole of it.
pub fn elf(input: &[u8]) {
    let Some(elf) = Elf::parse(input) else {
        return;
    };
    elf.machine();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    let loader = elf.loader(&file);
    assert!(loader.is_none_or(|loader| !loader.as_os_str().is_empty()));
}

/// A container's image, and a volume beside it.
struct Image {
    rootfs: PathBuf,
    volume: PathBuf,
}

fn image(dir: &Path) -> Image {
    use std::os::unix::fs::symlink;
    let (rootfs, volume) = (dir.join("rootfs"), dir.join("volume"));
    for made in [rootfs.join("bin"), rootfs.join("v"), volume.clone()] {
        fs::create_dir_all(made).unwrap();
    }
    symlink("../../app", rootfs.join("link")).unwrap();
    symlink("loop/loop", rootfs.join("loop")).unwrap();
    symlink("../..", rootfs.join("v/up")).unwrap();
    fs::write(rootfs.join("app.wat"), b"(module").unwrap();
    fs::write(rootfs.join("bin/tool"), head(62)).unwrap();
    Image { rootfs, volume }
}

/// Fills an image with files, and gives a spec for it.
fn container(image: &Image, input: &mut Unstructured<'_>) -> Result<Value> {
    for path in [
        image.rootfs.join("app"),
        image.rootfs.join("a#b"),
        image.volume.join("app"),
    ] {
        fs::write(path, content(input)?).unwrap();
    }
    let first = if input.ratio(3, 4)? {
        let known = ["/app", "app", "/a#b", "/v/app", "/app#x", "/link"];
        (*input.choose(&known)?).to_owned()
    } else {
        text(input)?
    };
    let mut args = vec![first, text(input)?, text(input)?];
    if input.ratio(1, 8)? {
        args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
    }
    args.truncate(input.int_in_range(0..=4)?);
    let mut annotations = json!({});
    for key in KEYS {
        if input.ratio(1, 3)? {
            annotations[key] = json!(input.choose(&VALUES)?);
        }
    }
    let mut mounts = Vec::new();
    for _ in 0..input.int_in_range(0..=2)? {
        let destinations = ["/v", "/v/up", "/loop", "v", "", "/app", "/v/../x/y"];
        let sources = [
            image.volume.clone(),
            image.volume.join("app"),
            "/none".into(),
        ];
        mounts.push(json!({
            "destination": input.choose(&destinations)?,
            "type": input.choose(&["bind", "tmpfs", "proc", ""])?,
            "source": input.choose(&sources)?,
        }));
    }
    Ok(json!({
        "ociVersion": "1.1.0",
        "process": {
            "args": args,
            "cwd": text(input)?,
            "env": [format!("PATH={}:/:/v", text(input)?)],
            "user": {"uid": 1000, "gid": 1000},
        },
        "annotations": annotations,
        "mounts": mounts,
    }))
}

fn decide(image: &Image, spec: Value) -> std::result::Result<Planned, Error> {
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let rootfs = Rootfs::open(&image.rootfs).unwrap();
    let request = Request::from_spec(&spec).unwrap();
    let options = Options {
        built_in: vec![
            EngineKind::Wasmtime,
            EngineKind::Wasmedge,
            EngineKind::Wasmer,
        ],
        ..Options::default()
    };
    match crate::plan(&request, &rootfs, &options)? {
        Decision::Planned(planned) => Ok(planned),
        Decision::NeedsLayers(needed) => Err(needed.without_layers()),
    }
}

/// One of the beginnings that something here looks for, or what is near to it.
fn content(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    let known = [
        Vec::new(),
        head(62),
        head(183),
        MODULE.to_vec(),
        b"\0asm\x0d\0\x01\0".to_vec(),
        // Imports, the second of a length that nothing has.
        [MODULE, &[2, 9, 2, 1, b'a', 0, 0x7f, 1, 1, b'b', 0, 0]].concat(),
        [
            MODULE,
            &[2, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ]
        .concat(),
        b"#!/bin/tool -x\n".to_vec(),
        b"(; (module".to_vec(),
    ];
    near(input, &known)
}

/// An ELF program for this machine's number, with one header: of its loader, `/bin/tool`.
fn head(machine: u8) -> Vec<u8> {
    let mut bytes = vec![0; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (bytes[16], bytes[18], bytes[32]) = (2, machine, 64);
    (bytes[54], bytes[56]) = (56, 1);
    (bytes[64], bytes[72], bytes[96]) = (3, 120, 10);
    bytes.extend_from_slice(b"/bin/tool\0");
    bytes
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    let count = input.int_in_range(0..=5)?;
    (0..count).map(|_| input.choose(&WORDS).copied()).collect()
}

#[cfg(test)]
mod tests {
    use medley_fuzzing::{Unstructured, inputs};

    #[test]
    fn plan_is_total() {
        let (plans, errors): (Vec<_>, Vec<_>) = inputs(1000)
            .map(|input| super::plan(&input))
            .partition(|planned| *planned);
        assert!(
            plans.len() > 50 && errors.len() > 50,
            "both happen: {} plans, {} errors",
            plans.len(),
            errors.len()
        );
    }

    #[test]
    fn any_head_of_an_elf_file_is_read() {
        for input in inputs(3000) {
            let known = [super::head(62), super::head(183)];
            let head = medley_fuzzing::near(&mut Unstructured::new(&input), &known);
            super::elf(&head.unwrap());
            super::elf(&input);
        }
    }
}
