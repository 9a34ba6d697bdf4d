//! How the entrypoint's path is found: PATH, working directory, `#`, symlinks, docker-init.

use std::io::Read;

use super::{Image, MODULE, elf, write};
use crate::{Decision, Form, Module, Plan, Request, Rootfs, plan};

const OTHER: &[u8] = b"\0asm\x01\0\0\0\0\x02\x01x";

fn module(image: &Image) -> String {
    image.wasm().module.into_os_string().into_string().unwrap()
}

/// What is read of the module that was opened.
fn bytes(image: &Image) -> Vec<u8> {
    let Some(Module::File(mut file)) = image.decide().unwrap().module else {
        panic!("no file")
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// It needs no executable bit.
#[test]
fn an_absolute_path_is_taken_as_it_is() {
    let image = Image::new()
        .file("/app.wasm", MODULE, 0o600)
        .args(&["/app.wasm"]);
    assert_eq!(module(&image), "/app.wasm");
}

#[test]
fn a_path_with_a_slash_is_relative_to_the_working_directory() {
    let image = Image::new()
        .file("/srv/bin/a.wasm", MODULE, 0o644)
        .args(&["bin/a.wasm"]);
    assert_eq!(module(&image), "/srv/bin/a.wasm");
    let image = Image::new()
        .file("/srv/a", &elf(None), 0o755)
        .args(&["./a"]);
    assert_eq!(image.program().to_str(), Some("/srv/a"));
}

#[test]
fn a_bare_name_is_looked_up_in_path() {
    let image = Image::new()
        .file("/usr/bin/app", &elf(None), 0o644)
        .file("/bin/app", &elf(None), 0o755)
        .args(&["app"]);
    assert_eq!(
        image.program().to_str(),
        Some("/bin/app"),
        "the first is not executable"
    );
    let image = Image::new()
        .file("/usr/local/sbin/app", &elf(None), 0o755)
        .args(&["app"])
        .env(&[]);
    assert_eq!(
        image.program().to_str(),
        Some("/usr/local/sbin/app"),
        "the default PATH"
    );
    let image = Image::new()
        .file("/b/app", &elf(None), 0o755)
        .args(&["app"])
        .env(&["PATH=/a", "PATH=/b"]);
    assert_eq!(
        image.program().to_str(),
        Some("/b/app"),
        "the last PATH wins"
    );
    let image = Image::new()
        .file("/srv/app", &elf(None), 0o755)
        .args(&["app"])
        .env(&["PATH=/a:"]);
    assert_eq!(
        image.program().to_str(),
        Some("/srv/app"),
        "an empty entry is the cwd"
    );
}

#[test]
fn a_bare_module_is_also_found_in_the_cwd_and_the_root() {
    let image = Image::new()
        .file("/app.wasm", MODULE, 0o644)
        .args(&["app.wasm"]);
    assert_eq!(module(&image), "/app.wasm");
    let image = image.file("/srv/app.wasm", MODULE, 0o644);
    assert_eq!(module(&image), "/srv/app.wasm");
    let image = image.file("/bin/app.wasm", MODULE, 0o644);
    assert_eq!(module(&image), "/bin/app.wasm");
}

#[test]
fn a_hash_picks_the_export_unless_a_file_has_it_in_its_name() {
    let export = |image: &Image| {
        let plan = image.wasm();
        (
            plan.module.into_os_string().into_string().unwrap(),
            plan.export,
        )
    };
    let found = |path: &str, export: Option<&str>| (path.to_owned(), export.map(str::to_owned));
    let image = Image::new().file("/a", MODULE, 0o644);
    let image = image.args(&["/a#run"]);
    assert_eq!(export(&image), found("/a", Some("run")));
    let image = image.args(&["/a#wasi:http/incoming-handler@0.2.0#handle"]);
    assert_eq!(
        export(&image),
        found("/a", Some("wasi:http/incoming-handler@0.2.0#handle"))
    );
    let image = image.args(&["/a#"]);
    assert_eq!(export(&image), found("/a", None));
    let image = image.args(&["a#ns/run"]);
    assert_eq!(export(&image), found("/a", Some("ns/run")));
    let image = image.file("/a#run", MODULE, 0o644).args(&["/a#run"]);
    assert_eq!(export(&image), found("/a#run", None));
    let image = image.args(&["/a#run#b"]);
    assert_eq!(export(&image), found("/a#run", Some("b")));
}

#[test]
fn a_linux_program_has_no_exports() {
    let image = Image::new().args(&["/bin/tool#x"]);
    assert!(
        image
            .error()
            .starts_with(r#"entrypoint "/bin/tool#x" not found"#)
    );
}

#[test]
fn the_opened_module_is_read_from_its_start() {
    let image = Image::new().file("/m", OTHER, 0o644).args(&["/m"]);
    assert_eq!(bytes(&image), OTHER);
}

#[test]
fn symlinks_that_point_out_of_the_rootfs_are_resolved_inside_it() {
    let image = Image::new();
    let outside = image.host("outside.wasm");
    write(&outside, MODULE, 0o644);
    let climbing = "../../../../../../../../../../outside.wasm";
    let mut image = image
        .link("/absolute", &outside)
        .link("/deep/down/climbing", climbing);

    for entry in ["/absolute", "/deep/down/climbing"] {
        image = image.args(&[entry]);
        let error = image.error();
        assert!(
            error.contains("which does not exist inside the container"),
            "{error}"
        );
        assert!(error.contains("outside.wasm"), "{error}");
    }
    // The same names inside the rootfs are what the links mean.
    image = image
        .file(outside.to_str().unwrap(), OTHER, 0o644)
        .file("/outside.wasm", OTHER, 0o644);
    for entry in [
        "/absolute",
        "/deep/down/climbing",
        "/../../outside.wasm",
        "/bin/../outside.wasm",
    ] {
        image = image.args(&[entry]);
        assert_eq!(bytes(&image), OTHER, "{entry}");
    }
}

/// One in the middle of the path is not blamed.
#[test]
fn a_dangling_symlink_is_named() {
    let image = Image::new()
        .link("/sbin", "usr/sbin")
        .link("/app", "releases/now/app");
    let image = image.args(&["/app"]);
    assert_eq!(
        image.error(),
        r#"entrypoint "/app" not found: the symlink "/app" points to "releases/now/app", which does not exist inside the container"#
    );
    let image = image
        .file("/usr/sbin/other", b"x", 0o755)
        .args(&["/sbin/app"]);
    assert_eq!(
        image.error(),
        r#"entrypoint "/sbin/app" not found inside the container: looked for "/sbin/app"; check the image and the container's command"#
    );
}

#[test]
fn a_circle_of_symlinks_is_named() {
    let image = Image::new().link("/a", "/b").link("/b", "a").args(&["/a"]);
    let error = image.error();
    assert!(
        error.starts_with(r#"entrypoint "/a" cannot be resolved: too many symlinks"#),
        "{error}"
    );
}

#[test]
fn the_rootfs_opens_regular_files_inside_itself_only() {
    let image = Image::new()
        .file("/etc/passwd", b"inside", 0o644)
        .link("/link", "/etc/passwd");
    let secret = image.host("secret");
    write(&secret, b"outside", 0o644);
    let image = image.link("/out", secret).link("/up", "../secret");
    let rootfs = Rootfs::open(&image.host("rootfs")).unwrap();
    for path in ["/etc/passwd", "etc/passwd", "/link", "/../../etc/passwd"] {
        let mut text = String::new();
        rootfs
            .open_file(path.as_ref())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "inside", "{path}");
    }
    for path in ["/out", "/up", "/none"] {
        let error = rootfs.open_file(path.as_ref()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path}");
    }
    assert!(rootfs.open_file("/etc".as_ref()).is_err());
}

#[test]
fn docker_init_stays_before_a_linux_program() {
    let image = Image::new().file("/sbin/docker-init", &elf(None), 0o755);
    let image = image.args(&["/sbin/docker-init", "--", "tool", "x"]);
    let Plan::Linux(plan) = image.plan() else {
        panic!("not Linux")
    };
    assert_eq!(plan.program.unwrap().to_str(), Some("/sbin/docker-init"));
    assert_eq!(
        plan.why,
        r#"docker-init, and behind it "tool": content: begins with \x7fELF"#
    );
}

#[test]
fn docker_init_is_left_out_before_a_wasm_module() {
    let image = Image::new().file("/app.wasm", MODULE, 0o644);
    let image = image.args(&["/sbin/docker-init", "--", "app.wasm#go", "x"]);
    let plan = image.wasm();
    assert_eq!((plan.argv_start, plan.form), (2, Form::Module));
    assert_eq!(plan.export.as_deref(), Some("go"));
}

#[test]
fn what_is_wrong_behind_docker_init_is_said_at_once() {
    let image = Image::new().file("/sbin/docker-init", &elf(None), 0o755);
    let image = image.args(&["/sbin/docker-init", "--", "/none"]);
    assert!(image.error().starts_with(r#"entrypoint "/none" not found"#));
    let image = image.args(&["/sbin/docker-init", "--", "tool"]);
    let image = image.annotation("module.wasm.image/variant", "compat");
    assert!(
        image
            .error()
            .starts_with(r#""/bin/tool" is an ELF program, but"#)
    );
}

#[test]
fn the_programs_of_this_machine_are_programs_in_a_rootfs() {
    let spec = serde_json::from_value(serde_json::json!({
        "ociVersion": "1.1.0",
        "process": {"cwd": "/", "args": ["sh", "-c", "true"], "user": {"uid": 0, "gid": 0}},
    }))
    .unwrap();
    let rootfs = Rootfs::open("/".as_ref()).unwrap();
    let options = super::every_engine();
    let decision = plan(&Request::from_spec(&spec).unwrap(), &rootfs, &options).unwrap();
    let Decision::Planned(planned) = decision else {
        panic!("not in the rootfs")
    };
    let Plan::Linux(plan) = planned.plan else {
        panic!("not Linux")
    };
    assert!(plan.program.unwrap().ends_with("bin/sh"));
    assert_eq!(plan.why, r"content: begins with \x7fELF");
}
