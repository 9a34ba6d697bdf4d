//! Spin applications: several components in one process, each with an environment, files and rules of its own.

mod files;
mod image;

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use medley_engine::{
    Application, ComponentCode, Guest, GuestExit, ModuleError, Program, TrustedCode,
};
use medley_spin::allowed_hosts::AllowedHosts;
use medley_spin::app::{Component, Triggers};
use medley_spin::variables::Values;
use medley_spin_host::{ComponentConfig, Host};

use crate::command::LinkedCommand;
use crate::component::{self, Engines, Part};
use crate::error::NAME;
use crate::http::{self, Chain, Hosted, LinkedHandler};
use crate::http_client::HttpClient;
use crate::outgoing::{Log, Outgoing};
use crate::store_data::ProcessShared;
use crate::variables;

pub(crate) use image::dir as open_dir;

/// Why an application could not be started.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Environment(#[from] variables::Error),
    #[error(transparent)]
    Application(#[from] medley_spin::Error),
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error(transparent)]
    Host(#[from] medley_spin_host::Error),
}

/// An application with the imports of its components found.
struct LinkedApplication {
    application: Application,
    linked: Linked,
    /// Those of an artifact, until they are unpacked: they take memory that the container does not pay for.
    files: Mutex<Option<File>>,
}

enum Linked {
    /// By their ids.
    Server(Vec<(String, LinkedHandler)>),
    Command(String, LinkedCommand),
}

/// Maps and links the components of an application.
pub(crate) fn load(
    application: &Application,
    components: Vec<ComponentCode>,
    files: Option<File>,
    stack: Option<u64>,
) -> Result<Box<dyn Program>, ModuleError> {
    let mut engines = Engines::new();
    let is_command = matches!(application.app.triggers, Triggers::Command(_));
    let mut handlers = Vec::new();
    for ComponentCode { id, entry, code } in components {
        let code: TrustedCode = code;
        match component::load_part(&code, &entry, stack, &mut engines)? {
            Part::Handler(handler) if !is_command => handlers.push((id, handler)),
            Part::Command(command) if is_command => {
                return Ok(Box::new(LinkedApplication {
                    application: application.clone(),
                    linked: Linked::Command(id, command),
                    files: Mutex::new(files),
                }));
            }
            Part::Handler(_) | Part::Command(_) => {
                let what = if is_command {
                    "is no command, as it exports no wasi:cli/run"
                } else {
                    "answers no requests, as it exports no wasi:http/incoming-handler"
                };
                return Err(ModuleError::Engine {
                    path: entry.path,
                    engine: NAME,
                    reason: format!("the component {id:?} {what}"),
                });
            }
        }
    }
    Ok(Box::new(LinkedApplication {
        application: application.clone(),
        linked: Linked::Server(handlers),
        files: Mutex::new(files),
    }))
}

impl Program for LinkedApplication {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        self.run_or_fail(guest, started)
            .unwrap_or_else(|error| GuestExit::NotStarted(error.to_string()))
    }
}

impl LinkedApplication {
    fn run_or_fail(&self, guest: &Guest, started: &mut dyn FnMut()) -> Result<GuestExit, Error> {
        let app = &self.application.app;
        let env = |name: &str| {
            let found = guest.env.iter().rev().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let given = Given {
            application: &self.application,
            guest,
            values: Values::new(&app.variables, env)?,
            outgoing: HttpClient::new(&guest.env)?,
            chain: Arc::default(),
            host: Host::new(&guest.env)?,
        };
        let files = self
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some(files), Some(copies)) = (files, &self.application.copies) {
            files::unpack(&files, copies)?;
        }
        match &self.linked {
            Linked::Server(handlers) => {
                let mut hosted = Vec::new();
                for (id, linked) in handlers {
                    let Some(component) = app.components.get(id) else {
                        continue;
                    };
                    let (guest, shared) = given.to(id, component)?;
                    hosted.push(Hosted {
                        linked,
                        name: id.clone(),
                        guest,
                        shared,
                    });
                }
                Ok(http::serve_application(
                    (&self.application, &given.chain),
                    hosted,
                    guest,
                    started,
                ))
            }
            Linked::Command(id, command) => {
                let Some(component) = app.components.get(id) else {
                    return Err(medley_spin::Error::NoTrigger.into());
                };
                let (mut own, shared) = given.to(id, component)?;
                own.args.clone_from(&guest.args);
                Ok(command.run_with(&own, shared, started))
            }
        }
    }
}

/// What the components of an application are given.
struct Given<'a> {
    application: &'a Application,
    /// The container.
    guest: &'a Guest,
    values: Values,
    outgoing: HttpClient,
    chain: Arc<Chain>,
    host: Arc<Host>,
}

impl Given<'_> {
    /// What one component is given. Of the container's own environment it sees nothing, as with Spin.
    fn to(&self, id: &str, component: &Component) -> Result<(Guest, Arc<ProcessShared>), Error> {
        let filled = component.variables.iter().map(|(name, template)| {
            let value = self.values.fill(template)?;
            Ok((name.clone(), value))
        });
        let variables = filled.collect::<Result<Vec<_>, medley_spin::Error>>()?;
        let rules = &component.allowed_outbound_hosts;
        let allowed = Arc::new(AllowedHosts::new(id, rules, &self.values)?);
        let rules = Arc::new(Outgoing::new(
            id.to_owned(),
            allowed.clone(),
            self.chain.clone(),
            log(),
        ));
        let spin = self.host.component(ComponentConfig {
            id: id.to_owned(),
            variables: variables.iter().cloned().collect(),
            allowed_hosts: allowed,
            key_value_stores: component.key_value_stores.clone(),
            databases: component.databases.clone(),
            ai_models: component.ai_models.clone(),
            log: log(),
        })?;
        let env = component.env.iter();
        let guest = Guest {
            args: Vec::new(),
            env: env
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            cwd: "/".to_owned(),
            preopens: files::show(self.application, id, component)?,
            memory: self.guest.memory.clone(),
            millicpus: self.guest.millicpus,
        };
        let shared = ProcessShared::of_component(&guest, variables, &self.outgoing, rules, spin);
        Ok((guest, shared))
    }
}

/// What writes to the container's log.
fn log() -> Log {
    Arc::new(|line| {
        // A log that is gone can be told to no one.
        drop(writeln!(std::io::stderr(), "{line}"));
    })
}
