//! Components that answer HTTP requests: they export `wasi:http/incoming-handler`, or
//! `wasi:http/handler` of WASI 0.3, and the engine is their server.
//!
//! | file | what |
//! |---|---|
//! | `settings` | what the environment says of address, limits and times |
//! | `server` | from the first thread to the last answer |
//! | `listen` | where that is to be |
//! | `listener` | the socket, and how it is closed without losing a client |
//! | `clients` | all connections, and which one goes when there are too many |
//! | `connection` | one client, HTTP/1.1 or HTTP/2 |
//! | `protocol` | what is spoken with it, and the limits of that |
//! | `watched` | what is known of a connection, and how long it may be silent |
//! | `stream` | its socket |
//! | `site` | what answers a path: the component, or those of an application by their routes |
//! | `chain` | requests of one component of an application to another |
//! | `handler` | a component, and what its instances have in common |
//! | `request` | one request, from its first byte to its answer's last |
//! | `instance` | what answers it, and whether it may answer another |
//! | `idle_instances` | those that wait for another |
//! | `call` | what an instance is called with, by the WASI that it is of |
//! | `body` | bodies on their way in and out |
//! | `memory_budget` | what handlers may take of the container's memory |
//! | `signals` | those that ask a server to end |
//! | `line_writer` | what handlers write, in whole lines |
//! | `ticker` | takes turns among handlers that never wait |

mod body;
mod call;
mod chain;
mod clients;
mod connection;
mod handler;
mod idle_instances;
mod instance;
mod line_writer;
mod listen;
mod listener;
mod memory_budget;
mod protocol;
mod request;
mod server;
mod settings;
mod signals;
mod site;
mod stream;
mod ticker;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;

use medley_engine::{Application, Entry, Guest, GuestExit, ModuleError, Program};
use medley_spin_host::is_inbound_http;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::config::{MEMORIES, SLOTS, TABLES};
use crate::error::engine_error;
use crate::store_data::{ProcessShared, StoreData};

use crate::wasi_version::{self, is};
pub(crate) use chain::Chain;
pub(crate) use handler::Hosted;

/// Whether an export is that of a handler.
pub(crate) fn is_handler(name: &str) -> bool {
    name.starts_with("wasi:http/incoming-handler@0.2.") || is_of_0_3(name) || is_inbound_http(name)
}

fn is_of_0_3(name: &str) -> bool {
    is(name, "wasi:http/handler") && wasi_version::is_of_0_3(name)
}

/// A handler with its imports found.
pub(crate) struct LinkedHandler {
    handler: Callable,
    path: PathBuf,
    /// How many instances there can be at a time.
    instances: usize,
    /// What one instance needs to begin with, in bytes.
    instance_size: u64,
}

/// It, by the WASI that it is of.
#[derive(Clone)]
enum Callable {
    Proxy(Arc<ProxyPre<StoreData>>),
    /// One of WASI 0.3, with an engine of a concurrent profile.
    Service(Arc<ServicePre<StoreData>>),
    /// One of Spin 1.
    Inbound(Arc<InstancePre<StoreData>>),
}

impl LinkedHandler {
    pub(crate) fn new(
        component: &Component,
        instance: InstancePre<StoreData>,
        name: &str,
        entry: &Entry,
    ) -> Result<Self, ModuleError> {
        let handler = if is_inbound_http(name) {
            Ok(Callable::Inbound(Arc::new(instance)))
        } else if is_of_0_3(name) {
            ServicePre::new(instance).map(|pre| Callable::Service(Arc::new(pre)))
        } else {
            ProxyPre::new(instance).map(|pre| Callable::Proxy(Arc::new(pre)))
        };
        let handler = handler.map_err(|error| engine_error(entry, &error))?;
        let needs = component.resources_required();
        let share = |all: u32, each: u32| all / each.max(1);
        let (memories, tables, size) = needs.map_or((1, 1, 0), |needs| {
            let size = needs.max_initial_memory_size.unwrap_or(0);
            (needs.num_memories, needs.num_tables, size)
        });
        let instances = SLOTS
            .min(share(MEMORIES, memories))
            .min(share(TABLES, tables));
        Ok(Self {
            handler,
            path: entry.path.clone(),
            instances: usize::try_from(instances).unwrap_or(1).max(1),
            instance_size: size,
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        match &self.handler {
            Callable::Proxy(handler) => handler.engine(),
            Callable::Service(handler) => handler.engine(),
            Callable::Inbound(instance) => instance.component().engine(),
        }
    }
}

impl Program for LinkedHandler {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        let shared = match ProcessShared::new(guest) {
            Ok(shared) => shared,
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let hosted = Hosted {
            linked: self,
            name: self.path.display().to_string(),
            guest: guest.clone(),
            shared,
        };
        exit(server::run(vec![hosted], None, guest, started))
    }
}

/// Serves an application, whose components are `hosted` by their ids.
pub(crate) fn serve_application(
    (application, chain): (&Application, &Chain),
    hosted: Vec<Hosted<'_>>,
    guest: &Guest,
    started: &mut dyn FnMut(),
) -> GuestExit {
    exit(server::run(
        hosted,
        Some((application, chain)),
        guest,
        started,
    ))
}

fn exit(status: Result<u8, server::Error>) -> GuestExit {
    match status {
        Ok(status) => GuestExit::Exited(status),
        Err(error) => GuestExit::NotStarted(error.to_string()),
    }
}
