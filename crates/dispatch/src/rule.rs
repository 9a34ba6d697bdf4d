//! What the annotations say; the order is in the crate's documentation.

use medley_types::EngineKind;
use medley_types::quoted::Quoted;

use crate::annotations::{CONTAINER_NAME, CONTAINER_TYPE, HANDLER, VARIANT};
use crate::request::Request;

/// How to decide, from the annotations alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) mode: Mode,
    /// The engine that an annotation names, as `key=value` too.
    pub(crate) engine: Option<(EngineKind, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The file decides. `note` names the annotation that has a say, if one has.
    Content { note: Option<String> },
    /// It is Wasm.
    Wasm {
        /// `key=value`.
        annotation: String,
        /// How to have the file decide.
        remedy: String,
    },
}

/// Whether it is the pod's sandbox, which is never Wasm.
pub(crate) fn is_sandbox(req: &Request<'_>) -> bool {
    req.annotation(CONTAINER_TYPE) == Some("sandbox")
}

impl Rule {
    pub(crate) fn of(req: &Request<'_>) -> Self {
        let handler = req.annotation(HANDLER);
        let engine = handler.and_then(|name| {
            let engine = name.parse().ok()?;
            Some((engine, format!("{HANDLER}={name}")))
        });
        // The key with which this one container, not its whole pod, can be told apart.
        let own = req
            .annotation(CONTAINER_NAME)
            .map(|name| format!("{VARIANT}.{name}"));

        let mode = if let Some((key, value)) = own
            .as_deref()
            .and_then(|key| Some((key, req.annotation(key)?)))
        {
            Mode::of_variant(key, value)
        } else if let Some(name) = handler {
            Mode::of_handler(name, req.annotation(VARIANT), own.as_deref())
        } else if let Some(value) = req.annotation(VARIANT) {
            Mode::of_variant(VARIANT, value)
        } else {
            Mode::Content { note: None }
        };
        Self { mode, engine }
    }
}

impl Mode {
    fn of_variant(key: &str, value: &str) -> Self {
        let shown = shown(key, value);
        match value {
            "compat" => Self::Wasm {
                annotation: shown,
                remedy: format!("set {} to compat-smart", Quoted::text(key).bare()),
            },
            "compat-smart" => Self::Content { note: Some(shown) },
            _ => Self::Content {
                note: Some(format!("{shown} is unknown")),
            },
        }
    }

    fn of_handler(name: &str, variant: Option<&str>, own: Option<&str>) -> Self {
        let mut shown = shown(HANDLER, name);
        if name == "wasm" || name.parse::<EngineKind>().is_ok() {
            let remedy = match own {
                Some(own) => format!("set {} to compat-smart", Quoted::text(own).bare()),
                None => {
                    format!(
                        "set {HANDLER} to wasm-smart, or remove it and set {VARIANT} to compat-smart"
                    )
                }
            };
            return Self::Wasm {
                annotation: shown,
                remedy,
            };
        }
        if name != "wasm-smart" {
            shown.push_str(" is unknown");
        }
        if let Some(variant) = variant {
            shown.push_str(&format!(" and hides {}", self::shown(VARIANT, variant)));
        }
        Self::Content { note: Some(shown) }
    }

    /// What decided, for a plan's `why`.
    pub(crate) fn why(&self, content: &str) -> String {
        match self {
            Self::Content { note: None } => format!("content: {content}"),
            Self::Content { note: Some(note) } => format!("content: {content}; annotation {note}"),
            Self::Wasm { annotation, .. } => format!("annotation {annotation}"),
        }
    }
}

/// `key=value`, cut short and escaped where a person would not have written it so.
fn shown(key: &str, value: &str) -> String {
    format!(
        "{}={}",
        Quoted::text(key).bare(),
        Quoted::text(value).bare()
    )
}
