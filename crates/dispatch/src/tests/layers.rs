//! What runs when the rootfs does not have the entrypoint and the image has Wasm layers.

use medley_types::layers::SkippedLayer;
use medley_types::layers::{
    Cause, ImageBlob, ImageLayers, Layer, LayerContent, ModuleFacts, NotAModule,
};

use super::{Image, MODULE, elf};
use crate::{EngineKind, Error, Form, Module, NeedsLayers, Planned, WasmPlan, inspect};

/// An image's layers by title, all modules but those whose title begins with `c`.
#[derive(Default)]
pub(super) struct Artifact {
    titles: Vec<Option<&'static str>>,
    skipped: Vec<SkippedLayer>,
    needs_explicit_name: bool,
    broken: bool,
    demand: Option<(EngineKind, String)>,
}

impl Artifact {
    /// The second and third step of a decision.
    pub(super) fn plan(&self, needed: NeedsLayers<'_>) -> Result<Planned, Error> {
        let needed = if self.needs_explicit_name {
            needed.require_explicit_name()
        } else {
            needed
        };
        let selected = needed.select(self.list())?;
        let content = self.content(selected.layer());
        selected.plan(content)
    }

    fn list(&self) -> Result<Option<ImageLayers>, Cause> {
        if self.broken {
            return Err("nobody answers".into());
        }
        let layer = |(n, title): (usize, &Option<&str>)| Layer {
            digest: format!("sha256:{}", n.to_string().repeat(64)),
            media_type: "application/wasm".to_owned(),
            size: 8,
            title: title.map(str::to_owned),
        };
        Ok(Some(ImageLayers {
            image: "example/app:1".to_owned(),
            blob: ImageBlob::default(),
            layers: self.titles.iter().enumerate().map(layer).collect(),
            skipped: self.skipped.clone(),
            is_partial: false,
            is_application: false,
        }))
    }

    fn content(&self, layer: &Layer) -> Result<LayerContent, Cause> {
        let title = layer.title.as_deref();
        if title == Some("broken") {
            return Err("it is torn".into());
        }
        Ok(LayerContent {
            module: "ab".repeat(32),
            facts: ModuleFacts {
                component: title.is_some_and(|title| title.starts_with('c')),
                demand: self.demand.clone(),
            },
            file: None,
        })
    }
}

