//! What one component may use, and what all of an application share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use medley_spin::allowed_hosts::AllowedHosts;
#[cfg(feature = "redis")]
use medley_spin::allowed_hosts::{Destination, refusal};

use crate::Error;
#[cfg(feature = "stores")]
use crate::{databases::Databases, key_value::Stores, runtime_config::RuntimeConfig};

/// What the components of an application share: their stores and databases, which are opened when a
/// component first asks for them.
#[derive(Debug)]
pub struct Host {
    #[cfg(feature = "stores")]
    pub(crate) stores: Stores,
    #[cfg(feature = "stores")]
    pub(crate) databases: Databases,
}

/// What one component may use.
pub struct ComponentConfig {
    /// Its name.
    pub id: String,
    /// Its variables, with their values.
    pub variables: BTreeMap<String, String>,
    /// What it may connect to.
    pub allowed_hosts: Arc<AllowedHosts>,
    /// The labels of its key-value stores.
    pub key_value_stores: Vec<String>,
    /// The labels of its SQLite databases.
    pub databases: Vec<String>,
    /// The names of its models.
    pub ai_models: Vec<String>,
    /// Writes a line to the container's log.
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
}

/// One component's share of its application's [`Host`].
#[derive(Debug)]
pub struct ComponentHost {
    pub(crate) config: ComponentConfig,
    /// None for a component that is no part of an application.
    #[cfg_attr(
        not(feature = "stores"),
        expect(dead_code, reason = "stores alone are shared")
    )]
    pub(crate) shared: Option<Arc<Host>>,
}

impl Host {
    /// For a container with this environment. Reads the runtime config; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::RuntimeConfig`].
    #[cfg(feature = "stores")]
    pub fn new(env: &[(String, String)]) -> Result<Arc<Self>, Error> {
        let config = RuntimeConfig::read(env)?;
        Ok(Arc::new(Self {
            stores: Stores::new(config.stores),
            databases: Databases::new(config.databases),
        }))
    }

    /// For a container with this environment.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "stores"))]
    pub fn new(_: &[(String, String)]) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {}))
    }

    /// For one of the application's components.
    ///
    /// # Errors
    /// It names a store, a database or a model that there is not.
    pub fn component(
        self: &Arc<Self>,
        config: ComponentConfig,
    ) -> Result<Arc<ComponentHost>, Error> {
        self.has_stores_of(&config)?;
        if let Some(model) = config.ai_models.first() {
            return Err(Error::AiModel {
                component: config.id.clone(),
                model: model.clone(),
            });
        }
        Ok(Arc::new(ComponentHost {
            config,
            shared: Some(self.clone()),
        }))
    }

    #[cfg(feature = "stores")]
    fn has_stores_of(&self, config: &ComponentConfig) -> Result<(), Error> {
        let missing = |kind, table, label: &String| Error::NoSuchLabel {
            component: config.id.clone(),
            kind,
            label: label.clone(),
            table,
        };
        let mut stores = config.key_value_stores.iter();
        if let Some(label) = stores.find(|label| !self.stores.has(label)) {
            return Err(missing("key-value store", "key_value_store", label));
        }
        let mut databases = config.databases.iter();
        if let Some(label) = databases.find(|label| !self.databases.has(label)) {
            return Err(missing("SQLite database", "sqlite_database", label));
        }
        Ok(())
    }

    #[cfg(not(feature = "stores"))]
    fn has_stores_of(&self, config: &ComponentConfig) -> Result<(), Error> {
        let mut labels = config.key_value_stores.iter().chain(&config.databases);
        labels.next().map_or(Ok(()), |label| {
            Err(Error::NoStores {
                component: config.id.clone(),
                label: label.clone(),
            })
        })
    }
}

impl ComponentHost {
    /// For a component that is no part of an application: it has these variables, and may use nothing.
    #[must_use]
    pub fn bare(variables: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Self {
            config: ComponentConfig {
                id: String::new(),
                variables,
                allowed_hosts: Arc::default(),
                key_value_stores: Vec::new(),
                databases: Vec::new(),
                ai_models: Vec::new(),
                log: Arc::new(|_| {}),
            },
            shared: None,
        })
    }
}

#[cfg(feature = "redis")]
impl ComponentHost {
    /// Whether the component may connect there; the log says which rule is missing if it may not.
    pub(crate) fn allows(&self, destination: &Destination<'_>) -> bool {
        let allowed = self.config.allowed_hosts.allow(destination);
        if !allowed {
            (self.config.log)(&refusal(&self.config.id, destination));
        }
        allowed
    }
}

impl fmt::Debug for ComponentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may be secret.
        f.debug_struct("ComponentConfig")
            .field("id", &self.id)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("key_value_stores", &self.key_value_stores)
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{ComponentConfig, Host};

    /// A component that may use the default store and database, where there are such.
    pub(crate) fn config(id: &str) -> ComponentConfig {
        let labels: &[&str] = if cfg!(feature = "stores") {
            &["default"]
        } else {
            &[]
        };
        let stores: Vec<String> = labels.iter().map(|&label| label.into()).collect();
        ComponentConfig {
            id: id.to_owned(),
            variables: BTreeMap::from([("greeting".to_owned(), "hello".to_owned())]),
            allowed_hosts: Arc::default(),
            key_value_stores: stores.clone(),
            databases: stores,
            ai_models: Vec::new(),
            log: Arc::new(|_| {}),
        }
    }

    #[cfg(not(feature = "stores"))]
    #[test]
    fn a_build_without_stores_says_so() {
        let mut keeping = config("web");
        keeping.key_value_stores.push("default".to_owned());
        let error = Host::new(&[]).unwrap().component(keeping);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("without spin-stores"), "{error}");
    }

    #[cfg(feature = "stores")]
    #[test]
    fn what_a_component_asks_for_must_be_there() {
        let host = Host::new(&[]).unwrap();
        assert!(host.component(config("web")).is_ok());
        let mut other = config("web");
        other.key_value_stores.push("other".to_owned());
        assert_eq!(
            host.component(other).unwrap_err().to_string(),
            "component \"web\" asks for the key-value store \"other\", which is not there: add \
             [key_value_store.other] to the runtime config"
        );
        let mut clever = config("web");
        clever.ai_models.push("llama2-chat".to_owned());
        let error = host.component(clever).unwrap_err().to_string();
        assert!(error.contains("AI model \"llama2-chat\""), "{error}");
    }
}
