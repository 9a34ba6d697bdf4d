//! The order of dispatch, row by row, and the choice of the engine.

use super::{COMPONENT, Image, MODULE, SCRIPT, elf, importing};
use crate::{EngineKind, Form, LinuxPlan, Options, Plan, WasmPlan};

const HANDLER: &str = "run.oci.handler";
const VARIANT: &str = "module.wasm.image/variant";
const NAME: &str = "io.kubernetes.cri.container-name";
const TYPE: &str = "io.kubernetes.cri.container-type";

/// Three containers of one pod, which has `annotations`: a Wasm module without an executable bit,
/// an ELF program, a script.
fn row(annotations: &[(&str, &str)]) -> [String; 3] {
    let files: [(&str, Vec<u8>); 3] = [
        ("/m", MODULE.to_vec()),
        ("/elf", elf(None)),
        ("/script", SCRIPT.to_vec()),
    ];
    files.map(|(path, bytes)| {
        let mut image = Image::new().file(path, &bytes, 0o755).args(&[path]);
        for (key, value) in annotations {
            image = image.annotation(key, value);
        }
        match image.decide() {
            Ok(decision) => match decision.plan {
                Plan::Linux(_) => "linux".to_owned(),
                Plan::Wasm(plan) => plan.engine.to_string(),
            },
            Err(error) => {
                assert!(error.to_string().contains("compat-smart"), "{error}");
                "refused".to_owned()
            }
        }
    })
}

#[test]
fn the_order_of_dispatch_holds_row_by_row() {
    let by_content = ["wasmtime", "linux", "linux"];
    let always = ["wasmtime", "refused", "refused"];
    let edge = ["wasmedge", "refused", "refused"];
    let own = "module.wasm.image/variant.web";
    let other = "module.wasm.image/variant.db";
    for (annotations, expected) in [
        (&[][..], by_content),
        (&[(TYPE, "sandbox")], ["linux"; 3]),
        (
            &[
                (TYPE, "sandbox"),
                (HANDLER, "wasmedge"),
                (VARIANT, "compat"),
            ],
            ["linux"; 3],
        ),
        (&[(TYPE, "container"), (VARIANT, "compat")], always),
        (&[(VARIANT, "compat")], always),
        (&[(VARIANT, "compat-smart")], by_content),
        (&[(VARIANT, "Compat")], by_content),
        (&[(VARIANT, "")], by_content),
        (&[(HANDLER, "wasm")], always),
        (&[(HANDLER, "wasmtime")], always),
        (&[(HANDLER, "wasmedge")], edge),
        (&[(HANDLER, "wasmer")], ["wasmer", "refused", "refused"]),
        (&[(HANDLER, "wasm-smart")], by_content),
        (&[(HANDLER, "krun")], by_content),
        (&[(HANDLER, "")], by_content),
        // Any handler hides the variant, as in crun; an empty one does not.
        (&[(HANDLER, "wasm-smart"), (VARIANT, "compat")], by_content),
        (&[(HANDLER, "krun"), (VARIANT, "compat")], by_content),
        (&[(HANDLER, "wasm"), (VARIANT, "compat-smart")], always),
        (&[(HANDLER, ""), (VARIANT, "compat")], always),
        // The container's own variant comes first; the handler still names the engine.
        (&[(NAME, "web"), (own, "compat")], always),
        (
            &[(NAME, "web"), (own, "compat"), (VARIANT, "compat-smart")],
            always,
        ),
        (
            &[(NAME, "web"), (own, "compat-smart"), (VARIANT, "compat")],
            by_content,
        ),
        (
            &[(NAME, "web"), (own, "compat-smart"), (HANDLER, "wasmedge")],
            ["wasmedge", "linux", "linux"],
        ),
        (
            &[(NAME, "web"), (own, "compat"), (HANDLER, "wasm-smart")],
            always,
        ),
        (
            &[(NAME, "web"), (own, "what"), (HANDLER, "wasm")],
            by_content,
        ),
        (&[(NAME, "web"), (own, "")], by_content),
        // Another container's variant, or one without a name to go by, says nothing.
        (&[(NAME, "web"), (other, "compat")], by_content),
        (&[(own, "compat")], by_content),
    ] {
        assert_eq!(row(annotations), expected, "{annotations:?}");
    }
}

