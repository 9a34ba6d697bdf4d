//! Who runs what: each row of the table by which a container is dispatched.

use medley_test::*;

const VARIANT: &str = "module.wasm.image/variant";
const HANDLER: &str = "run.oci.handler";

/// An image with a program of each kind, which all say which one they are.
fn image() -> Result<Image> {
    let hello = guests::module("hello")?;
    let linux = images::linux_builder("zoo")?;
    let wat = std::fs::read(guests::source_dir().join("exports.wat"))?;
    linux
        .file("/hello.wasm", &hello, 0o644)
        .file("/hello", &hello, 0o755)
        .file("/component.wasm", guests::component("hello")?, 0o644)
        .file("/exports.wasm", guests::module("exports")?, 0o644)
        .file("/exports.wat", &wat, 0o644)
        .file("/exports.txt", &wat, 0o755)
        .file("/script.wasm", "#!/bin/sh\necho script\n", 0o755)
        .file("/bin/hello-in-path", &hello, 0o644)
        .build()
}

/// Runs one program of the zoo with these annotations, and returns its output.
async fn said(args: &[&str], annotations: &[(&str, &str)]) -> Result<String> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image()?).await?;
    let mut spec = client.spec(&image, "it").args(args.iter().copied());
    for (key, value) in annotations {
        spec = spec.annotation(key, value);
    }
    let done = client.run("it", &image, spec).await?;
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (0, ""),
        "{args:?} {annotations:?}"
    );
    containerd.close().await?;
    Ok(done.stdout)
}

/// As [`said`], of a program that must be refused.
async fn refusal(args: &[&str], annotations: &[(&str, &str)]) -> Result<String> {
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let (containerd, client, image) = Containerd::with_image(options, image()?).await?;
    let mut spec = client.spec(&image, "it").args(args.iter().copied());
    for (key, value) in annotations {
        spec = spec.annotation(key, value);
    }
    let status = client.refused("it", &image, spec).await?;
    containerd.close().await?;
    Ok(status.message().to_owned())
}

const ELF: &[&str] = &["/bin/echo", "elf"];
const WASM: &[&str] = &["/hello.wasm"];

/// One test for a program and its annotations, each of which says what it must print.
macro_rules! rows {
    ($($(#[$meta:meta])* $name:ident: $args:expr, $annotations:expr => $output:expr;)*) => {$(
        $(#[$meta])*
        #[tokio::test]
        async fn $name() -> Result<()> {
            assert_eq!(said($args, $annotations).await?, $output);
            Ok(())
        }
    )*};
}

rows! {
    without_annotation_an_elf_is_linux: ELF, &[] => "elf\n";
    without_annotation_a_script_is_linux_whatever_its_suffix: &["/script.wasm"], &[] => "script\n";
    without_annotation_a_module_is_wasm: WASM, &[] => "hello\n";
    without_annotation_a_module_is_wasm_whatever_its_suffix: &["/hello"], &[] => "hello\n";
    without_annotation_a_component_is_wasm: &["/component.wasm"], &[] => "hello\n";
    without_annotation_text_with_the_suffix_wat_is_wasm: &["/exports.wat"], &[] => "start\n";
    compat_runs_a_module: WASM, &[(VARIANT, "compat")] => "hello\n";
    compat_smart_runs_a_module: WASM, &[(VARIANT, "compat-smart")] => "hello\n";
    compat_smart_runs_an_elf: ELF, &[(VARIANT, "compat-smart")] => "elf\n";
    an_unknown_variant_goes_by_content: ELF, &[(VARIANT, "native")] => "elf\n";
    handler_wasm_runs_a_module: WASM, &[(HANDLER, "wasm")] => "hello\n";
    handler_wasmtime_runs_a_module: WASM, &[(HANDLER, "wasmtime")] => "hello\n";
    handler_wasmtime_runs_a_component: &["/component.wasm"], &[(HANDLER, "wasmtime")] => "hello\n";
    handler_wasm_smart_runs_a_module: WASM, &[(HANDLER, "wasm-smart")] => "hello\n";
    handler_wasm_smart_runs_an_elf: ELF, &[(HANDLER, "wasm-smart")] => "elf\n";
    a_handler_hides_the_variant: ELF, &[(HANDLER, "wasm-smart"), (VARIANT, "compat")] => "elf\n";
    a_name_after_a_hash_picks_the_export: &["/exports.wasm#other"], &[] => "other\n";
    without_a_hash_the_export_is_start: &["/exports.wasm"], &[] => "start\n";
    a_bare_name_is_looked_up_in_path: &["hello-in-path"], &[] => "hello\n";
    the_containers_own_variant_comes_before_that_of_its_pod: ELF, &[
        ("io.kubernetes.cri.container-name", "side"),
        ("io.kubernetes.cri.container-type", "container"),
        ("module.wasm.image/variant.side", "compat-smart"),
        (VARIANT, "compat"),
    ] => "elf\n";
    the_containers_own_variant_comes_before_a_handler: ELF, &[
        ("io.kubernetes.cri.container-name", "side"),
        ("io.kubernetes.cri.container-type", "container"),
        ("module.wasm.image/variant.side", "compat-smart"),
        (HANDLER, "wasm"),
    ] => "elf\n";
    the_variant_of_another_container_is_not_ours: ELF, &[
        ("io.kubernetes.cri.container-name", "side"),
        ("io.kubernetes.cri.container-type", "container"),
        ("module.wasm.image/variant.main", "compat"),
    ] => "elf\n";
    a_sandbox_is_linux_whatever_the_annotations_say: ELF, &[
        ("io.kubernetes.cri.container-type", "sandbox"),
        (HANDLER, "wasm"),
        (VARIANT, "compat"),
    ] => "elf\n";
}

#[tokio::test]
async fn without_annotation_text_with_another_suffix_is_neither() -> Result<()> {
    let text = refusal(&["/exports.txt"], &[]).await?;
    assert!(text.contains("/exports.txt"), "{text}");
    Ok(())
}

#[tokio::test]
async fn handler_wasm_refuses_an_elf() -> Result<()> {
    let text = refusal(ELF, &[(HANDLER, "wasm")]).await?;
    assert!(
        text.contains("/bin/echo") && text.contains(HANDLER),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn handler_wasmer_is_named_as_not_built_in() -> Result<()> {
    let text = refusal(WASM, &[(HANDLER, "wasmer")]).await?;
    assert!(text.to_lowercase().contains("wasmer"), "{text}");
    Ok(())
}
