//! Each error's text, in full: it is what `kubectl describe` shows.

use std::error::Error as _;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::{COMPONENT, Image, MODULE, SCRIPT, elf, importing};
use crate::{EngineKind, Error, Options, Request, Rootfs};

const VARIANT: &str = "module.wasm.image/variant";

fn error_of(bytes: &[u8], mode: u32) -> String {
    Image::new()
        .file("/app", bytes, mode)
        .args(&["/app"])
        .error()
}

#[test]
fn no_process() {
    let spec = serde_json::from_value(json!({"ociVersion": "1.1.0"})).unwrap();
    let error = Request::from_spec(&spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config.json has no `process`, so it does not say what to run"
    );
}

#[test]
fn no_rootfs() {
    let error = Rootfs::open("/nonexistent/rootfs".as_ref()).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"cannot open the rootfs "/nonexistent/rootfs""#
    );
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .starts_with("No such file or directory")
    );
    let image = Image::new();
    assert!(
        Rootfs::open(&image.inside("/bin/tool")).is_err(),
        "a file is no rootfs"
    );
}

#[test]
fn no_entrypoint() {
    let text = "no entrypoint: process.args is empty; give the image an ENTRYPOINT or the \
                container a command";
    assert_eq!(Image::new().error(), text);
    assert_eq!(Image::new().args(&[]).error(), text);
    assert_eq!(Image::new().args(&["", "x"]).error(), text);
}

#[test]
fn not_found() {
    assert_eq!(
        Image::new().args(&["/none"]).error(),
        r#"entrypoint "/none" not found inside the container: looked for "/none"; check the image and the container's command"#
    );
    assert_eq!(
        Image::new().args(&["none"]).error(),
        r#"entrypoint "none" not found inside the container: looked for "/usr/bin/none", "/bin/none", "/srv/none", "/none"; PATH is "/usr/bin:/bin"; check the image and the container's command"#
    );
    assert_eq!(
        Image::new()
            .file("/app", SCRIPT, 0o755)
            .args(&["app"])
            .error(),
        r#"entrypoint "app" not found inside the container: looked for "/usr/bin/app", "/bin/app", "/srv/app", "/app"; PATH is "/usr/bin:/bin"; the Linux program "/app" is not on PATH: give its full path"#
    );
    assert_eq!(
        Image::new().args(&["/bin/tool/x"]).error(),
        r#"entrypoint "/bin/tool/x" not found: "/bin/tool" is not a directory"#
    );
}

#[test]
fn not_a_file() {
    let expected = |kind| format!(r#"entrypoint "/app" is a {kind}, not a file that can run"#);
    let image = Image::new().file("/app/x", b"", 0o644).args(&["/app"]);
    let sentence = expected("directory") + ", and there is no spin.toml in it";
    assert_eq!(image.error(), sentence);
    let image = Image::new().args(&["/"]);
    assert_eq!(
        image.error(),
        r#"entrypoint "/" is a directory, not a file that can run, and there is no spin.toml in it"#
    );

    let image = Image::new().args(&["/app"]);
    let fifo = image.inside("/app");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o755), 0).unwrap();
    assert_eq!(image.error(), expected("FIFO"));
    let rootfs = Rootfs::open(&image.host("rootfs")).unwrap();
    assert!(
        rootfs.open_file("/app".as_ref()).is_err(),
        "and does not wait for a writer"
    );

    let image = Image::new().args(&["/app"]);
    let _listener = UnixListener::bind(image.inside("/app")).unwrap();
    assert_eq!(image.error(), expected("socket"));

    let image = Image::new()
        .args(&["/app"])
        .bind("/app", "/dev/null".as_ref());
    assert_eq!(image.error(), expected("device"));
}

#[test]
fn not_executable() {
    assert_eq!(
        error_of(&elf(None), 0o644),
        r#""/app" is an ELF program but not executable: its mode is 0644; chmod +x it in the image"#
    );
    assert_eq!(
        error_of(SCRIPT, 0o600),
        r#""/app" is a script but not executable: its mode is 0600; chmod +x it in the image"#
    );
}

#[test]
fn empty() {
    assert_eq!(
        error_of(b"", 0o755),
        r#"entrypoint "/app" is empty: 0 bytes; rebuild the image"#
    );
}