#[test]
fn the_reason_names_what_decided() {
    let why = |annotations: &[(&str, &str)]| {
        let mut image = Image::new().file("/m", MODULE, 0o644).args(&["/m"]);
        for (key, value) in annotations {
            image = image.annotation(key, value);
        }
        image.wasm().why
    };
    assert_eq!(why(&[]), r"content: begins with \0asm; engine: the default");
    assert_eq!(
        why(&[(VARIANT, "compat")]),
        "annotation module.wasm.image/variant=compat; engine: the default"
    );
    assert_eq!(
        why(&[(HANDLER, "krun"), (VARIANT, "compat")]),
        r"content: begins with \0asm; annotation run.oci.handler=krun is unknown and hides module.wasm.image/variant=compat; engine: the default"
    );
    assert_eq!(
        why(&[(VARIANT, "on\n")]),
        r"content: begins with \0asm; annotation module.wasm.image/variant=on\n is unknown; engine: the default"
    );
    assert_eq!(
        why(&[(HANDLER, "wasmer")]),
        "annotation run.oci.handler=wasmer; engine: annotation run.oci.handler=wasmer"
    );
}

/// Unless an annotation names one.
#[test]
fn the_engine_is_what_the_imports_ask_for() {
    let engine = |bytes: &[u8], handler: &str| {
        Image::new()
            .file("/m", bytes, 0o644)
            .args(&["/m"])
            .annotation(HANDLER, handler)
            .wasm()
    };
    let sockets = importing("wasi_snapshot_preview1", "sock_open");
    let plan = engine(&sockets, "wasm");
    assert_eq!(plan.engine, EngineKind::Wasmedge);
    assert!(
        plan.why
            .ends_with(r#"engine: import "wasi_snapshot_preview1" "sock_open""#)
    );
    assert_eq!(engine(&sockets, "wasmtime").engine, EngineKind::Wasmtime);
    assert_eq!(
        engine(&importing("wasix_32v1", "f"), "wasm").engine,
        EngineKind::Wasmer
    );
    assert_eq!(
        engine(&importing("wasix_32v1", "f"), "spin").engine,
        EngineKind::Wasmer
    );
    assert_eq!(engine(COMPONENT, "wasm").engine, EngineKind::Wasmtime);
    assert_eq!(engine(COMPONENT, "wasm").form, Form::Component);
}

/// Even where another engine is the default.
#[test]
fn a_component_needs_wasmtime() {
    let mut image = Image::new().file("/c", COMPONENT, 0o644).args(&["/c"]);
    image.options.default_engine = EngineKind::Wasmedge;
    assert_eq!(image.wasm().engine, EngineKind::Wasmtime);
    let mut image = Image::new().file("/m", MODULE, 0o644).args(&["/m"]);
    image.options.default_engine = EngineKind::Wasmedge;
    assert_eq!(image.wasm().engine, EngineKind::Wasmedge);
}

#[test]
fn text_is_wasm_by_its_name_or_by_order() {
    let text = b";; hello\n(module)";
    let named = Image::new().file("/m.wat", text, 0o644).args(&["/m.wat"]);
    assert_eq!(named.wasm().form, Form::Text);
    let nameless = Image::new().file("/m", text, 0o644).args(&["/m"]);
    assert!(nameless.error().contains("name it .wat"));
    assert_eq!(
        nameless.annotation(VARIANT, "compat").wasm().form,
        Form::Text
    );
    // The bytes come before the name.
    let script = Image::new().file("/m.wat", SCRIPT, 0o755).args(&["/m.wat"]);
    assert_eq!(script.program().to_str(), Some("/m.wat"));
    let module = Image::new().file("/m.wat", MODULE, 0o755).args(&["/m.wat"]);
    assert_eq!(module.wasm().form, Form::Module);
}

#[test]
fn a_sandbox_is_linux_without_a_look_at_any_file() {
    let plan = Image::new()
        .annotation(TYPE, "sandbox")
        .args(&["/pause"])
        .plan();
    assert_eq!(plan.one_line(), r#"kind=linux why="the pod's sandbox""#);
}

#[test]
fn programs_for_other_machines_pass_where_the_node_can_run_them() {
    let mut foreign = elf(None);
    foreign[18..20].copy_from_slice(&9_u16.to_ne_bytes());
    let mut image = Image::new().file("/app", &foreign, 0o755).args(&["/app"]);
    assert!(image.error().contains("ELF program for machine 9"));
    image.options = Options {
        foreign_elf: true,
        ..image.options
    };
    assert_eq!(image.program().to_str(), Some("/app"));
}

#[test]
fn a_plan_is_one_line_and_survives_json() {
    let wasm = Plan::Wasm(WasmPlan {
        engine: EngineKind::Wasmtime,
        module: "/app.wasm".into(),
        export: None,
        form: Form::Module,
        why: "content:\n\"x\"".to_owned(),
        argv_start: 0,
    });
    assert_eq!(
        wasm.one_line(),
        r#"kind=wasm engine=wasmtime module="/app.wasm" form=module export="_start" why="content:\n\"x\"""#
    );
    let linux = Plan::Linux(LinuxPlan {
        why: "content".to_owned(),
        program: Some("/bin/sh".into()),
    });
    assert_eq!(
        linux.one_line(),
        r#"kind=linux program="/bin/sh" why="content""#
    );
    for plan in [wasm, linux] {
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