fn titled(titles: &[&'static str]) -> Artifact {
    Artifact {
        titles: titles.iter().copied().map(Some).collect(),
        ..Artifact::default()
    }
}

fn skipped() -> Vec<SkippedLayer> {
    vec![SkippedLayer {
        digest: format!("sha256:{}", "f".repeat(64)),
        media_type: "application/vnd.example".to_owned(),
        reason: "is no media type of Wasm".to_owned(),
    }]
}

fn image(layers: Artifact, args: &[&str]) -> Image {
    let mut image = Image::new().args(args);
    image.layers = Some(layers);
    image
}

fn plan(layers: Artifact, entrypoint: &str) -> WasmPlan {
    image(layers, &[entrypoint]).wasm()
}

/// The number of the layer that a decision took.
fn taken(planned: Planned) -> String {
    match planned.module {
        Some(Module::Layer(layer, _)) => layer.digest[7..8].to_owned(),
        other => panic!("no layer: {other:?}"),
    }
}

#[test]
fn the_only_wasm_layer_runs_whatever_the_entrypoint_is_called() {
    for entrypoint in ["/app.wasm", "hello", "/bin/sh", "sha256:12"] {
        let plan = plan(
            Artifact {
                titles: vec![None],
                ..Artifact::default()
            },
            entrypoint,
        );
        assert_eq!(
            plan.module.to_str(),
            Some(&*format!("sha256:{}", "0".repeat(64)))
        );
        assert_eq!(
            (plan.form, plan.export),
            (Form::Module, None),
            "{entrypoint}"
        );
        assert_eq!(
            plan.why,
            "not in the rootfs; layer sha256:000000000000 (application/wasm) of the image \
             \"example/app:1\"; engine: the default"
        );
    }
}

#[test]
fn the_only_wasm_layer_runs_without_an_entrypoint() {
    assert_eq!(
        image(titled(&["a.wasm"]), &[]).wasm().module.to_str(),
        Some("a.wasm")
    );
    assert_eq!(
        image(titled(&["a.wasm"]), &["", "x"])
            .wasm()
            .module
            .to_str(),
        Some("a.wasm")
    );
    let text = image(titled(&[]), &[]).error();
    assert!(text.starts_with("no entrypoint: "), "{text}");
}

#[test]
fn a_directory_as_entrypoint_means_the_only_wasm_layer() {
    for entrypoint in [
        "/", ".", "/.", "./", "//", "..", "/opt", "/opt/", "opt/..", "/link",
    ] {
        let image = image(titled(&["a.wasm"]), &[entrypoint, "x"])
            .file("/opt/kept", b"", 0o644)
            .link("/link", "opt");
        let plan = image.wasm();
        assert_eq!(plan.module.to_str(), Some("a.wasm"), "{entrypoint}");
        assert_eq!((plan.argv_start, plan.export), (0, None), "{entrypoint}");
    }
    assert_eq!(
        plan(titled(&["a.wasm"]), "/#run").export.as_deref(),
        Some("run")
    );
    let behind = ["/sbin/docker-init", "--", "/", "x"];
    assert_eq!(image(titled(&["a.wasm"]), &behind).wasm().argv_start, 2);
}

#[test]
fn a_directory_does_not_tell_which_of_several_layers_is_meant() {
    let text = image(titled(&["a.wasm", "b.wasm"]), &["/"]).error();
    assert!(
        text.starts_with(r#"entrypoint "/" does not tell which Wasm layer"#),
        "{text}"
    );
}

#[test]
fn a_directory_of_an_image_without_wasm_layers_is_called_one() {
    let ordinary = || Artifact {
        skipped: skipped(),
        ..titled(&[])
    };
    let strict = Artifact {
        needs_explicit_name: true,
        ..titled(&["a.wasm"])
    };
    for image in [
        image(ordinary(), &["/"]),
        image(titled(&[]), &["/"]),
        image(strict, &["/"]),
    ] {
        assert_eq!(
            image.error(),
            r#"entrypoint "/" is a directory, not a file that can run, and there is no spin.toml in it"#
        );
    }
}

#[test]
fn the_entrypoint_names_a_layer_by_title_file_name_or_digest() {
    let titles = ["a.wasm", "bin/b.wasm", "c.wasm", "d#e", "d"];
    let two = format!("sha256:{}", "2".repeat(12));
    for (entrypoint, layer, export) in [
        ("a.wasm", "0", None),
        ("/a.wasm", "0", None),
        ("./a.wasm", "0", None),
        ("/opt/a.wasm", "0", None),
        ("a.wasm#run", "0", Some("run")),
        ("a.wasm#", "0", None),
        ("b.wasm", "1", None),
        ("/bin/b.wasm", "1", None),
        (two.as_str(), "2", None),
        ("d#e", "3", None),
        ("d#f", "4", Some("f")),
    ] {
        let image = image(titled(&titles), &[entrypoint]);
        assert_eq!(taken(image.decide().unwrap()), layer, "{entrypoint}");
        assert_eq!(image.wasm().export.as_deref(), export, "{entrypoint}");
    }
    assert_eq!(plan(titled(&titles), "c.wasm").form, Form::Component);
}

#[test]
fn a_title_that_fits_whole_comes_before_one_that_ends_so() {
    let image = image(titled(&["x/a.wasm", "a.wasm"]), &["/a.wasm"]);
    assert_eq!(taken(image.decide().unwrap()), "1");
}

#[test]
fn an_export_of_the_only_layer_is_called() {
    let plan = plan(titled(&["a.wasm"]), "/other.wasm#run#it");
    assert_eq!(plan.export.as_deref(), Some("run#it"));
}

#[test]
fn several_layers_and_no_name_are_told_apart_by_the_user() {
    let text = image(titled(&["a.wasm", "b.wasm"]), &["/c"]).error();
    assert_eq!(
        text,
        r#"entrypoint "/c" does not tell which Wasm layer of the image "example/app:1" is meant: name one by its title or digest; there are sha256:000000000000 "a.wasm" (application/wasm), sha256:111111111111 "b.wasm" (application/wasm)"#
    );
    let text = image(titled(&["x/a.wasm", "y/a.wasm"]), &["a.wasm"]).error();
    assert!(text.contains("does not tell which"), "{text}");
}

#[test]
fn what_the_rootfs_has_comes_first_and_no_layer_is_asked_for() {
    let mut image = image(
        Artifact {
            broken: true,
            ..titled(&["tool", "app.wasm"])
        },
        &["tool"],
    );
    image.program();
    image = image.file("/app.wasm", MODULE, 0o644).args(&["/app.wasm"]);
    assert!(matches!(
        image.decide().unwrap().module,
        Some(Module::File(_))
    ));
    // What is there and can't run is not made up for.
    image = image.file("/broken", b"", 0o755).args(&["/broken"]);
    assert!(image.error().contains("is empty"), "{}", image.error());
}

#[test]
fn what_was_passed_over_is_named_in_the_plan_and_in_the_error() {
    let with = |titles: &[&'static str]| Artifact {
        skipped: skipped(),
        ..titled(titles)
    };
    let why = plan(with(&["a"]), "/a").why;
    assert!(
        why.ends_with(
            "; passed over: sha256:ffffffffffff (application/vnd.example) is no media type of Wasm"
        ),
        "{why}"
    );
    let text = image(with(&[]), &["/a"]).error();
    assert!(
        text.starts_with(r#"entrypoint "/a" not found inside the container"#),
        "{text}"
    );
    assert!(
        text.ends_with(
            "; the image \"example/app:1\" has no Wasm layer that could run instead: \
             sha256:ffffffffffff (application/vnd.example) is no media type of Wasm"
        ),
        "{text}"
    );
    let text = image(titled(&[]), &["/a"]).error();
    assert!(
        text.ends_with("check the image and the container's command"),
        "{text}"
    );
}

#[test]
fn layers_that_cannot_be_looked_at_fail_with_the_reason() {
    let broken = Artifact {
        broken: true,
        ..titled(&[])
    };
    match image(broken, &["/a"]).decide() {
        Err(Error::LayersUnknown { missing, source }) => {
            assert!(matches!(*missing, Error::NotFound { .. }));
            assert_eq!(source.to_string(), "nobody answers");
        }
        other => panic!("{other:?}"),
    }
    let text = image(titled(&["broken"]), &["/a"]).error();
    assert_eq!(
        text,
        r#"cannot run the layer sha256:000000000000 "broken" (application/wasm) of the image "example/app:1""#
    );
}

#[test]
fn what_is_added_to_a_container_has_to_name_its_layer() {
    let strict = || Artifact {
        needs_explicit_name: true,
        ..titled(&["a.wasm"])
    };
    assert!(
        image(strict(), &["sh"])
            .error()
            .contains("\"sh\" not found")
    );
    assert_eq!(plan(strict(), "a.wasm#run").export.as_deref(), Some("run"));
}

#[test]
fn a_layer_runs_on_the_engine_that_it_asks_for() {
    let demanding = || Artifact {
        demand: Some((
            EngineKind::Wasmer,
            "import \"wasix_32v1\" \"fd_dup\"".to_owned(),
        )),
        ..titled(&["a.wasm"])
    };
    assert_eq!(plan(demanding(), "/a.wasm").engine, EngineKind::Wasmer);
    let annotated = image(demanding(), &["/a.wasm"]).annotation("run.oci.handler", "wasmtime");
    assert_eq!(annotated.wasm().engine, EngineKind::Wasmtime);
}

#[test]
fn a_layer_runs_behind_docker_init() {
    let args = ["/sbin/docker-init", "--", "a.wasm", "x"];
    assert_eq!(image(titled(&["a.wasm"]), &args).wasm().argv_start, 2);
}

#[test]
fn facts_are_of_modules_alone() {
    let facts = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        inspect(&file)
    };
    assert!(!facts(MODULE).unwrap().component);
    assert!(facts(super::COMPONENT).unwrap().component);
    let wasix = facts(&super::importing("wasix_32v1", "fd_dup")).unwrap();
    assert_eq!(wasix.demand.unwrap().0, EngineKind::Wasmer);
    let mut precompiled = elf(None);
    precompiled[7] = 200;
    for native in [elf(None), precompiled] {
        assert!(matches!(facts(&native), Err(NotAModule::Precompiled(_))));
    }
    for other in [&b""[..], b"(module)", b"#!/bin/sh", b"\x1f\x8b"] {
        assert!(matches!(facts(other), Err(NotAModule::Other(_))));
    }
}