#[test]
fn neither_elf_nor_script_nor_wasm() {
    assert_eq!(
        error_of(b"\x1f\x8b hello world", 0o755),
        r#""/app" is neither an ELF program nor a script nor Wasm: it begins with 1f 8b 20 68 65 6c 6c 6f ("\x1f\x8b hello"); if it is Wasm text, name it .wat or set the annotation module.wasm.image/variant to compat"#
    );
    assert!(error_of(b"x", 0o644).contains(r#"begins with 78 ("x"); if"#));
}

#[test]
fn wasm_by_order_on_something_else() {
    let forced = |bytes: &[u8]| {
        Image::new()
            .file("/app", bytes, 0o755)
            .args(&["/app"])
            .annotation(VARIANT, "compat")
    };
    assert_eq!(
        forced(&elf(None)).error(),
        r#""/app" is an ELF program, but the annotation module.wasm.image/variant=compat says that it is Wasm; to decide by content, set module.wasm.image/variant to compat-smart"#
    );
    assert_eq!(
        forced(b"hello").error(),
        r#""/app" is not Wasm, as the annotation module.wasm.image/variant=compat says: it begins with 68 65 6c 6c 6f ("hello"), where Wasm begins with 00 61 73 6d ("\0asm") or, as text, with "(module""#
    );
    let handled = Image::new().file("/app", SCRIPT, 0o755).args(&["/app"]);
    let handled = handled.annotation("run.oci.handler", "wasm");
    assert_eq!(
        handled.error(),
        r#""/app" is a script, but the annotation run.oci.handler=wasm says that it is Wasm; to decide by content, set run.oci.handler to wasm-smart, or remove it and set module.wasm.image/variant to compat-smart"#
    );
    let named = handled.annotation("io.kubernetes.cri.container-name", "proxy");
    assert!(
        named
            .error()
            .ends_with("set module.wasm.image/variant.proxy to compat-smart")
    );
}

#[test]
fn another_machine() {
    let mut foreign = elf(None);
    foreign[18..20].copy_from_slice(&22_u16.to_ne_bytes());
    foreign[4..6].copy_from_slice(&[2, 2]);
    foreign[18..20].copy_from_slice(&22_u16.to_be_bytes());
    let text = error_of(&foreign, 0o755);
    assert!(
        text.starts_with(r#""/app" is an ELF program for s390x, but this node is "#),
        "{text}"
    );
    assert!(text.contains("use an image for linux/"), "{text}");
}

#[test]
fn no_interpreter() {
    assert_eq!(
        error_of(b"#!/usr/bin/python3 -u\n", 0o755),
        r#"the script "/app" needs the interpreter "/usr/bin/python3", which does not exist inside the container; install it in the image"#
    );
    assert_eq!(
        error_of(b"#!/bin/tool\r\n", 0o755),
        r#"the script "/app" needs the interpreter "/bin/tool\r", which does not exist inside the container: its lines end with CR LF; write it with LF"#
    );
}

#[test]
fn no_loader() {
    let dynamic = elf(Some("/lib/ld-musl.so.1"));
    assert_eq!(
        error_of(&dynamic, 0o755),
        r#"the program "/app" needs the loader "/lib/ld-musl.so.1", which does not exist inside the container; use a base image with the C library that it was built for, or link it statically"#
    );
    let image = Image::new().file("/app", &dynamic, 0o755).args(&["/app"]);
    let image = image
        .file("/usr/lib/ld-musl.so.1", b"x", 0o755)
        .link("/lib", "usr/lib");
    assert_eq!(image.program().to_str(), Some("/app"));
}

#[test]
fn an_engine_that_is_not_built_in() {
    let sockets = importing("wasi_snapshot_preview1", "sock_bind");
    let mut image = Image::new().file("/m", &sockets, 0o644).args(&["/m"]);
    image.options = Options::default();
    assert_eq!(
        image.error(),
        r#""/m" needs the engine wasmedge (import "wasi_snapshot_preview1" "sock_bind"), which this shim does not have; it has wasmtime; put containerd-shim-wasm-v1-wasmedge, which `make install` brings, beside it"#
    );
    let image = image.annotation("run.oci.handler", "wasmer");
    assert!(
        image
            .error()
            .contains("engine wasmer (annotation run.oci.handler=wasmer)")
    );
    let mut image = Image::new().file("/m", MODULE, 0o644).args(&["/m"]);
    image.options.built_in = vec![];
    assert!(
        image
            .error()
            .contains("(the default), which this shim does not have; it has none; ")
    );
    image = image.file("/m", COMPONENT, 0o644);
    image.options.built_in = vec![EngineKind::Wasmedge];
    assert!(
        image
            .error()
            .contains("engine wasmtime (it is a component)")
    );
}

#[test]
fn a_component_for_an_engine_of_modules() {
    let image = Image::new().file("/c", COMPONENT, 0o644).args(&["/c"]);
    let image = image.annotation("run.oci.handler", "wasmedge");
    assert_eq!(
        image.error(),
        r#""/c" is a component, but the annotation run.oci.handler=wasmedge names wasmedge, which runs core modules only; components need wasmtime"#
    );
}

#[test]
fn a_path_that_no_kernel_takes() {
    let long = format!("/{}", "a".repeat(5000));
    let error = Image::new().args(&[&long]).decide().unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    assert!(
        error.to_string().len() < 300,
        "a long path is cut short: {error}"
    );
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .starts_with("File name too long")
    );
    let error = Image::new().args(&["/a\0b"]).decide().unwrap_err();
    assert_eq!(error.to_string(), r#"cannot read the entrypoint "/a\0b""#);
    let hashes = "a#".repeat(50_000);
    let endless = format!("PATH={}", "x:".repeat(50_000));
    let image = Image::new().args(&[&hashes]).env(&[&endless]);
    assert!(
        image.error().len() < 4096,
        "and it takes no time to speak of"
    );
}

#[test]
fn precompiled() {
    let mut code = elf(None);
    code[7] = 200;
    let expected = r#""/app" is native code that Wasmtime compiled ahead of time, and native code of an image is never run in an engine: nothing proves what it does; put the .wasm that it was made of into the image"#;
    assert_eq!(error_of(&code, 0o755), expected);
    assert_eq!(error_of(&code, 0o644), expected);
    let image = Image::new().file("/app", &code, 0o755).args(&["/app"]);
    assert_eq!(image.annotation(VARIANT, "compat").error(), expected);
}
