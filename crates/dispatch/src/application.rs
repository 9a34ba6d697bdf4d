//! A Spin application in the rootfs: its manifest, and the components that lie beside it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use medley_spin::App;
use medley_spin::app::Source;
use medley_types::layers::{Cause, ImageLayers, Layer, LayerContent};
use medley_types::quoted::Quoted;
use medley_types::{EngineKind, sentence};

use crate::content::{Content, Head};
use crate::decide::{Decision, engine};
use crate::error::Error;
use crate::layers::{self, NeedsLayers};
use crate::options::Options;
use crate::plan::{Application, Form, Module, Plan, Planned, WasmPlan};
use crate::request::Request;
use crate::rule::Rule;
use crate::view::View;

/// The manifest of an application, beside which its components lie.
const MANIFEST: &str = "spin.toml";

/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// Longest text of a manifest that an error repeats, in bytes.
const MAX_TEXT: usize = 1024;

/// What is said of a component that is none.
const CORE_MODULE: &str = "is a core module, and Medley runs components: build it for wasm32-wasip2, or by a \
                           newer Spin SDK";

/// A manifest that is there.
pub(crate) struct Manifest {
    path: PathBuf,
    file: File,
}

/// The manifest in a dir.
pub(crate) fn beside(dir: &Path, view: &View<'_>) -> Option<Manifest> {
    at(dir.join(MANIFEST), view)
}

/// The manifest that an entrypoint names.
pub(crate) fn named(entrypoint: &str, req: &Request<'_>, view: &View<'_>) -> Option<Manifest> {
    let path = Path::new(entrypoint);
    if path.file_name()? != MANIFEST || !entrypoint.contains('/') {
        return None;
    }
    at(Path::new("/").join(req.cwd).join(path), view)
}

fn at(path: PathBuf, view: &View<'_>) -> Option<Manifest> {
    let file = view.file(&path).ok()?.file;
    Some(Manifest { path, file })
}

/// Decides on the application of a manifest.
pub(crate) fn plan<'o>(
    manifest: Manifest,
    rule: &Rule,
    view: &View<'_>,
    options: &Options,
) -> Result<Decision<'o>, Error> {
    let Manifest { path, file } = manifest;
    let refused = |reason: String| Error::SpinApplication {
        manifest: path.clone(),
        reason: plain(&reason),
    };
    let text = read(&file).map_err(refused)?;
    let app = App::from_manifest(&text).map_err(|error| refused(error.to_string()))?;
    let mut components = Vec::new();
    for (id, component) in &app.components {
        let Source::File(source) = &component.source else {
            continue;
        };
        let dir = path.parent().unwrap_or(Path::new("/"));
        let source = dir.join(source);
        let wrong = |what: &str| {
            refused(format!(
                "the source {} of the component {id:?} {what}",
                Quoted::path(&source)
            ))
        };
        let file = wasm(&source, view).map_err(|what| wrong(&what))?;
        let why = format!("component {id:?} of {}", Quoted::path(&path));
        let (engine, _) = engine(&source, true, || None, rule, options)?;
        let plan = component_plan(engine, source, why);
        components.push((id.clone(), plan, Module::File(file)));
    }
    let (engine, demanded_by) = engine(&path, true, || None, rule, options)?;
    let why = format!(
        "{}; engine: {demanded_by}",
        rule.mode.why("a Spin application's manifest")
    );
    Ok(Decision::Planned(Planned {
        plan: Plan::Wasm(component_plan(engine, path, why)),
        module: None,
        application: Some(Application {
            app,
            components,
            files: None,
        }),
    }))
}

impl NeedsLayers<'_> {
    /// Whether the Spin application is meant that an image is: by an entrypoint that names none of its layers.
    #[must_use]
    pub fn means_application(&self, listed: &ImageLayers) -> bool {
        let is_layer = |name| !layers::named(name, &listed.layers).is_empty();
        listed.is_application
            && !self.needs_explicit_name
            && !layers::names(&self.entrypoint).any(|(name, _)| is_layer(name))
    }

    /// Decides on the application that an image is, whose components `content` gives.
    ///
    /// # Errors
    /// What is wrong with it, and what keeps this node from running it.
    pub fn plan_application(
        self,
        listed: &ImageLayers,
        fetched: Result<(App, Option<File>), Cause>,
        content: impl Fn(&Layer) -> Result<LayerContent, Cause>,
    ) -> Result<Planned, Error> {
        let image = PathBuf::from(&listed.image);
        let refused = |reason: String| Error::SpinApplication {
            manifest: image.clone(),
            reason: plain(&reason),
        };
        let (app, files) = fetched.map_err(|cause| refused(sentence(&*cause)))?;
        let mut components = Vec::new();
        for (id, component) in &app.components {
            let Source::Layer(digest) = &component.source else {
                continue;
            };
            let wrong = |what: &str| {
                let digest = Quoted::text(digest);
                refused(format!("the layer {digest} of the component {id:?} {what}"))
            };
            let layer = listed.layers.iter().find(|layer| layer.digest == *digest);
            let layer = layer.ok_or_else(|| wrong("is not in the image: push it again"))?;
            let content = content(layer).map_err(|cause| wrong(&sentence(&*cause)))?;
            if !content.facts.component {
                return Err(wrong(CORE_MODULE));
            }
            let path = PathBuf::from(layer.title.as_ref().unwrap_or(&layer.digest));
            let (engine, _) = engine(&path, true, || None, &self.rule, self.options)?;
            let why = format!("component {id:?} of {}", Quoted::path(&image));
            let plan = component_plan(engine, path, why);
            components.push((id.clone(), plan, Module::Layer(layer.clone(), content)));
        }
        let (engine, demanded_by) = engine(&image, true, || None, &self.rule, self.options)?;
        let why = format!("not in the rootfs; a Spin application; engine: {demanded_by}");
        Ok(Planned {
            plan: Plan::Wasm(component_plan(engine, image, why)),
            module: None,
            application: Some(Application {
                app,
                components,
                files,
            }),
        })
    }
}

/// How a component is run, or an application.
fn component_plan(engine: EngineKind, module: PathBuf, why: String) -> WasmPlan {
    WasmPlan {
        engine,
        module,
        export: None,
        form: Form::Component,
        why,
        argv_start: 0,
    }
}

/// The text of a manifest.
fn read(file: &File) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("its manifest cannot be read: {error}");
    let size = file.metadata().map_err(unreadable)?.len();
    if size > MAX_MANIFEST {
        return Err(format!(
            "its manifest has {size} bytes, and at most {MAX_MANIFEST} are read"
        ));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "its manifest is no UTF-8 text".to_owned())
}

/// The component at `path`, or what is wrong with the file there.
fn wasm(path: &Path, view: &View<'_>) -> Result<File, String> {
    let found = view.file(path).map_err(|error| {
        let error = error.into_error(path).map(|error| error.to_string());
        let why = error.map_or_else(String::new, |error| format!(" ({error})"));
        format!("is not in the image{why}: build the application before its image")
    })?;
    let head = Head::read(&found.file).map_err(|error| format!("cannot be read: {error}"))?;
    match head.content() {
        Content::Wasm { component: true } => Ok(found.file),
        Content::Wasm { component: false } => Err(CORE_MODULE.to_owned()),
        _ => Err("is no Wasm component".to_owned()),
    }
}

/// A reason in one line of bounded length, however the manifest was written.
fn plain(reason: &str) -> String {
    let mut plain: String = reason
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    if plain.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| plain.is_char_boundary(*at));
        plain.truncate(end.unwrap_or_default());
        plain.push('…');
    }
    plain
}
