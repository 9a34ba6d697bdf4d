//! `plan` answers for any bytes, arguments, annotations and mounts: no panic, no endless loop.

use std::fs;

use serde_json::json;

use super::{COMPONENT, Image, MODULE, elf, importing};

/// A small generator (xorshift64*), seeded, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1))
            .map(|_| u8::try_from(self.below(256)).unwrap())
            .collect()
    }
}

/// One of the known beginnings, some of its bytes changed, cut or grown.
fn content(random: &mut Random) -> Vec<u8> {
    let known = [
        Vec::new(),
        elf(None),
        elf(Some("/bin/tool")),
        MODULE.to_vec(),
        COMPONENT.to_vec(),
        importing("wasi_snapshot_preview1", "sock_open"),
        [MODULE, &[2, 9, 2, 1, b'a', 0, 0x7f, 1, 1, b'b', 0, 0]].concat(),
        [
            MODULE,
            &[2, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ]
        .concat(),
        b"#!/bin/tool -x\n".to_vec(),
        b"(; (module".to_vec(),
    ];
    let mut bytes = random.pick(&known).clone();
    for _ in 0..random.below(6) {
        if !bytes.is_empty() {
            let at = random.below(bytes.len());
            bytes[at] = *random.pick(&[0, 1, 2, 3, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1)]);
        }
    }
    let keep = if random.below(4) == 0 {
        random.below(bytes.len() + 1)
    } else {
        bytes.len()
    };
    bytes.truncate(keep);
    bytes.extend(random.bytes(24));
    bytes
}

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

fn text(random: &mut Random) -> String {
    (0..random.below(6)).map(|_| *random.pick(&WORDS)).collect()
}

#[test]
fn plan_is_total() {
    let keys = [
        "run.oci.handler",
        "module.wasm.image/variant",
        "module.wasm.image/variant.app",
        "io.kubernetes.cri.container-name",
    ];
    let values = [
        "wasm",
        "wasmedge",
        "compat",
        "compat-smart",
        "app",
        "",
        "\u{7f}\n\"",
        "wasm-smart",
    ];
    let image = Image::new()
        .link("/link", "../../app")
        .link("/loop", "loop/loop");
    let mut image = image
        .link("/v/up", "../..")
        .file("/app.wat", b"(module", 0o644);
    let volume = image.host("volume");
    fs::create_dir(&volume).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut plans, mut errors) = (0, 0);

    for _ in 0..3000 {
        for path in [
            image.inside("/app"),
            image.inside("/a#b"),
            volume.join("app"),
        ] {
            fs::write(path, content(&mut random)).unwrap();
        }
        let known = *random.pick(&["/app", "app", "/a#b", "/v/app", "/app#x", "/link"]);
        let first = if random.below(4) > 0 {
            known.to_owned()
        } else {
            text(&mut random)
        };
        let mut args = vec![first, text(&mut random), text(&mut random)];
        if random.below(8) == 0 {
            args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
        }
        args.truncate(random.below(5));
        image.spec["process"]["args"] = json!(args);
        image.spec["process"]["cwd"] = json!(text(&mut random));
        image.spec["process"]["env"] = json!([format!("PATH={}:/:/v", text(&mut random))]);
        image.spec["annotations"] = json!({});
        for key in keys {
            if random.below(3) == 0 {
                image.spec["annotations"][key] = json!(random.pick(&values));
            }
        }
        image.spec["mounts"] = json!([]);
        for _ in 0..random.below(3) {
            image = image.mount(json!({
                "destination": random.pick(&["/v", "/v/up", "/loop", "v", "", "/app", "/v/../x/y"]),
                "type": random.pick(&["bind", "tmpfs", "proc", ""]),
                "source": random.pick(&[volume.clone(), volume.join("app"), "/none".into()]),
            }));
        }
        match image.decide() {
            Ok(decision) => {
                plans += 1;
                assert!(!decision.plan.one_line().contains(['\n', '\0']));
            }
            Err(error) => {
                errors += 1;
                assert!(!error.to_string().contains(['\n', '\0']));
                assert!(error.to_string().len() < 4096);
            }
        }
    }
    assert!(
        plans > 200 && errors > 200,
        "both happen: {plans} plans, {errors} errors"
    );
}
