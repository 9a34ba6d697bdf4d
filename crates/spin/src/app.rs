//! An application, whichever form it came in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::routes::Router;
use crate::template::Template;
use crate::{Error, files, locked, manifest};

/// Most components of an application: each has its native code open in the container's process.
pub const MAX_COMPONENTS: usize = 64;

/// A Spin application, checked: every trigger names a component that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its version, if it says one.
    pub version: Option<String>,
    /// Its variables by their names.
    pub variables: BTreeMap<String, Variable>,
    /// What has its components run.
    pub triggers: Triggers,
    /// The components that its triggers run, by their ids.
    pub components: BTreeMap<String, Component>,
}

/// What has the components of an application run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Triggers {
    /// Requests of HTTP.
    Http {
        /// What stands before every route, `/` mostly.
        base: String,
        /// In the application's order.
        triggers: Vec<HttpTrigger>,
    },
    /// The container's start: the component runs as a command.
    Command(String),
}

/// A variable of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its value where none is given.
    pub default: Option<String>,
    /// Whether its value must not be shown.
    pub secret: bool,
}

/// What answers the requests of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTrigger {
    /// Its id: the manifest's, or one that is made of its component's.
    pub id: String,
    /// Which requests it is for.
    pub route: Route,
    /// What answers them.
    pub handler: Handler,
}

/// Which requests a trigger is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// Those of paths that match this pattern.
    Pattern(String),
    /// Those of other components of the application.
    Private,
}

/// What answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// The component of this id.
    Component(String),
    /// The same answer for every request.
    Static(StaticReply),
}

/// The answer of a trigger without a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticReply {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// A component of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Where its Wasm is.
    pub source: Source,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The files that it sees.
    pub files: Vec<Files>,
    /// Patterns of files that it does not see although `files` has them.
    pub exclude_files: Vec<String>,
    /// Its variables: templates, by their names.
    pub variables: BTreeMap<String, Template>,
    /// What it may connect to; see [`crate::allowed_hosts`].
    pub allowed_outbound_hosts: Vec<String>,
    /// The key-value stores that it may open, by their labels.
    pub key_value_stores: Vec<String>,
    /// The SQLite databases that it may open, by their labels.
    pub databases: Vec<String>,
    /// The models that it may ask.
    pub ai_models: Vec<String>,
}

/// Where a component's Wasm is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file, by its path from the manifest's dir.
    File(String),
    /// A layer of the artifact, by its digest.
    Layer(String),
}

/// Files that a component sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Files {
    /// Those that match a pattern, at the same path as beside the manifest.
    Pattern(String),
    /// A file or dir beside the manifest, at another path.
    Placed {
        /// Its path from the manifest's dir.
        source: String,
        /// Its absolute path for the component.
        destination: String,
    },
    /// A layer of the artifact.
    Layer {
        /// Its digest.
        digest: String,
        /// Its path for the component, from the root.
        path: String,
    },
    /// Bytes that are in the artifact's config itself.
    Inline {
        /// The content.
        content: Vec<u8>,
        /// Its path for the component, from the root.
        path: String,
    },
}

impl App {
    /// Reads a `spin.toml`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_manifest(toml: &str) -> Result<Self, Error> {
        manifest::read(toml)?.checked()
    }

    /// Reads the config of an artifact that `spin registry push` made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_locked(json: &[u8]) -> Result<Self, Error> {
        locked::read(json)?.checked()
    }

    /// What a server tells of the application at `/.well-known/spin/info`.
    #[must_use]
    pub fn info(&self) -> String {
        let mut info = serde_json::json!({ "name": self.name });
        if let Some(version) = &self.version {
            info["version"] = version.as_str().into();
        }
        info.to_string()
    }

    /// Checks what both forms can have wrong, and leaves out the components that no trigger runs.
    fn checked(mut self) -> Result<Self, Error> {
        let mut used = BTreeSet::new();
        match &self.triggers {
            Triggers::Command(component) => {
                self.must_have("command", component)?;
                used.insert(component.clone());
            }
            Triggers::Http { base, triggers } => {
                for trigger in triggers {
                    if let Handler::Component(component) = &trigger.handler {
                        self.must_have(&trigger.id, component)?;
                        used.insert(component.clone());
                    }
                }
                let (_, hidden) = Router::new(base, triggers)?;
                if let Some(hidden) = hidden.into_iter().next() {
                    return Err(Error::DuplicateRoute {
                        route: hidden.pattern,
                        one: hidden.trigger,
                        other: hidden.by,
                    });
                }
            }
        }
        self.components.retain(|id, _| used.contains(id));
        if self.components.len() > MAX_COMPONENTS {
            return Err(Error::ManyComponents {
                count: self.components.len(),
            });
        }
        self.check_variables()?;
        for (id, component) in &self.components {
            files::check(id, component)?;
        }
        Ok(self)
    }

    fn must_have(&self, trigger: &str, component: &str) -> Result<(), Error> {
        if self.components.contains_key(component) {
            return Ok(());
        }
        Err(Error::NoComponent {
            trigger: trigger.to_owned(),
            component: component.to_owned(),
        })
    }

    /// Checks that every value of a component names variables that the application has.
    fn check_variables(&self) -> Result<(), Error> {
        for (id, component) in &self.components {
            for template in component.variables.values() {
                let unknown = |name: &&str| !self.variables.contains_key(*name);
                if let Some(name) = template.variables().find(unknown) {
                    return Err(Error::Component {
                        id: id.clone(),
                        reason: format!(
                            "has the value {:?} of a variable, and the application has no variable {name:?}",
                            template.to_string()
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}
